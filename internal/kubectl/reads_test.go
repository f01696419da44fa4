// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/internal/readinessgate"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
)

// secured is a Service whose listener needs a certificate from a Secret, and settings from a TkeServiceConfig.
func secured(name string, mods ...func(*corev1.Service)) *corev1.Service {
	return kubetest.Service(name, append([]func(*corev1.Service){
		kubetest.Annotation(annotation.ServiceConfig, "tuned"),
		kubetest.Annotation(annotation.SpecifyProtocol, `{"80":{"protocol":["TCP_SSL"],"tls":"cert"}}`)}, mods...)...)
}

func tuned(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	var spec map[string]any
	if err := yaml.Unmarshal([]byte("loadBalancer:\n  l4Listeners:\n  - protocol: TCP_SSL\n    port: 80\n    scheduler: LEAST_CONN\n"), &spec); err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(tkeServiceConfigs.GroupVersion().WithKind(serviceconfig.Kind))
	o.SetNamespace("default")
	o.SetName("tuned")
	return o
}

func certificate() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cert", UID: "cert"}, Data: map[string][]byte{"qcloud_cert_id": []byte("certRSA1")}}
}

// known has the cluster know the kind TkeServiceConfig.
func (d desk) known() {
	d.client.Resources = append(d.client.Resources, &metav1.APIResourceList{GroupVersion: tkeServiceConfigs.GroupVersion().String(), APIResources: []metav1.APIResource{{Name: tkeServiceConfigs.Resource}}})
}

// reads are how the commands have read Secrets and TkeServiceConfigs.
func (d desk) reads() string {
	var out []string
	for _, a := range append(d.client.Actions(), d.configs.Actions()...) {
		if r := a.GetResource().Resource; r == "secrets" || r == tkeServiceConfigs.Resource {
			what := a.GetVerb() + " " + r
			if get, one := a.(clienttesting.GetAction); one {
				what += " " + get.GetName()
			}
			out = append(out, what)
		}
	}
	return strings.Join(out, ", ")
}

func TestPlanReadsWhatAServiceNames(t *testing.T) {
	objects := []runtime.Object{secured("web"), certificate(), tuned(t), kubetest.Slice("web", kubetest.Ready("n2", "10.1.2.1"))}
	atDesk(t, func(d desk) {
		d.known()
		d.golden("plan-named", "", exitChanges, "plan", "web", "--cloud-config", "cloud.yaml")
		if got, want := d.reads(), "get secrets cert, get tkeserviceconfigs tuned"; got != want {
			d.Errorf("it reads by %s, want %s", got, want)
		}
		if w := d.writes(); len(w) > 0 {
			d.Errorf("writes: %v", w)
		}
	}, objects...)
}

func TestExplainSaysWhatOfThatIsMissing(t *testing.T) {
	service := secured("web")
	for name, c := range map[string]struct {
		objects []runtime.Object
		prepare func(d desk)
		say     []string
	}{
		"neither object": {[]runtime.Object{service}, desk.known, []string{"TkeServiceConfig tuned, which the annotation", "does not exist", "CertificateUnknown"}},
		"no such kind":   {[]runtime.Object{service, certificate()}, func(desk) {}, []string{"the cluster does not know the kind", "certRSA1"}},
		"no right to read the Secret": {[]runtime.Object{service, certificate(), tuned(t)}, func(d desk) {
			d.known()
			d.client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "cert", nil)
			})
		}, []string{"must not be read by you"}},
		"no right to read the TkeServiceConfig": {[]runtime.Object{service, certificate(), tuned(t)}, func(d desk) {
			d.known()
			d.configs.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(tkeServiceConfigs.GroupResource(), "tuned", nil)
			})
		}, []string{"could not be read: TkeServiceConfig default/tuned: ", "forbidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			atDesk(t, func(d desk) {
				c.prepare(d)
				out, complaint, code := d.run("", "explain", "web", "--cloud-config", "cloud.yaml")
				if code != 0 {
					d.Errorf("exit code %d: %s", code, complaint)
				}
				for _, part := range c.say {
					if !strings.Contains(out, part) {
						d.Errorf("%q is not in the answer:\n%s", part, out)
					}
				}
			}, c.objects...)
		})
	}
}

func TestExplainTellsRulesFromTheirListener(t *testing.T) {
	atDesk(t, func(d desk) {
		parent := lbsync.ListenerKey{Protocol: lbsync.HTTP, Port: 80}
		ids, err := d.cloud.CreateListeners(d.Context(), "lb-web00001", []lbsync.Listener{{ListenerKey: parent, Name: lbsync.ListenerName("web")}})
		if err != nil {
			d.Fatal(err)
		}
		var rules []lbsync.Listener
		for _, domain := range []string{"b.example.com", "a.example.com"} {
			rule := lbsync.Listener{ListenerKey: parent, ID: ids[0]}
			rule.Domain, rule.URL = domain, "/"
			rules = append(rules, rule)
		}
		if _, err := d.cloud.CreateListeners(d.Context(), "lb-web00001", rules); err != nil {
			d.Fatal(err)
		}
		d.golden("explain-rules", "", 0, "explain", "web", "--cloud-config", "cloud.yaml")
	}, web(kubetest.Annotation(annotation.SpecifyProtocol, `{"80":{"protocol":["HTTP"],"hosts":{"a.example.com":{},"b.example.com":{}}}}`)))
}

func TestPlanKnowsTheWeightsAndGatesOfPods(t *testing.T) {
	pod := func(name string, gate bool, mods ...func(*corev1.Pod)) *corev1.Pod {
		p := kubetest.Gated(name, "web", "n1", readinessgate.Condition, time.Now())
		if !gate {
			p.Spec.ReadinessGates = nil
		}
		for _, mod := range mods {
			mod(p)
		}
		return p
	}
	heavy := func(p *corev1.Pod) { p.Annotations = map[string]string{annotation.CustomWeight: "50"} }
	endpoints := kubetest.Slice("web", kubetest.OfPod(kubetest.Ready("n1", "10.1.1.1"), "heavy"), kubetest.OfPod(kubetest.Unready("n1", "10.1.1.2"), "waits"),
		kubetest.OfPod(kubetest.Unready("n1", "10.1.1.3"), "starts"))
	svc := kubetest.Service("web", kubetest.Selecting("web"), kubetest.Annotation(annotation.DirectAccess, "true"))
	atDesk(t, func(d desk) {
		d.golden("plan-pods", "", exitChanges, "plan", "web", "--cloud-config", "cloud.yaml")
		for _, a := range d.client.Actions() {
			if r := a.GetResource().Resource; r == "pods" && (a.GetVerb() != "list" || a.(clienttesting.ListAction).GetListRestrictions().Labels.String() != "app=web") {
				d.Errorf("%s of pods %v: want one list of those of the Service", a.GetVerb(), a)
			}
		}
	}, svc, endpoints, pod("heavy", false, heavy), pod("waits", true), pod("starts", false))
}

// shanghai adds a region to the cloud, with a CLB of the Service web in it.
func shanghai(c *clbsim.Config) {
	c.Regions = append(c.Regions, "ap-shanghai")
	c.VPCs = append(c.VPCs, clbsim.VPC{ID: "vpc-shanghai", Region: "ap-shanghai", CIDRs: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/16")}})
	c.LoadBalancers = []clbsim.ExistingLoadBalancer{{ID: "lb-far00001", Name: "cls-demo_default_web", VPC: "vpc-shanghai", Tags: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "web"}.Tags()}}
}

func TestOrphansAreLookedForWhereServicesWereServed(t *testing.T) {
	orphaned := func(c *clbsim.Config) {
		shanghai(c)
		c.LoadBalancers = append(c.LoadBalancers, clbsim.ExistingLoadBalancer{ID: "lb-far00002", Name: "cls-demo_default_old", VPC: "vpc-shanghai", Tags: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "old"}.Tags()})
	}
	for name, c := range map[string]struct {
		mods  []func(*corev1.Service)
		other []string
		finds bool
	}{
		"where no Service ever was":                 {},
		"where a living Service is to be served":    {mods: []func(*corev1.Service){kubetest.Annotation(annotation.CrossRegion, "ap-shanghai")}, finds: true},
		"where a living Service is served":          {mods: []func(*corev1.Service){kubetest.Annotation(annotation.Region, "ap-shanghai")}, finds: true},
		"where the cloud config says":               {other: []string{"ap-shanghai"}, finds: true},
		"in the cluster's own region, by its name":  {other: []string{"ap-guangzhou"}},
		"where it says, besides one that is nobody": {other: []string{"ap-nowhere", "ap-shanghai"}, finds: true},
	} {
		t.Run(name, func(t *testing.T) {
			atDeskWith(t, orphaned, func(d desk) {
				d.other = c.other
				out, complaint, code := d.run("", "orphans", "--cloud-config", "cloud.yaml")
				if strings.Contains(out, "lb-far00002") != c.finds || strings.Contains(out, "lb-far00001") || c.finds && !strings.Contains(out, "ap-shanghai") {
					d.Errorf("want the orphan: %v, and no other CLB:\n%s", c.finds, out)
				}
				unread := len(c.other) == 2
				if code != 0 && !unread || unread && (code != exitFailure || !strings.Contains(complaint, "ap-nowhere could not be looked into")) {
					d.Errorf("exit code %d: %s", code, complaint)
				}
				if !c.finds {
					return
				}
				if out, complaint, code := d.run("", "orphans", "--cloud-config", "cloud.yaml", "--delete", "lb-far00002", "--yes"); code != 0 || !strings.Contains(out, "Deleted CLB lb-far00002") {
					d.Errorf("deletion: exit code %d: %s%s", code, out, complaint)
				}
				if state, err := d.sim.State(d.Context()); err != nil || len(state.LoadBalancers) != 1 {
					d.Errorf("%d CLBs are left, want that of the Service: %v", len(state.LoadBalancers), err)
				}
			}, kubetest.Service("web", c.mods...))
		})
	}
}

func TestExplainLooksIntoTheRegionOfTheCLB(t *testing.T) {
	svc := kubetest.Service("web", kubetest.Annotation(annotation.CrossRegion, "ap-shanghai"))
	atDeskWith(t, shanghai, func(d desk) {
		d.golden("explain-region", "", 0, "explain", "web", "--cloud-config", "cloud.yaml")
	}, svc, kubetest.Slice("web", kubetest.Ready("n2", "10.1.2.1")))
}

func TestPlanOfASharedServiceThatWantsToSeeIt(t *testing.T) {
	atDeskWith(t, func(c *clbsim.Config) {
		c.LoadBalancers = []clbsim.ExistingLoadBalancer{{ID: "lb-shared01", Name: "by hand"}}
	}, func(d desk) {
		d.golden("plan-shared", "", exitChanges, "plan", "web", "--cloud-config", "cloud.yaml")
	}, kubetest.Service("web", kubetest.Annotation(annotation.ExistingID, "lb-shared01"), kubetest.Annotation(annotation.Mode, "plan")),
		kubetest.Slice("web", kubetest.Ready("n2", "10.1.2.1")))
}
