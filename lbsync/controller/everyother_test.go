// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// withoutRow names, in the environment, a row of the table that has no effect in this process.
const withoutRow = "CLBSYNC_TEST_WITHOUT_ROW"

func TestMain(m *testing.M) {
	for i, k := range annotation.Keys {
		if k.Name == os.Getenv(withoutRow) {
			annotation.Keys[i].Refused, annotation.Keys[i].Blocking = "it is taken away", false
		}
	}
	os.Exit(m.Run())
}

// Each of the tests of TestEveryAnnotation fails if its annotation does nothing, in what it reads and not in its Events alone:
// else it would be a test of something else.
func TestEveryAnnotationIsMissedByItsTest(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range everyAnnotation() {
		if e.key().Value.Type == "" || !slices.ContainsFunc(annotation.Keys, func(k annotation.Key) bool { return k.Name == e.name }) {
			continue // of a Pod: the table does not decide about it
		}
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			run := exec.CommandContext(t.Context(), program, "-test.run", "^TestEveryAnnotation$/^"+strings.ReplaceAll(e.String(), " ", "_")+"$")
			run.Env = append(os.Environ(), withoutRow+"="+e.name)
			out, err := run.CombinedOutput()
			missed := "set at creation: "
			if e.inert != "" || e.name == annotation.ExistingID { // which annotation.Home reads by itself
				missed = "a bad value from the start: "
			}
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestEveryAnnotation/") || !strings.Contains(string(out), missed) {
				t.Errorf("without %s its test says (%v):\n%s", e.name, err, out)
			}
		})
	}
}

// Annotations that do not go together are told, with the one that has to go, and what stops the Service stops it.
func TestEveryExclusionIsTold(t *testing.T) {
	values := map[string]string{}
	for _, e := range everyAnnotation() {
		values[e.name] = e.value
	}
	inAccount(t, elsewhere, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		withConfigs(l)
		defer l.begin()()
		names := map[string]annotation.Key{} // by Service
		for i, k := range annotation.Keys {
			for j, other := range k.Excludes {
				name := fmt.Sprintf("s%d-%d", i, j)
				names[name] = k
				if values[k.Name] == "" || values[other] == "" {
					t.Errorf("%s and %s: there are no values", k.Name, other)
				}
				n := int32(1000 + len(names))
				l.put(kubetest.Service(name, port(n), kubetest.Annotation(k.Name, values[k.Name]), kubetest.Annotation(other, values[other])))
			}
		}
		l.put(kubetest.Service("bought", kubetest.Annotation(annotation.InternalSubnet, "subnet-demo0001")))
		l.pass(2 * time.Minute)
		l.edit("bought", annotate(annotation.ExistingID, "lb-byhand01"))
		l.pass(2 * time.Minute)
		if m := l.messages("bought"); len(m) != 2 || !strings.Contains(m[1], "was made for the Service and stays so") && !strings.Contains(m[0], "was made for the Service and stays so") {
			t.Errorf("of one that has a CLB of its own the Events say %q, want that it is kept, and what is ignored", m)
		}
		for name, k := range names {
			l.says("both", name, "BadAnnotation", k.Name, "it does not go together with")
			if stopped := l.of(name) == nil; stopped != (k.Blocking && !k.Yields) {
				t.Errorf("%s of %s: stopped %v, want %v", name, k.Name, stopped, !stopped)
			}
			if lb := l.of(name); k.Yields && lb.ID != "lb-byhand01" {
				t.Errorf("%s of %s: CLB %s serves it, want the one that it names", name, k.Name, lb.ID)
			}
		}
	})
}

// A CLB that somebody made in another network is used once the manifest says where it is, and by address.
func TestAnExistingCLBElsewhereIsUsedWhenTheManifestSaysWhere(t *testing.T) {
	inAccount(t, func(c *clbsim.Config) {
		elsewhere(c)
		c.LoadBalancers = append(c.LoadBalancers, clbsim.ExistingLoadBalancer{ID: "lb-othervpc", VPC: "vpc-other001"}, clbsim.ExistingLoadBalancer{ID: "lb-shanghai", VPC: "vpc-shang001"})
	}, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		reachRegions(l)
		if err := l.sim.Console(t.Context(), "CreateLoadBalancerSnatIps", map[string]any{"LoadBalancerId": "lb-othervpc", "SnatIps": []map[string]any{{"SubnetId": "subnet-other001"}}}, nil); err != nil {
			t.Fatal(err)
		}
		l.pass(soon)
		defer l.begin()()
		for name, id := range map[string]string{"vpc": "lb-othervpc", "region": "lb-shanghai"} {
			l.put(kubetest.Slice(name, podsAt(1, 2)...))
			l.put(kubetest.Service(name, on(id)))
		}
		l.pass(time.Minute)
		l.says("without where", "vpc", string(lbsync.OtherVPC), "vpc-other001", annotation.CrossVPC)
		l.says("without where", "region", string(lbsync.NoSuchLoadBalancer), "lb-shanghai", "in the cluster's region")
		l.want("served", l.served("vpc")+" and "+l.served("region"), "nothing and nothing")
		l.edit("vpc", annotate(annotation.CrossVPC, "vpc-other001"))
		l.edit("region", annotate(annotation.CrossRegion, "ap-shanghai"))
		l.pass(time.Minute)
		l.want("served in the VPC", l.served("vpc"), nodesByAddress)
		l.want("served in the region", l.served("region"), "TCP:80")
		l.says("a CLB that cannot reach the nodes", "region", "RefusedByCLB", "has no SnatPro")
		l.want("region that is noted", l.service("region").Annotations[annotation.Region], "ap-shanghai")
		l.edit("vpc", annotate(annotation.CrossVPC, "vpc-2ab3c4d5"))
		l.edit("region", annotate(annotation.CrossRegion, ""))
		l.pass(time.Minute)
		l.says("another VPC", "vpc", string(lbsync.OtherVPC), "not in vpc-2ab3c4d5")
		l.want("served all the same", l.served("vpc")+" and "+l.served("region"), nodesByAddress+" and TCP:80")
		for _, name := range []string{"vpc", "region"} {
			l.delete(name)
		}
		l.pass(time.Minute)
		l.want("in the end", l.served("vpc")+" and "+l.served("region"), "nothing and nothing")
		l.want("finalizers", len(l.service("vpc").Finalizers)+len(l.service("region").Finalizers), 0)
	})
}

// What somebody writes over the note of the region while no controller runs makes no second CLB and forgets none.
func TestARegionThatWasWrittenOver(t *testing.T) {
	for name, over := range map[string]map[string]string{
		"the note is gone":                                       {annotation.Region: ""},
		"another region is noted":                                {annotation.Region: "ap-beijing"},
		"another region is asked for":                            {annotation.CrossRegion: "ap-beijing"},
		"none is asked for, as in an old manifest":               {annotation.CrossRegion: ""},
		"nothing is left, and the cloud config names the region": {annotation.Region: "", annotation.CrossRegion: "", annotation.LoadBalancerID: ""},
	} {
		t.Run(name, func(t *testing.T) {
			inAccount(t, elsewhere, func(tr *trial) {
				l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
				reachRegions(l)
				if _, all := over[annotation.LoadBalancerID]; all {
					l.config.Settings.OtherRegions = []string{"ap-shanghai"}
				}
				bought := func() (ids []string) {
					state, err := l.sim.State(l.Context())
					if err != nil {
						l.Fatal(err)
					}
					for _, lb := range state.LoadBalancers {
						if lb.Tags[lbsync.TagCluster] == "cls-demo" {
							ids = append(ids, lb.ID)
						}
					}
					return ids
				}
				stop := l.begin()
				l.put(kubetest.Slice("far", podsAt(1, 2)...))
				l.put(kubetest.Service("far", kubetest.Annotation(annotation.CrossRegion, "ap-shanghai")))
				l.pass(time.Minute)
				before := bought()
				l.want("CLBs", len(before), 1)
				for _, what := range []string{"goes on", "is deleted"} {
					stop()
					for key, value := range over {
						l.edit("far", annotate(key, value))
					}
					if what == "is deleted" {
						l.delete("far")
					}
					stop = l.begin()
					l.pass(5 * time.Minute)
					if what == "goes on" {
						l.want("CLBs", bought(), before)
						l.want("region that is noted", l.service("far").Annotations[annotation.Region], "ap-shanghai")
					}
				}
				stop()
				l.want("CLBs in the end", len(bought()), 0)
				l.want("finalizers", len(l.service("far").Finalizers), 0)
			})
		})
	}
}

// The same of a CLB that somebody made: what a Service has there is kept, and goes with the Service.
func TestARegionThatWasWrittenOverOnASharedCLB(t *testing.T) {
	inAccount(t, func(c *clbsim.Config) {
		elsewhere(c)
		c.LoadBalancers = append(c.LoadBalancers, clbsim.ExistingLoadBalancer{ID: "lb-shanghai", VPC: "vpc-shang001"})
	}, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		reachRegions(l)
		l.config.Settings.OtherRegions = []string{"ap-shanghai"}
		stop := l.begin()
		l.put(kubetest.Slice("far", podsAt(1, 2)...))
		l.put(kubetest.Service("far", on("lb-shanghai"), kubetest.Annotation(annotation.CrossRegion, "ap-shanghai")))
		l.pass(time.Minute)
		l.want("served", l.served("far"), "TCP:80")
		for _, what := range []string{"goes on", "is deleted"} {
			stop()
			l.edit("far", annotate(annotation.CrossRegion, ""))
			l.edit("far", annotate(annotation.Region, "ap-beijing"))
			if what == "is deleted" {
				l.delete("far")
			}
			stop = l.begin()
			l.pass(5 * time.Minute)
			if what == "goes on" {
				l.want("served", l.served("far"), "TCP:80")
				l.says("found", "far", string(lbsync.OtherVPC), "lb-shanghai is in vpc-shang001")
			}
		}
		stop()
		l.want("in the end", l.served("far"), "nothing")
		l.want("finalizers", len(l.service("far").Finalizers), 0)
	})
}

// What one of the Services on a CLB does not find, since it does not know the region, is not taken from another that has it there.
func TestACLBThatOneOfItsServicesDoesNotFindIsNotGone(t *testing.T) {
	inAccount(t, func(c *clbsim.Config) {
		elsewhere(c)
		c.LoadBalancers = append(c.LoadBalancers, clbsim.ExistingLoadBalancer{ID: "lb-shanghai", VPC: "vpc-shang001"}, clbsim.ExistingLoadBalancer{ID: "lb-second00"})
	}, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		reachRegions(l)
		stop := l.begin()
		l.put(kubetest.Slice("far", podsAt(1, 2)...))
		l.put(kubetest.Service("far", on("lb-shanghai"), kubetest.Annotation(annotation.CrossRegion, "ap-shanghai")))
		l.pass(time.Minute)
		l.want("served", l.served("far"), "TCP:80")
		stop()
		l.edit("far", annotate(annotation.ExistingID, "lb-second00"))
		l.put(kubetest.Service("a-near", on("lb-shanghai"), port(81)))
		stop = l.begin()
		l.pass(5 * time.Minute)
		stop()
		l.want("where it is", l.id("far"), "lb-shanghai")
		l.want("what it is told", l.service("far").Annotations[annotation.LoadBalancerID], "lb-shanghai")
	})
}

// A region that does not exist, asked for later, keeps nobody from a CLB in place of one that is gone, nor from deletion.
func TestARegionThatDoesNotExistIsInNobodysWay(t *testing.T) {
	inAccount(t, elsewhere, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		reachRegions(l)
		stop := l.begin()
		l.put(kubetest.Slice("web", podsAt(1, 2)...))
		l.put(kubetest.Service("web"))
		l.pass(time.Minute)
		gone := l.id("web")
		stop()
		l.edit("web", annotate(annotation.CrossRegion, "ap-typo"))
		if err := l.sim.Console(l.Context(), "DeleteLoadBalancer", map[string]any{"LoadBalancerIds": []string{gone}}, nil); err != nil {
			t.Fatal(err)
		}
		stop = l.begin()
		l.pass(5 * time.Minute)
		if now := l.id("web"); now == "" || now == gone {
			t.Errorf("CLB %q is gone, and the Service has %q", gone, now)
		}
		l.want("served", l.served("web"), nodesByID)
		stop()
		l.delete("web")
		stop = l.begin()
		l.pass(5 * time.Minute)
		stop()
		l.want("CLB in the end", l.id("web"), "")
		l.want("finalizers", len(l.service("web").Finalizers), 0)
	})
}

// Where CLB has refused every order, none is waited for.
func TestADeletionAfterARefusedCreationIsQuick(t *testing.T) {
	inAccount(t, nil, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		stop := l.begin()
		if _, err := l.sim.AddFault(t.Context(), admin.Fault{Action: "CreateLoadBalancer", Count: -1, Kind: admin.KindError, Code: "InvalidParameterValue", Message: "no"}); err != nil {
			t.Fatal(err)
		}
		l.put(kubetest.Service("web"))
		l.pass(5 * time.Second)
		l.want("finalizers", len(l.service("web").Finalizers), 1)
		l.delete("web")
		l.pass(10 * time.Second)
		stop()
		l.want("finalizers", len(l.service("web").Finalizers), 0)
	})
}

// orderInDoubt runs test after the answer to the order of a Service's CLB was lost, which is not listed before it is made, 12 s later.
// stop ends the controller.
func orderInDoubt(t *testing.T, svc *corev1.Service, test func(l *tried, stop func())) {
	t.Helper()
	inAccount(t, func(c *clbsim.Config) {
		c.Assumptions.CreateListed = "at-end"
		c.Tasks.Delay = clbsim.Duration(12 * time.Second)
	}, func(tr *trial) {
		l := &tried{trial: tr, every: every{endpoints: podsAt(1, 2)}}
		stop := l.begin()
		if _, err := l.sim.AddFault(t.Context(), admin.Fault{Action: "CreateLoadBalancer", Kind: admin.KindDropAfter}); err != nil {
			t.Fatal(err)
		}
		l.put(svc)
		l.pass(100 * time.Millisecond)
		test(l, stop)
	})
}

// A Service that is deleted while nobody knows what became of the order of its CLB stays until that is known, whatever was noted
// and whoever looks.
func TestADeletionInTheMiddleOfACreationLeavesNoCLB(t *testing.T) {
	for name, test := range map[string]struct {
		mods    []func(*corev1.Service)
		restart bool
	}{
		"nothing is noted":                  {},
		"another CLB is noted":              {mods: []func(*corev1.Service){kubetest.Annotation(annotation.LoadBalancerID, "lb-gone0001")}},
		"nothing is noted, after a restart": {restart: true},
		"another CLB is noted, after a restart": {restart: true,
			mods: []func(*corev1.Service){kubetest.Annotation(annotation.LoadBalancerID, "lb-gone0001")}},
	} {
		t.Run(name, func(t *testing.T) {
			orderInDoubt(t, kubetest.Service("web", test.mods...), func(l *tried, stop func()) {
				if test.restart {
					stop()
				}
				l.delete("web")
				if test.restart {
					stop = l.begin()
				}
				l.pass(8 * time.Second)
				l.want("finalizers while it is not known", len(l.service("web").Finalizers), 1)
				l.pass(2 * time.Minute)
				stop()
				l.want("finalizers", len(l.service("web").Finalizers), 0)
				l.want("CLBs that are left", len(l.clbs(true)), 0)
			})
		})
	}
}

// The same, where another CLB is named meanwhile: the one that was ordered is kept when it appears, and is not left behind.
func TestACLBThatIsNamedInTheMiddleOfACreationLeavesNoOtherBehind(t *testing.T) {
	orderInDoubt(t, kubetest.Service("web"), func(l *tried, stop func()) {
		l.edit("web", on("lb-byhand01"))
		l.pass(2 * time.Minute)
		serves := l.service("web").Annotations[annotation.LoadBalancerID]
		if ours := l.clbs(true); len(ours) != 1 || serves != ours[0].ID {
			t.Errorf("there are %d CLBs of ours, and %s serves: want the one that was ordered", len(ours), serves)
		}
		l.says("it is kept", "web", string(lbsync.CreateTimeOnly), "was made for the Service and stays so")
		l.delete("web")
		l.pass(2 * time.Minute)
		stop()
		l.want("finalizers", len(l.service("web").Finalizers), 0)
		l.want("CLBs that are left", len(l.clbs(true)), 0)
	})
}
