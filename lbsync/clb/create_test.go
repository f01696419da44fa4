// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/lbsync"
)

// only checks that there is one CLB, with the ID unless that is empty.
func (w world) only(id string) {
	w.t.Helper()
	if lbs := w.state().LoadBalancers; len(lbs) != 1 || id != "" && lbs[0].ID != id {
		w.t.Errorf("load balancers: %+v, want %s alone", lbs, id)
	}
}

func (w world) deleteByHand(id string) {
	w.t.Helper()
	w.console("DeleteLoadBalancer", map[string]any{"LoadBalancerIds": []string{id}})
}

func TestCreationIsSafeToRepeat(t *testing.T) {
	for _, where := range []struct {
		name   string
		change func(*clbsim.Config)
	}{
		{"", nil},
		{" where the answer has no ID", func(c *clbsim.Config) { c.Assumptions.CreateReturnsIDs = false }},
		{" where a new one is listed late", func(c *clbsim.Config) {
			c.Assumptions.CreateListed = "at-end"
			c.Tasks.Delay = clbsim.Duration(20 * time.Second)
		}},
		{" where tasks are forgotten at once", func(c *clbsim.Config) { c.Tasks.Retention = clbsim.Duration(time.Nanosecond) }},
	} {
		t.Run("called twice it returns the same"+where.name, func(t *testing.T) {
			simulated(t, where.change, func(t *testing.T, w world) {
				first := w.create(public())
				if again := w.create(public()); again.ID != first.ID || first.ID == "" || first.Owner != owner {
					t.Errorf("%+v, then %+v", first, again)
				}
				w.only(first.ID)
			})
		})
		t.Run("a lost answer leads to the same"+where.name, func(t *testing.T) {
			simulated(t, where.change, func(t *testing.T, w world) {
				w.fault(admin.Fault{Action: "CreateLoadBalancer", Kind: admin.KindDropAfter})
				if _, err := w.CreateLoadBalancer(t.Context(), public()); err == nil || lbsync.KindOf(err) != lbsync.Unknown {
					t.Fatalf("got %v, want Unknown", err)
				}
				got, err := w.client(Config{}).CreateLoadBalancer(t.Context(), public()) // as after a crash
				if err != nil {
					t.Fatal(err)
				}
				w.only(got.ID)
			})
		})
		t.Run("two processes at once get the same"+where.name, func(t *testing.T) {
			simulated(t, where.change, func(t *testing.T, w world) {
				ids := make(chan string)
				for range 2 {
					c := w.client(Config{})
					go func() {
						got, err := c.CreateLoadBalancer(t.Context(), public())
						if err != nil {
							t.Error(err)
						}
						ids <- got.ID
					}()
				}
				if a, b := <-ids, <-ids; a != b {
					t.Errorf("got %s and %s", a, b)
				}
				w.only("")
			})
		})
		for lost := 1; lost <= 3; lost++ {
			t.Run(fmt.Sprintf("what was deleted by hand %d times is bought anew%s", lost, where.name), func(t *testing.T) {
				simulated(t, where.change, func(t *testing.T, w world) {
					for range lost {
						w.deleteByHand(w.create(public()).ID)
					}
					w.only(w.create(public()).ID)
				})
			})
		}
	}
	t.Run("a token that is too old is followed by another", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) { c.Assumptions.ClientTokenTTL = clbsim.Duration(time.Hour) }, func(t *testing.T, w world) {
			w.deleteByHand(w.create(public()).ID)
			<-time.After(2 * time.Hour)
			w.only(w.create(public()).ID)
		})
	})
	t.Run("one that is made so slowly that nobody can say anything of it is not bought twice", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) {
			c.Assumptions.CreateListed = "at-end"
			c.Tasks.Delay = clbsim.Duration(45 * time.Second)
		}, func(t *testing.T, w world) {
			w.fault(admin.Fault{Action: "DescribeTaskStatus", Kind: admin.KindError, Code: "InvalidParameter", Message: "no such task", Count: -1})
			w.only(w.create(public()).ID)
		})
	})
	t.Run("an order whose request CLB has forgotten is found by its deal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var tags []any
			for k, v := range owner.Tags() {
				tags = append(tags, map[string]any{"TagKey": k, "TagValue": v})
			}
			c, _ := stubbed(t, func(action string, params map[string]any) any {
				switch {
				case action == actionCreate:
					return map[string]any{"LoadBalancerIds": []string{}, "DealName": "deal-1"}
				case action == "DescribeTaskStatus" && params["TaskId"] == nil && params["DealName"] == "deal-1":
					return map[string]any{"Status": taskDone, "LoadBalancerIds": []string{"lb-1"}}
				case action == "DescribeTaskStatus":
					return failure{"InvalidParameter", "no such task"}
				case params["LoadBalancerIds"] != nil:
					return map[string]any{"LoadBalancerSet": []any{map[string]any{"LoadBalancerId": "lb-1", "Status": statusNormal, "Tags": tags}}}
				}
				return map[string]any{"LoadBalancerSet": []any{}}
			})
			if got, err := c.CreateLoadBalancer(t.Context(), public()); err != nil || got.ID != "lb-1" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	})
	t.Run("an order that failed is told, and the next one succeeds", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			w.fault(admin.Fault{Action: "CreateLoadBalancer", Kind: admin.KindTaskFail, Message: "no more addresses"})
			_, err := w.CreateLoadBalancer(t.Context(), public())
			if e := asError(t, err); e.Action != "CreateLoadBalancer" || !containsAll(e.Error(), "no more addresses") {
				t.Fatalf("got %v", err)
			}
			w.only(w.create(public()).ID)
		})
	})
}

func TestOrderThatIsRefused(t *testing.T) {
	for _, where := range []string{"at once", "by its task"} {
		t.Run(where+" is not placed again with other tokens", func(t *testing.T) {
			simulated(t, nil, func(t *testing.T, w world) {
				f := admin.Fault{Action: "CreateLoadBalancer", Kind: admin.KindError, Code: "ResourceNotFound", Message: "no such subnet", Count: -1}
				if where == "by its task" {
					f.Kind, f.Code, f.Message = admin.KindTaskFail, "", "The instance of the subnet does not exist"
				}
				w.fault(f)
				if _, err := w.CreateLoadBalancer(t.Context(), public()); lbsync.KindOf(err) != lbsync.Invalid || len(w.writes()) != 1 {
					t.Errorf("got %v after %v", err, w.writes())
				}
			})
		})
	}
}

func TestWhichLoadBalancerIsTheOwners(t *testing.T) {
	byHand := func(w world, more map[string]any) {
		request := map[string]any{"LoadBalancerType": "OPEN", "Forward": 1, "VpcId": "vpc-2ab3c4d5"}
		maps.Copy(request, more)
		w.console("CreateLoadBalancer", request)
	}
	t.Run("not the one with the name", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			byHand(w, map[string]any{"LoadBalancerName": public().Name})
			first := w.create(public())
			if again := w.create(public()); again.ID != first.ID {
				t.Errorf("got %s, then %s", first.ID, again.ID)
			}
			if n := len(w.state().LoadBalancers); n != 2 {
				t.Errorf("%d load balancers, want the other one and ours", n)
			}
		})
	})
	t.Run("of several with its tags the oldest", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			first := w.create(public())
			var tags []map[string]string
			for k, v := range owner.Tags() {
				tags = append(tags, map[string]string{"TagKey": k, "TagValue": v})
			}
			<-time.After(time.Minute)
			byHand(w, map[string]any{"Tags": tags})
			<-time.After(time.Minute)
			if got := w.create(public()); got.ID != first.ID {
				t.Errorf("got %s, want %s", got.ID, first.ID)
			}
			found, err := w.Find(t.Context(), owner)
			if err != nil || len(found) != 2 || found[0].ID != first.ID {
				t.Errorf("found %+v, %v", found, err)
			}
		})
	})
	t.Run("not another Service's, or another cluster's", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			first := w.create(public())
			for _, o := range []lbsync.Owner{{ClusterID: "cls-demo", ServiceUID: "other"}, {ClusterID: "cls-other", ServiceUID: owner.ServiceUID}, {ClusterID: "cls-dem", ServiceUID: owner.ServiceUID}} {
				if found, err := w.Find(t.Context(), o); err != nil || found != nil {
					t.Errorf("%+v: found %+v, %v", o, found, err)
				}
			}
			if found, err := w.Find(t.Context(), owner); err != nil || len(found) != 1 || found[0].ID != first.ID {
				t.Errorf("the owner: found %+v, %v", found, err)
			}
			if _, err := w.Find(t.Context(), lbsync.Owner{ClusterID: "cls-demo"}); err == nil {
				t.Error("half an owner finds something")
			}
		})
	})
	t.Run("the one behind a full page", func(t *testing.T) {
		c, s := stubbed(t, func(_ string, params map[string]any) any {
			lb := func(id, uid string) any {
				return map[string]any{"LoadBalancerId": id, "Tags": []any{
					map[string]any{"TagKey": lbsync.TagCreatedBy, "TagValue": "yes"}, map[string]any{"TagKey": lbsync.TagCluster, "TagValue": "cls-demo"}, map[string]any{"TagKey": lbsync.TagService, "TagValue": uid}}}
			}
			if params["Offset"].(float64) > 0 {
				return map[string]any{"LoadBalancerSet": []any{lb("lb-last", owner.ServiceUID)}}
			}
			var page []any
			for n := range pageSize { // what the filter lets through is not always what was meant
				page = append(page, lb(fmt.Sprintf("lb-%d", n), fmt.Sprintf("%s%d", owner.ServiceUID, n)))
			}
			return map[string]any{"LoadBalancerSet": page}
		})
		found, err := c.Find(t.Context(), owner)
		if err != nil || len(found) != 1 || found[0].ID != "lb-last" || len(s.actions()) != 2 {
			t.Errorf("found %+v, %v after %v", found, err, s.actions())
		}
	})
}

func TestKindsOfLoadBalancers(t *testing.T) {
	t.Run("an internal one is in its subnet", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			want := public()
			want.Internal, want.SubnetID = true, "subnet-demo0001"
			got := w.create(want)
			if !got.Internal || got.SubnetID != want.SubnetID || got.VPCID != "vpc-2ab3c4d5" || len(got.VIPs) != 1 || !netip.MustParsePrefix("10.0.200.0/24").Contains(got.VIPs[0]) {
				t.Errorf("got %+v", got)
			}
		})
	})
	t.Run("one with a domain has that in place of an address", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) { c.Assumptions.DomainStyle = "public" }, func(t *testing.T, w world) {
			if got := w.create(public()); got.Domain == "" || got.VIPs != nil {
				t.Errorf("got %+v", got)
			}
		})
	})
	t.Run("a quota that is used up is told", func(t *testing.T) {
		simulated(t, func(c *clbsim.Config) { c.Quotas["TOTAL_OPEN_CLB_QUOTA"] = 0 }, func(t *testing.T, w world) {
			if _, err := w.CreateLoadBalancer(t.Context(), public()); lbsync.KindOf(err) != lbsync.Quota || asError(t, err).Hint == "" {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("half an owner gets none", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			want := public()
			want.Owner.ClusterID = ""
			if _, err := w.CreateLoadBalancer(t.Context(), want); lbsync.KindOf(err) != lbsync.Invalid || len(w.writes()) != 0 {
				t.Errorf("got %v after %v", err, w.writes())
			}
		})
	})
	t.Run("one that comes without its tags is refused, with the right that is missing", func(t *testing.T) {
		simulated(t, nil, func(t *testing.T, w world) {
			// Without the right to set tags, an account gets the CLB all the same: untagged, nobody would ever find it.
			made := w.create(lbsync.Instance{Owner: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "another"}})
			_, err := w.ready(t.Context(), made.ID, owner, appearsMade)
			if e := asError(t, err); e.Kind != lbsync.Denied || !containsAll(e.Error(), made.ID, "another", "tag:TagResources") {
				t.Errorf("got %v", err)
			}
		})
	})
}
