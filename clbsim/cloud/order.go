// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// order is what a ClientToken stands for.
type order struct {
	deal string
	task *task
	lbs  []string
	at   time.Time
}

func createLoadBalancer(k *call, in *clb.CreateLoadBalancerRequest) (*clb.CreateLoadBalancerResponseParams, *Error) {
	if err := k.checkCreate(in); err != nil {
		return nil, err
	}
	token := value(in.ClientToken)
	if o := k.cloud.orders[k.name+"/"+token]; token != "" && o != nil {
		return k.replay(o)
	}
	n := int64(1)
	if in.Number != nil {
		n = int64(*in.Number)
	}
	kind := *in.LoadBalancerType
	quota, have := QuotaPublic, int64(0)
	if kind == TypeInternal {
		quota = QuotaInternal
	}
	for _, lb := range k.lbs {
		if lb.kind == kind {
			have++
		}
	}
	if err := overQuota("load balancers of type "+kind, have, n, k.quota(quota)); err != nil {
		return nil, err
	}
	var lbs []*loadBalancer
	for range n {
		lb, err := k.newLoadBalancer(in)
		if err != nil {
			for _, lb := range lbs {
				k.remove(lb)
			}
			return nil, err
		}
		lbs = append(lbs, lb)
	}
	o := k.place(lbs)
	if token != "" {
		k.cloud.orders[k.name+"/"+token] = o
	}
	return k.orderReply(o), nil
}

// place starts the creation of load balancers. A failed creation takes them
// away again.
func (k *call) place(lbs []*loadBalancer) *order {
	o := &order{deal: k.Now.In(beijing).Format("20060102150405") + newID("", func(string) bool { return false }), at: k.Now}
	for _, lb := range lbs {
		o.lbs = append(o.lbs, lb.id)
	}
	o.task = k.start(lbs, func(now time.Time) string {
		for _, lb := range lbs {
			lb.running, lb.listed, lb.changed = true, true, now
		}
		return ""
	})
	o.task.created, o.task.deal = o.lbs, o.deal
	o.task.onFailure = func() {
		for _, lb := range lbs {
			k.remove(lb)
		}
	}
	if o.task.status == taskFailed {
		o.task.onFailure()
	}
	return o
}

func (k *call) orderReply(o *order) *clb.CreateLoadBalancerResponseParams {
	out := &clb.CreateLoadBalancerResponseParams{LoadBalancerIds: []*string{}, DealName: &o.deal}
	if k.cloud.cfg.Assumptions.CreateReturnsIDs {
		out.LoadBalancerIds = pointers(o.lbs)
	}
	return out
}

// replay answers a ClientToken that was used before with its order, even if
// what was ordered has been deleted since: a client that reuses the token of a
// deleted CLB gets the id of a CLB that is gone.
func (k *call) replay(o *order) (*clb.CreateLoadBalancerResponseParams, *Error) {
	if k.Now.Sub(o.at) > time.Duration(k.cloud.cfg.Assumptions.ClientTokenTTL) || o.task.status == taskFailed {
		return nil, errorf(codeTokenDead, "The ClientToken has expired or its order has failed.")
	}
	k.cloud.tasks[k.ID] = o.task
	return k.orderReply(o), nil
}

// taskOfDeal finds the task of an order.
func (c *Cloud) taskOfDeal(deal string) string {
	for id, t := range c.tasks {
		if t.deal == deal {
			return id
		}
	}
	return ""
}
