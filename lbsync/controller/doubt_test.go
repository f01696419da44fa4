// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// doors is who may connect to our CLB: the security groups that are bound, with what they let in.
func (l *trial) doors() string {
	l.Helper()
	state, err := l.sim.State(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	var out []string
	for _, lb := range l.clbs(true) {
		for _, id := range lb.SecurityGroups {
			for _, g := range state.Groups {
				if g.ID == id {
					out = append(out, fmt.Sprintf("%s %v", id, g.Ingress))
				}
			}
		}
	}
	return strings.Join(out, "\n")
}

// A Service that has a CLB goes on, whatever is wrong with the annotations that say which one to make; and where it cannot be said who
// may connect, nobody gets in who did not before, and no port opens.
func TestAWrongAnnotationOfACLBThatServesFreezesNothing(t *testing.T) {
	const internal = "service.kubernetes.io/qcloud-loadbalancer-internal"
	narrow := func(ranges ...string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = ranges }
	}
	groups := annotate(annotation.SecurityGroups, "sg-demo0001")
	nothing := func(*corev1.Service) {}
	for name, test := range map[string]struct {
		before, wrong func(*corev1.Service)
		says          string
		doubt         bool // about who may connect
	}{
		"a region that is none":              {nothing, annotate(annotation.CrossRegion, "Shanghai"), "Shanghai", false},
		"a VPC that is none":                 {nothing, annotate(annotation.CrossVPC, "vpc"), `"vpc"`, false},
		"parameters that cannot be read":     {annotate(annotation.CreateParams, `{"ProjectId":7}`), annotate(annotation.CreateParams, `{"ProjectId":`), annotation.CreateParams, false},
		"a subnet that is none":              {annotate(annotation.InternalSubnet, "subnet-demo0001"), annotate(annotation.InternalSubnet, "demo"), `"demo"`, false},
		"a number of a subnet":               {nothing, func(s *corev1.Service) { s.Annotations[internal] = "" }, internal, false},
		"an existing CLB beside a subnet":    {annotate(annotation.InternalSubnet, "subnet-demo0001"), annotate(annotation.ExistingID, "lb-byhand01"), annotation.InternalSubnet, false},
		"an existing CLB that is none":       {nothing, annotate(annotation.ExistingID, "byhand"), `"byhand"`, false},
		"an existing CLB beside ranges":      {narrow("10.0.0.0/8"), annotate(annotation.ExistingID, "lb-byhand01"), "was made for the Service and stays so", false},
		"ranges beside security groups":      {groups, narrow("10.0.0.0/8"), "does not go together", true},
		"security groups beside ranges":      {narrow("10.0.0.0/8"), groups, "does not go together", true},
		"a range that is none":               {narrow("10.0.0.0/8"), narrow("10.0.0.0/8", "10.0.0.0/33"), "10.0.0.0/33", true},
		"a range in an annotation":           {annotate(annotation.SourceRanges, "10.0.0.0/8"), annotate(annotation.SourceRanges, "10.0.0.1"), `"10.0.0.1"`, true},
		"ranges where everybody got in":      {nothing, narrow("10.0.0.0/33"), "10.0.0.0/33", true},
		"security groups that are none":      {groups, annotate(annotation.SecurityGroups, "demo"), `"demo"`, true},
		"an existing CLB beside such groups": {groups, annotate(annotation.ExistingID, "lb-byhand01"), annotation.SecurityGroups, true},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", name, restarted), func(t *testing.T) {
				t.Parallel()
				inAccount(t, nil, func(l *trial) {
					stop := l.begin()
					defer func() { stop() }()
					svc := onlyBind("web")
					test.before(svc)
					l.put(svc)
					l.put(kubetest.Slice("web", at(1)...))
					l.pass(3 * time.Minute)
					l.want("at first", l.state(), "clb\nclbsync-web TCP:80 ins-00000001=10")
					doors := l.doors()
					if restarted {
						stop()
					}
					l.edit("web", test.wrong, func(s *corev1.Service) {
						s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 81, NodePort: 30081})
					})
					l.put(kubetest.Slice("web", at(2)...))
					if restarted {
						stop = l.begin()
					}
					l.pass(3 * time.Minute)
					want := "clb\nclbsync-web TCP:80 ins-00000002=10"
					if !test.doubt {
						want += "\nclbsync-web TCP:81 ins-00000002=10"
					}
					l.want("its pods move", l.state(), want)
					if got := l.doors(); test.doubt && got != doors {
						t.Errorf("who may connect was\n%s\nand is\n%s", doors, got)
					}
					if warnings := strings.Join(l.warnings(), "\n"); !strings.Contains(warnings, test.says) || strings.Contains(warnings, "nothing is created or changed") {
						t.Errorf("its author is told %q", warnings)
					}
					for _, w := range l.warnings() {
						if strings.Contains(w, "the manifest asks for") && !strings.Contains(w, "lb-byhand01") || strings.Contains(w, "says nothing of it any more") {
							t.Errorf("that is not what the manifest asks for: %s", w)
						}
					}
					l.edit("web", func(s *corev1.Service) {
						s.Annotations, s.Spec.LoadBalancerSourceRanges = svc.Annotations, svc.Spec.LoadBalancerSourceRanges
					})
					l.pass(3 * time.Minute)
					l.want("it is mended", l.state(), "clb\nclbsync-web TCP:80 ins-00000002=10\nclbsync-web TCP:81 ins-00000002=10")
					l.delete("web")
					l.pass(5 * time.Minute)
					l.want("it is gone", l.state(), "")
				})
			})
		}
	}
}

// On a CLB that a person made, ranges cannot be kept: who asks for some there goes on with the ports that are open, and comes with none.
func TestOnASharedCLBSourceRangesOpenNothingAndFreezeNothing(t *testing.T) {
	inCompany(t, func(c company) {
		c.join()
		c.pass(2 * time.Minute)
		narrow := func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} }
		c.edit("web", narrow, func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 82, NodePort: 30082})
		})
		c.put(kubetest.Slice("web", at(3)...))
		late := onlyBind80("late")
		narrow(late)
		port(83)(late)
		c.put(kubetest.Slice("late", at(3)...))
		c.put(late)
		c.pass(2 * time.Minute)
		c.want("its pods move", c.has(), "clbsync-api TCP:81 ins-00000002=10\nclbsync-web TCP:80 ins-00000003=10\n"+sshAsItWas)
		c.want("its author is told", c.warned("web", "no port is opened that is not open yet"), true)
		c.want("so is the other", c.warned("late", "nothing is created or changed for the Service"), true)
		c.want("and what it has", strings.HasPrefix(c.condition("late", lbsync.ConditionSynced), "False"), true)
	})
}
