// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// made puts a CLB into the cloud that a person made, with a listener of theirs on TCP:22.
func (w *world) made(id string, tags map[string]string) {
	w.Helper()
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	theirs := lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 22}
	w.cloud.clbs[id] = &lbsync.LoadBalancer{Present: true,
		Instance: lbsync.Instance{ID: id, VPCID: "vpc-2ab3c4d5", Tags: tags, VIPs: []netip.Addr{netip.MustParseAddr("203.0.113.77")},
			Attributes: lbsync.Attributes{SecurityGroups: []string{"sg-theirs"}, PassToTarget: new(false), DeleteProtect: new(true), SnatPro: new(false)}},
		Listeners: map[lbsync.ListenerKey]lbsync.Listener{theirs: {ListenerKey: theirs, ID: "lbl-theirs", Name: "ssh"}}, Targets: map[lbsync.Binding]int{}}
	w.cloud.since[id] = map[lbsync.Binding]time.Time{}
}

// on has the Service use a CLB that somebody made.
func on(id string) func(*corev1.Service) { return kubetest.Annotation(annotation.ExistingID, id) }

func port(n int32) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Ports[0].Port, s.Spec.Ports[0].NodePort = n, 30000+n }
}

func tagged(cluster string) map[string]string { return map[string]string{lbsync.TagCluster: cluster} }

// listeners returns the listeners of a CLB as "TCP:80 of web".
func (w *world) listeners(id string) []string {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	var out []string
	for k, l := range w.cloud.clbs[id].Listeners {
		out = append(out, k.String()+" of "+strings.TrimPrefix(l.Name, "clbsync-"))
	}
	slices.Sort(out)
	return out
}

func (w *world) tags(id string) map[string]string {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	return w.cloud.clbs[id].Instance.Tags
}

func TestServicesShareACLBThatAPersonMade(t *testing.T) {
	inWorld(t, func(w *world) {
		w.made("lb-theirs", map[string]string{"team": "a"})
		w.run()
		w.pass(soon)
		w.want("listeners", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:80 of web", "TCP:81 of api"})
		w.want("tags", w.tags("lb-theirs"), map[string]string{"team": "a", lbsync.TagCluster: "cls-demo"})
		for _, name := range []string{"web", "api"} {
			svc := w.service(name)
			w.want("ID of "+name, svc.Annotations[annotation.LoadBalancerID], "lb-theirs")
			w.want("address of "+name, svc.Status.LoadBalancer.Ingress[0].IP, "203.0.113.77")
			w.want("finalizers of "+name, len(svc.Finalizers), 1)
		}
		w.want("CLBs made", w.cloud.created, 0)
		w.pass(time.Minute)
		w.cloud.take()
		w.run()
		w.pass(time.Hour)
		w.wantCalls("a restart changes nothing")

		w.delete("api")
		w.pass(soon)
		w.want("its listener goes", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:80 of web"})
		w.want("its finalizer", len(w.service("api").Finalizers), 0)
		w.want("the tag stays for the other", w.tags("lb-theirs")[lbsync.TagCluster], "cls-demo")
		w.remove(w.service("api"))
		w.edit("web", clusterIP)
		w.pass(soon)
		w.want("only theirs is left", w.listeners("lb-theirs"), []string{"TCP:22 of ssh"})
		w.want("and the tag goes with the last", w.tags("lb-theirs"), map[string]string{"team": "a"})
		svc := w.service("web")
		w.want("finalizers", len(svc.Finalizers), 0)
		w.want("status", len(svc.Status.LoadBalancer.Ingress), 0)
		w.want("annotations", []string{svc.Annotations[annotation.LoadBalancerID], svc.Annotations[annotation.Applied]}, []string{"", ""})
		w.want("its settings are as they were", w.cloud.attributes("lb-theirs").String(), "security groups sg-theirs, pass to target off, delete protection on, SnatPro off")
		w.pass(soon)
		w.want("memory", w.now.memory.knows(key{Name: "lb-theirs"}), false)
	}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...), kubetest.Service("api", on("lb-theirs"), port(81)), kubetest.Slice("api", at(2)...))
}

func TestABrokenServiceNeverDisturbsTheOtherOnItsCLB(t *testing.T) {
	for name, breakIt := range map[string]func(w *world){
		"a bad annotation that blocks":   func(w *world) { w.edit("api", annotate(annotation.CrossRegion, "??")) },
		"a bad annotation that does not": func(w *world) { w.edit("api", annotate(annotation.Drift, "perhaps")) },
		"IPv6 only": func(w *world) {
			w.edit("api", func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} })
		},
		"another ID":         func(w *world) { w.edit("api", annotate(annotation.ExistingID, "lb-missing")) },
		"an ID that is none": func(w *world) { w.edit("api", annotate(annotation.ExistingID, "what?")) },
		"no ID":              func(w *world) { w.edit("api", annotate(annotation.ExistingID, "")) },
		"plans only":         func(w *world) { w.edit("api", annotate(annotation.Mode, "plan"), port(82)) },
		"hands off":          func(w *world) { w.edit("api", annotate(annotation.TKEMode, "skip"), port(82)) },
		"the other's port":   func(w *world) { w.edit("api", port(80)) },
		"a person's port":    func(w *world) { w.edit("api", port(22)) },
		"a protocol that CLB has not": func(w *world) {
			w.edit("api", func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP })
		},
		"no node port":                     func(w *world) { w.edit("api", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 0 }) },
		"no endpoints":                     func(w *world) { w.put(kubetest.Slice("api")) },
		"a selector that matches no node":  func(w *world) { w.edit("api", annotate(annotation.Backends, "no=where")) },
		"deletion":                         func(w *world) { w.delete("api") },
		"deletion without its finalizer":   func(w *world) { w.remove(w.service("api")) },
		"a subnet beside the existing CLB": func(w *world) { w.edit("api", annotate(annotation.InternalSubnet, "subnet-demo0001")) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.made("lb-theirs", map[string]string{})
				w.run()
				w.pass(time.Minute)
				w.cloud.take()
				before := w.part("lb-theirs", "TCP:80")
				breakIt(w)
				w.pass(5 * time.Minute)
				for _, c := range texts(w.cloud.take("Find", "Observe", "Health")) {
					if strings.Contains(c, "TCP:80") || strings.Contains(c, "TCP:22") || strings.Contains(c, "LoadBalancer") {
						t.Errorf("%q touches what is the other's", c)
					}
				}
				w.want("the other's part", w.part("lb-theirs", "TCP:80"), before)
				w.put(kubetest.Node(4))
				w.run()
				w.pass(time.Minute)
				w.want("a node comes, after a restart", strings.Contains(w.part("lb-theirs", "TCP:80"), "ins-00000004"), true)
				w.want("a person's listener", slices.Contains(w.listeners("lb-theirs"), "TCP:22 of ssh"), true)
				w.want("the other is well", w.events("web"), []string{"EnsuringLoadBalancer", "EnsuredLoadBalancer", "UpdatedLoadBalancer"})
				w.want("CLBs made", w.cloud.created, 0)
			}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...), kubetest.Service("api", on("lb-theirs"), port(81)), kubetest.Slice("api", at(2)...))
		})
	}
}

// part is the text of what a CLB has at a place.
func (w *world) part(id, place string) string {
	var out []string
	here := false
	for line := range strings.Lines(w.cloud.text()) {
		if !strings.HasPrefix(line, " ") {
			here = strings.HasPrefix(line, id+" ")
		}
		if here && strings.Contains(line, " "+place+" ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestACLBThatMustNotBeSharedIsRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		tags   map[string]string
		change func(*lbsync.LoadBalancer)
		mods   []func(*corev1.Service)
		reason lbsync.Reason
		says   string
	}{
		"bought for a Service":          {tags: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "other"}.Tags(), reason: lbsync.NotForSharing, says: "E4012"},
		"bought by TKE, in another way": {tags: map[string]string{lbsync.TagCreatedBy: "yes"}, reason: lbsync.NotForSharing, says: "E4012"},
		"used by another cluster":       {tags: tagged("cls-other"), reason: lbsync.OtherCluster, says: "E4013"},
		"in another VPC":                {change: func(lb *lbsync.LoadBalancer) { lb.Instance.VPCID = "vpc-6ef7a8b9" }, reason: lbsync.OtherVPC, says: "vpc-6ef7a8b9"},
		"in another VPC than is said":   {mods: []func(*corev1.Service){kubetest.Annotation(annotation.CrossVPC, "vpc-6ef7a8b9")}, reason: lbsync.OtherVPC, says: "vpc-6ef7a8b9"},
		"not there":                     {mods: []func(*corev1.Service){on("lb-missing")}, reason: lbsync.NoSuchLoadBalancer, says: "E4011"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.made("lb-theirs", c.tags)
				if c.change != nil {
					w.cloud.edit("lb-theirs", c.change)
				}
				w.run()
				w.pass(time.Hour)
				w.wantCalls("nothing is written")
				if m := w.message("web", string(c.reason)); !strings.Contains(m, c.says) {
					t.Errorf("the Event says %q, without %q", m, c.says)
				}
				w.want("condition", conditionOf(w.service("web"), lbsync.ConditionSynced).Reason, string(c.reason))
				w.delete("web")
				w.pass(soon)
				w.want("it can go", len(w.service("web").Finalizers), 0)
			}, kubetest.Service("web", append([]func(*corev1.Service){on("lb-theirs")}, c.mods...)...), kubetest.Slice("web", at(1)...))
		})
	}
}

func conditionOf(svc *corev1.Service, kind string) metav1.Condition {
	for _, c := range svc.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{}
}

func TestAServiceKeepsItsCLBUntilItIsNoLoadBalancer(t *testing.T) {
	for name, c := range map[string]struct{ from, to, stays string }{
		"from one to another":       {"lb-theirs", "lb-second", "lb-theirs"},
		"from one to a new one":     {"lb-theirs", "", "lb-theirs"},
		"from its own to another's": {"", "lb-theirs", "lb-1"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.made("lb-theirs", map[string]string{})
				w.made("lb-second", map[string]string{})
				w.run()
				w.pass(soon)
				for range 2 {
					w.edit("web", annotate(annotation.ExistingID, c.to))
					w.pass(soon)
					w.want("it stays", w.service("web").Annotations[annotation.LoadBalancerID], c.stays)
					w.want("its listener", w.part(c.stays, "TCP:80") != "", true)
					w.want("told", slices.ContainsFunc(w.events("web"), func(e string) bool { return strings.HasPrefix(e, "CreateTimeOnly") }), true)
					w.run() // and after a restart
					w.pass(soon)
				}
				w.edit("web", clusterIP)
				w.pass(soon)
				w.want("finalizers", len(w.service("web").Finalizers), 0)
				w.edit("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
				w.pass(soon)
				want := c.to
				if want == "" {
					want = "lb-1"
				}
				w.want("and then it changes over", w.service("web").Annotations[annotation.LoadBalancerID], want)
			}, kubetest.Service("web", annotate(annotation.ExistingID, c.from)), kubetest.Slice("web", at(1)...))
		})
	}
}

func TestACopiedManifestDoesNoHarm(t *testing.T) {
	inWorld(t, func(w *world) {
		w.made("lb-theirs", map[string]string{})
		w.made("lb-second", map[string]string{})
		w.run()
		w.pass(time.Minute)
		before := w.part("lb-theirs", "TCP:80")
		copied := w.service("web")
		copied.Name, copied.UID = "copy", "copy"
		copied.Annotations[annotation.ExistingID] = "lb-second"
		copied.Annotations[annotation.ClientToken] = "web"
		w.put(copied)
		w.pass(soon)
		w.want("the copy is where its annotation says", w.listeners("lb-second"), []string{"TCP:22 of ssh", "TCP:80 of copy"})
		w.want("the original", w.part("lb-theirs", "TCP:80"), before)
		w.want("ID of the copy", w.service("copy").Annotations[annotation.LoadBalancerID], "lb-second")
	}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...))
}

func TestAPlaceIsThatOfTheServiceWhichHasIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.made("lb-theirs", map[string]string{})
		w.run()
		w.pass(soon)
		older := kubetest.Service("a-older", on("lb-theirs"), func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(time.Unix(1, 0)) })
		w.put(older)
		w.pass(soon)
		w.want("it stays with the first", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:80 of web"})
		if m := w.message("a-older", "PortTaken"); !strings.Contains(m, "default/web") || !strings.Contains(m, "E4014") {
			t.Errorf("the Event says %q", m)
		}
		w.edit("web", port(90))
		w.pass(time.Minute)
		w.want("and is free when that gives it up", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:80 of a-older", "TCP:90 of web"})
	}, kubetest.Service("web", on("lb-theirs"), func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(time.Unix(9, 0)) }), kubetest.Slice("web", at(1)...))
}

func TestHandsOffLeavesEverythingBehind(t *testing.T) {
	for _, id := range []string{"", "lb-theirs"} {
		t.Run("on "+id, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.made("lb-theirs", map[string]string{})
				w.run()
				w.pass(time.Minute)
				before := w.cloud.text()
				w.edit("web", annotate(annotation.TKEMode, "skip"))
				w.put(kubetest.Node(4))
				w.pass(time.Minute)
				w.want("nothing is changed", w.cloud.text(), before)
				w.want("condition", conditionOf(w.service("web"), lbsync.ConditionSynced).Reason, "Skipped")
				w.delete("web")
				w.pass(soon)
				w.want("it goes", len(w.service("web").Finalizers), 0)
				w.remove(w.service("web"))
				w.pass(time.Hour)
				w.want("and leaves all behind", w.cloud.text(), before)
			}, kubetest.Service("web", annotate(annotation.ExistingID, id)), kubetest.Slice("web", at(1)...))
		})
	}
}

func TestWithoutTheRightToTagEverythingElseGoesOn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.made("lb-theirs", map[string]string{})
		w.cloud.fail(func(_ context.Context, text string) error {
			if strings.HasPrefix(text, "Tag ") || strings.HasPrefix(text, "Untag ") {
				return refuse(lbsync.Denied, "TagResources", "no right")
			}
			return nil
		})
		w.run()
		w.pass(time.Minute)
		w.want("listeners", w.listeners("lb-theirs"), []string{"TCP:22 of ssh", "TCP:80 of web"})
		w.want("told once", w.message("web", "LoadBalancerNotTagged") != "", true)
		w.delete("web")
		w.pass(soon)
		w.want("finalizers", len(w.service("web").Finalizers), 0)
		w.want("listeners", w.listeners("lb-theirs"), []string{"TCP:22 of ssh"})
	}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...))
}

func TestAServiceWhoseSharedCLBIsGoneFollowsItsAnnotation(t *testing.T) {
	for name, to := range map[string]string{"to another one": "lb-second", "to a new one": "", "that names none at first": "lb-missing"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.made("lb-theirs", map[string]string{})
				w.made("lb-second", map[string]string{})
				w.run()
				w.pass(time.Minute)
				w.cloud.mu.Lock()
				delete(w.cloud.clbs, "lb-theirs")
				w.cloud.mu.Unlock()
				w.pass(time.Hour)
				w.want("it waits for the one that it names", w.service("web").Annotations[annotation.LoadBalancerID], "lb-theirs")
				w.edit("web", annotate(annotation.ExistingID, to))
				w.pass(time.Minute)
				want := to
				if to == "lb-missing" {
					w.want("the address of the one that is gone", len(w.service("web").Status.LoadBalancer.Ingress), 0)
					w.edit("web", annotate(annotation.ExistingID, "lb-second"))
					w.pass(time.Minute)
					want = "lb-second"
				}
				if to == "" {
					want = "lb-1"
				}
				svc := w.service("web")
				w.want("CLB", svc.Annotations[annotation.LoadBalancerID], want)
				w.want("its listener", w.part(want, "TCP:80") != "", true)
				w.want("its address", svc.Status.LoadBalancer.Ingress[0].IP, w.cloud.clbs[want].Instance.VIPs[0].String())
				w.delete("web")
				w.pass(time.Minute)
				w.want("it can go", len(w.service("web").Finalizers), 0)
			}, kubetest.Service("web", on("lb-theirs")), kubetest.Slice("web", at(1)...))
		})
	}
}
