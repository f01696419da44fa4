// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
)

// configure lets the cluster know TkeServiceConfigs, and returns what holds them.
func (w *world) configure(objects ...runtime.Object) *fake.FakeDynamicClient {
	w.client.Resources = append(w.client.Resources, &metav1.APIResourceList{GroupVersion: configResource.GroupVersion().String(), APIResources: []metav1.APIResource{{Name: configResource.Resource}}})
	return w.hold(objects...)
}

func (w *world) hold(objects ...runtime.Object) *fake.FakeDynamicClient {
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{configResource: serviceconfig.Kind + "List"}, objects...)
	w.config.Dynamic = client
	return client
}

// serviceConfig returns a TkeServiceConfig whose loadBalancer is as in the text.
func serviceConfig(t testing.TB, name, loadBalancer string) *unstructured.Unstructured {
	t.Helper()
	var lb map[string]any
	if err := yaml.Unmarshal([]byte(loadBalancer), &lb); err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"loadBalancer": lb}}}
	o.SetGroupVersionKind(configResource.GroupVersion().WithKind(serviceconfig.Kind))
	o.SetNamespace("default")
	o.SetName(name)
	return o
}

func secret(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "uid-of-secret"}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

// listeners are the listeners and rules of the only CLB, as the real SDK reads them.
func (w *wire) listeners() []string {
	w.Helper()
	state, err := w.sim.State(w.Context())
	if err != nil || len(state.LoadBalancers) != 1 {
		return nil
	}
	lb, err := w.world.config.Cloud.Observe(w.Context(), state.LoadBalancers[0].ID)
	if err != nil {
		return nil
	}
	lb.Targets = nil
	return strings.Split(strings.TrimSpace(lbsync.Diff(lbsync.LoadBalancer{Present: true}, lb).String()), "\n")
}

func (w *wire) untilListeners(want ...string) {
	w.Helper()
	var got []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if got = w.listeners(); slices.Equal(got, want) {
			return
		}
	}
	w.Fatalf("the listeners are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
}

func (w *wire) untilEvent(reason, part string) {
	w.Helper()
	w.eventually("an Event "+reason+" with "+part, func() bool {
		w.world.mu.Lock()
		defer w.world.mu.Unlock()
		return slices.ContainsFunc(w.world.told, func(e *corev1.Event) bool { return e.Reason == reason && strings.Contains(e.Message, part) })
	})
}

// annotate sets an annotation of the Service web; "" removes it.
func (w *wire) annotate(name, value string) {
	w.Helper()
	w.world.edit("web", func(s *corev1.Service) {
		if s.Annotations[name] = value; value == "" {
			delete(s.Annotations, name)
		}
	})
}

const plainTCP = "+ listener TCP:80 check TCP 5s×3/3"

// What an annotation does through its life: set at creation, changed, a bad value, removed, and added later.
func TestOverTheWireAnnotationsOfListeners(t *testing.T) {
	type stage struct{ value, want, reason, part string }
	for name, test := range map[string]struct {
		annotation string
		stages     []stage
	}{
		"specify-protocol": {annotation.SpecifyProtocol, []stage{
			{`{"80":{"protocol":["HTTP"],"hosts":{"a.example.com":{}}}}`, "+ listener HTTP:80\n+ rule HTTP:80 a.example.com/ check HTTP/ 5s×3/3 codes 15 default", "", ""},
			{`{"80":{"protocol":["HTTPS"],"tls":"cert","hosts":{"a.example.com":{},"b.example.com":{}}}}`, "+ listener HTTPS:80 certificate certRSA1\n+ rule HTTPS:80 a.example.com/ check HTTP/ 5s×3/3 codes 15 default\n+ rule HTTPS:80 b.example.com/ check HTTP/ 5s×3/3 codes 15", "ListenerReplaced", "HTTP:80"},
			{`{"80":{"protocol":["HTTPS"],"tls":"cert","hosts":{"b.example.com":{},"c.example.com":{"tls":"other"}}}}`, "+ listener HTTPS:80 SNI\n+ rule HTTPS:80 b.example.com/ check HTTP/ 5s×3/3 codes 15 certificate certRSA1 default\n+ rule HTTPS:80 c.example.com/ check HTTP/ 5s×3/3 codes 15 certificate certRSA2", "", ""},
			{`{"80":{"protocol":["TCP_SSL"],"tls":"cert"}}`, plainTLS, "", ""},
			{`{"80":{"protocol":["TCP_SSL"],"tls":"missing"}}`, plainTLS, "CertificateUnknown", "Secret default/missing does not exist"},
			{`{"80":{"protocol":["TCP_SSL"],"tls":"wrong"}}`, plainTLS, "CertificateUnknown", "lacks the key qcloud_cert_id"},
			{`{"80":{"protocol":["TCP_SSL"],"tls":"expired"}}`, plainTLS, "RefusedByCLB", "has expired"},
			{`{"80":{"protocol":["UDP"]}}`, plainTCP, "ProtocolImpossible", "asks for UDP on port http"},
			{`{"80":{"protocol":["SCTP"]}}`, plainTCP, "BadAnnotation", "SCTP"},
			{`{"80":{"protocol":["TCP_SSL"],"tls":"cert"}}`, plainTLS, "", ""},
			{`{"80":{"protocol":["TCP_TLS"],"tls":"cert"}}`, plainTLS, "BadAnnotation", "TCP_TLS"},
			{`{"80":{"protocol":["TCP_SSL"],"tls":"cert"}`, plainTLS, "BadAnnotation", "it ends too early"},
			{`{"81":{"protocol":["TCP_SSL"],"tls":"cert"}}`, plainTCP, "", ""},
			{"", plainTCP, "", ""},
			{`{"80":{"protocol":["TCP_SSL"],"tls":"other"}}`, "+ listener TCP_SSL:80 check TCP 5s×3/3 certificate certRSA2", "ListenerReplaced", "TCP:80"},
		}},
		"listenerParameters": {annotation.ListenerParams, []stage{
			{`{"Scheduler":"LEAST_CONN","SessionExpireTime":60,"IdleConnectTimeout":600}`, plainTCP + " session 1m0s LEAST_CONN idle 10m0s", "", ""},
			{`{"SessionExpireTime":90}`, plainTCP + " session 1m30s", "", ""},
			{`{"SessionExpireTime":9}`, plainTCP, "BadAnnotation", "SessionExpireTime is 9"},
			{"", plainTCP, "", ""},
			{`{"IdleConnectTimeout":1980}`, plainTCP, "RefusedByCLB", "IdleConnectTimeout"},
			{`{"IdleConnectTimeout":30}`, plainTCP + " idle 30s", "", ""},
		}},
		"tke-service-config": {annotation.ServiceConfig, []stage{
			{"slow", "+ listener TCP:80 check TCP 30s×2/10 session 1m40s LEAST_CONN idle 30s", "", ""},
			{"http", "+ listener TCP:80 check HTTP:8080/up 5s×3/3 HEAD HTTP/1.0 codes 6 from the VIP", "", ""},
			{"off", "+ listener TCP:80 check none", "", ""},
			{"broken", plainTCP, "BadServiceConfig", "l4Listeners[0].scheduler"},
			{"absent", plainTCP, "ServiceConfigNotFound", "E4026"},
			{"web-auto-service-config", plainTCP, "BadAnnotation", "reserved"},
			{"", plainTCP, "", ""},
			{"slow", "+ listener TCP:80 check TCP 30s×2/10 session 1m40s LEAST_CONN idle 30s", "", ""},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			web := kubetest.Service("web", kubetest.Annotation(test.annotation, test.stages[0].value))
			w := newWire(t, "SECRETEXAMPLE", web, secret("cert", map[string]string{"qcloud_cert_id": "certRSA1"}), secret("other", map[string]string{"qcloud_cert_id": "certRSA2"}),
				secret("expired", map[string]string{"qcloud_cert_id": "certOld1"}), secret("wrong", map[string]string{"tls.crt": "x"}))
			w.world.configure(
				serviceConfig(t, "slow", `{l4Listeners: [{protocol: TCP, port: 80, scheduler: LEAST_CONN, idleConnectTimeout: 30, session: {enable: true, sessionExpireTime: 100}, healthCheck: {enable: true, intervalTime: 30, healthNum: 2, unHealthNum: 10, timeout: 20}}]}`),
				serviceConfig(t, "http", `{l4Listeners: [{protocol: TCP, port: 80, healthCheck: {enable: true, checkPort: 8080, httpCheckPath: /up, httpCheckDomain: a.b, httpCheckMethod: HEAD, httpCode: 6, httpVersion: HTTP/1.0, sourceIpType: 0}}]}`),
				serviceConfig(t, "off", `{l4Listeners: [{protocol: TCP, port: 80, healthCheck: {enable: false}}]}`),
				serviceConfig(t, "broken", `{l4Listeners: [{protocol: TCP, port: 80, scheduler: IP_HASH}]}`))
			w.run()
			for i, s := range test.stages {
				if i > 0 {
					w.annotate(test.annotation, s.value)
				}
				w.untilListeners(strings.Split(s.want, "\n")...)
				if s.reason != "" {
					w.untilEvent(s.reason, s.part)
				}
			}
			w.world.edit("web", clusterIP)
			w.until()
		})
	}
}

const plainTLS = "+ listener TCP_SSL:80 check TCP 5s×3/3 certificate certRSA1"

// What specify-protocol says wrongly of one port costs that port alone, and no port loses what it speaks: plain TCP in place of HTTPS
// would show what nobody may read. The targets of all follow their pods, and a port that comes gets no listener.
func TestOverTheWireAProtocolThatCannotBeReadChangesNoListener(t *testing.T) {
	const site = `"443":{"protocol":["HTTPS"],"tls":"cert","hosts":{"a.example.com":{}}}`
	for name, wrong := range map[string]string{
		"of another port": `{` + site + `,"80":{"protocol":["SCTP"]}}`,
		"of its own":      `{"443":{"protocol":["HTTPS","SCTP"],"tls":"cert","hosts":{"a.example.com":{}}},"80":{"protocol":["TCP"]}}`,
		"of both":         `{"443":{"protocol":["HTTPS"]},"80":{"protocol":[]}}`,
		"a port":          `{"https":{"protocol":["HTTPS"],"tls":"cert","hosts":{"a.example.com":{}}},"80":{"protocol":["TCP"]}}`,
		"JSON":            `{` + site,
		"nothing":         "null",
	} {
		t.Run(name, func(t *testing.T) {
			web := onlyBind("web")
			annotate(annotation.SpecifyProtocol, `{`+site+`,"80":{"protocol":["TCP"]}}`)(web)
			web.Spec.Ports = append(web.Spec.Ports, corev1.ServicePort{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, NodePort: 30443})
			slice := func(nodes ...int) *discoveryv1.EndpointSlice {
				s := kubetest.Slice("web", at(nodes...)...)
				s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: new("https"), Port: new(int32(8443)), Protocol: new(corev1.ProtocolTCP)})
				return s
			}
			w := newWire(t, "SECRETEXAMPLE", web, slice(1), secret("cert", map[string]string{"qcloud_cert_id": "certRSA1"}))
			w.run()
			listeners := []string{"+ listener TCP:80 check HTTP:31000/healthz 5s×3/3", "+ listener HTTPS:443 certificate certRSA1", "+ rule HTTPS:443 a.example.com/ check HTTP/ 5s×3/3 codes 15 default"}
			w.untilListeners(listeners...)
			targets := func(why, want string) {
				w.eventually(why, func() bool {
					state, err := w.sim.State(t.Context())
					if err != nil || len(state.LoadBalancers) != 1 {
						return false
					}
					var got []string
					for b := range w.observed(state.LoadBalancers[0].ID).Targets {
						got = append(got, b.String())
					}
					slices.Sort(got)
					return strings.Join(got, ", ") == want
				})
			}
			targets("it serves", "HTTPS:443 a.example.com/ ins-00000001:30443, TCP:80 ins-00000001:30080")
			w.edit("web", func(s *corev1.Service) {
				s.Annotations[annotation.SpecifyProtocol] = wrong
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "quic", Protocol: corev1.ProtocolUDP, Port: 443, NodePort: 30444})
			})
			w.untilEvent("BadAnnotation", "keeps the listener that it has")
			w.put(slice(2))
			targets("its pods move", "HTTPS:443 a.example.com/ ins-00000002:30443, TCP:80 ins-00000002:30080")
			got := w.listeners()
			if name == "of another port" { // where the new one may be
				got = slices.DeleteFunc(got, func(l string) bool { return strings.Contains(l, "UDP:443") })
			}
			if !slices.Equal(got, listeners) {
				t.Errorf("the listeners are\n%s", strings.Join(got, "\n"))
			}
			calls, err := w.sim.Calls(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range calls {
				if c.Action == "DeleteLoadBalancerListeners" || c.Action == "DeleteRule" {
					t.Errorf("%s %s", c.Action, c.Parameters)
				}
			}
		})
	}
}

// A change of the object, not of the Service, is applied at once; so is a new Secret.
func TestOverTheWireRulesFollowTheirConfig(t *testing.T) {
	w := newWire(t, "SECRETEXAMPLE", kubetest.Service("web", kubetest.Annotation(annotation.ServiceConfig, "site"),
		kubetest.Annotation(annotation.SpecifyProtocol, `{"80":{"protocol":["HTTP"],"hosts":{"a.example.com":{},"b.example.com":{}}}}`)))
	objects := w.world.configure()
	w.run()
	a, b := "+ rule HTTP:80 a.example.com/ check HTTP/ 5s×3/3 codes 15", "+ rule HTTP:80 b.example.com/ check HTTP/ 5s×3/3 codes 15"
	w.untilListeners("+ listener HTTP:80", a+" default", b)
	w.untilEvent("ServiceConfigNotFound", "site")
	of := objects.Resource(configResource).Namespace("default")
	config := serviceConfig(t, "site", `{internetMaxBandwidthOut: 77, l7Listeners: [{protocol: HTTP, port: 80, keepaliveEnable: 1, defaultServer: b.example.com, domains: [{domain: a.example.com, rules: [
		{url: /, scheduler: IP_HASH, session: {enable: true}, healthCheck: {enable: true, httpCheckPath: /up, httpCheckMethod: HEAD, httpCode: 1, sourceIpType: 0}}]}]}]}`)
	if _, err := of.Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.untilListeners("+ listener HTTP:80 keep-alive", "+ rule HTTP:80 a.example.com/ check HTTP/up 5s×3/3 HEAD codes 1 from the VIP session 30s IP_HASH", b+" default")
	w.eventually("the bandwidth is set", func() bool {
		s, err := w.sim.State(t.Context())
		if err != nil || len(s.LoadBalancers) != 1 {
			return false
		}
		lb, err := w.world.config.Cloud.Observe(t.Context(), s.LoadBalancers[0].ID)
		return err == nil && lb.Instance.Bandwidth == 77
	})
	config.Object["spec"] = serviceConfig(t, "site", `{l7Listeners: [{protocol: HTTP, port: 80, domains: [{domain: b.example.com, rules: [{url: /, forwardType: GRPC}]}]}]}`).Object["spec"]
	if _, err := of.Update(t.Context(), config, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.untilListeners("+ listener HTTP:80", a, "+ rule HTTP:80 b.example.com/ check GRPC/ 5s×3/3 forwards GRPC default")
	if err := of.Delete(t.Context(), "site", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.untilListeners("+ listener HTTP:80", a, b+" default")
}

func TestASecretThatChangesIsNoticed(t *testing.T) {
	inWorld(t, func(w *world) {
		web := kubetest.Service("web", kubetest.Annotation(annotation.SpecifyProtocol, `{"80":{"protocol":["TCP_SSL"],"tls":"cert"}}`))
		w.put(web)
		w.put(kubetest.Service("other"))
		w.run()
		w.pass(soon)
		tls := lbsync.ListenerKey{Protocol: lbsync.TCPSSL, Port: 80}
		have := func() string {
			for _, lb := range w.cloud.ordered() {
				if l, there := lb.Listeners[tls]; there {
					return l.Certificate.IDs
				}
			}
			return ""
		}
		w.want("without its Secret there is no listener", have(), "")
		w.want("and the author is told", w.events("web"), []string{"CertificateUnknown"})
		w.put(secret("cert", map[string]string{"qcloud_cert_id": "one"}))
		w.pass(secretsLook + soon)
		w.want("the Secret that came is used", have(), "one")
		w.put(secret("cert", map[string]string{"qcloud_cert_id": "two"}))
		w.pass(secretsEvery + secretsLook + soon)
		w.want("the certificate that was renewed is used", have(), "two")
		w.remove(secret("cert", nil))
		w.pass(secretsEvery + secretsLook + soon)
		w.want("without the Secret, the listener keeps its certificate", have(), "two")
		w.client.ClearActions()
		w.edit("web", clusterIP)
		w.pass(5 * time.Minute)
		for _, a := range w.client.Actions() {
			if a.GetResource().Resource == "secrets" {
				if a.GetVerb() != "get" {
					t.Errorf("Secrets are asked for by %s", a.GetVerb())
				}
			}
		}
		w.client.ClearActions()
		w.pass(5 * time.Minute)
		for _, a := range w.client.Actions() {
			if a.GetResource().Resource == "secrets" {
				t.Error("a Secret that nobody needs is read")
			}
		}
	})
}

func TestTheKindMayComeLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hold(serviceConfig(t, "fast", `{l4Listeners: [{protocol: TCP, port: 80, scheduler: LEAST_CONN}]}`))
		w.put(kubetest.Service("web", kubetest.Annotation(annotation.ServiceConfig, "fast")))
		come := w.configureLater()
		w.run()
		w.pass(soon)
		scheduler := func() lbsync.Scheduler { return w.cloud.ordered()[0].Listeners[web].Scheduler }
		w.want("nothing waits for a kind that is not there", scheduler(), lbsync.Scheduler(""))
		w.want("which is told", strings.Contains(w.message("web", "ServiceConfigNotFound"), "does not know the kind"), true)
		come()
		w.pass(configsLook + soon)
		w.want("when it comes, its objects are followed", scheduler(), lbsync.LeastConn)
	})
}

// configureLater lets the kind be known to the API server once come is called.
func (w *world) configureLater() (come func()) {
	var known atomic.Bool
	w.client.PrependReactor("get", "resource", func(clienttesting.Action) (bool, runtime.Object, error) {
		if known.Load() {
			return false, nil, nil
		}
		return true, nil, apierrors.NewNotFound(configResource.GroupResource(), "")
	})
	w.client.Resources = []*metav1.APIResourceList{{GroupVersion: configResource.GroupVersion().String(), APIResources: []metav1.APIResource{{Name: configResource.Resource}}}}
	return func() { known.Store(true) }
}

func TestATkeServiceConfigIsMadeForAService(t *testing.T) {
	inWorld(t, func(w *world) {
		objects := w.configure().Resource(configResource).Namespace("default")
		w.put(kubetest.Service("web", kubetest.Annotation(annotation.ServiceConfigNew, "true")))
		w.run()
		w.pass(soon)
		get := func() *unstructured.Unstructured {
			o, err := objects.Get(t.Context(), "web"+annotation.AutoConfigSuffix, metav1.GetOptions{})
			if err != nil {
				return nil
			}
			return o
		}
		made := get()
		if made == nil || !metav1.IsControlledBy(made, w.service("web")) {
			t.Fatalf("made %v", made)
		}
		sections := func() (all []string) {
			spec, _ := get().Object["spec"].(map[string]any)
			c, problems := serviceconfig.Parse(spec)
			for k, l := range c.Layer4 {
				all = append(all, strings.TrimSpace(k.String()+" "+l.Scheduler))
			}
			for k := range c.Layer7 {
				all = append(all, k.String())
			}
			for _, p := range problems {
				all = append(all, p.Error())
			}
			slices.Sort(all)
			return all
		}
		w.want("a section for the listener", sections(), []string{"TCP:80"})
		// A person edits it.
		section := made.Object["spec"].(map[string]any)["loadBalancer"].(map[string]any)["l4Listeners"].([]any)[0].(map[string]any)
		section["scheduler"] = "LEAST_CONN"
		if _, err := objects.Update(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.pass(soon)
		w.want("the edit is applied", w.cloud.ordered()[0].Listeners[web].Scheduler, lbsync.LeastConn)
		w.edit("web", func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, NodePort: 30053})
		})
		w.pass(soon)
		w.want("a port brings a section, and the edit stays", sections(), []string{"TCP:80 LEAST_CONN", "UDP:53"})
		w.edit("web", func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[1:] })
		w.pass(soon)
		w.want("a port takes its section along", sections(), []string{"UDP:53"})
		version := get().GetResourceVersion()
		w.run()
		w.pass(time.Hour)
		w.want("a restart writes nothing", get().GetResourceVersion(), version)
		w.edit("web", annotate(annotation.ServiceConfig, "other"))
		w.pass(soon)
		w.want("another name beside it, which is refused", sections(), []string{"UDP:53"})
		w.edit("web", annotate(annotation.ServiceConfig, ""), annotate(annotation.ServiceConfigNew, "True"))
		w.pass(soon)
		w.want("a typo", sections(), []string{"UDP:53"})
		w.edit("web", func(s *corev1.Service) { delete(s.Annotations, annotation.ServiceConfigNew) })
		w.pass(soon)
		if get() != nil {
			t.Error("without the annotation the object is still there")
		}
	})
}

func TestATkeServiceConfigOfSomebodyElseIsLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		theirs := serviceConfig(t, "web"+annotation.AutoConfigSuffix, `{}`)
		theirs.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "web", UID: "another", Controller: new(true)}})
		objects := w.configure(theirs).Resource(configResource).Namespace("default")
		w.put(kubetest.Service("web", kubetest.Annotation(annotation.ServiceConfigNew, "true")))
		w.run()
		w.pass(soon)
		if !strings.Contains(w.message("web", eventFailed), "not to this Service") {
			t.Error("nobody is told")
		}
		w.want("the CLB is made all the same", len(w.cloud.ordered()), 1)
		w.edit("web", func(s *corev1.Service) { delete(s.Annotations, annotation.ServiceConfigNew) })
		w.pass(10 * time.Minute)
		if _, err := objects.Get(t.Context(), theirs.GetName(), metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// What a TkeServiceConfig says and CLB does not get is told, of each Service by itself.
func TestWhatATkeServiceConfigSaysInVainIsTold(t *testing.T) {
	site := `{"80":{"protocol":["HTTP"],"hosts":{"a.example.com":{}}}}`
	for name, test := range map[string]struct {
		mods []func(*corev1.Service)
		says []string // parts, of one Event each
	}{
		"bandwidth of a CLB that a person made": {[]func(*corev1.Service){on("lb-theirs")}, []string{"internetMaxBandwidthOut 20 has no effect: CLB lb-theirs was made by somebody else"}},
		"bandwidth of an internal CLB":          {[]func(*corev1.Service){kubetest.Annotation(annotation.InternalSubnet, "subnet-demo0001")}, []string{"internetMaxBandwidthOut 20 has no effect: the CLB is internal"}},
		"rules": {[]func(*corev1.Service){kubetest.Annotation(annotation.SpecifyProtocol, site)},
			[]string{"the url /api of the domain a.example.com of HTTP:80 has no effect", "the domain b.example.com of HTTP:80 has no effect"}},
		"nothing": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.made("lb-theirs", map[string]string{})
				w.configure(serviceConfig(t, "site", `{internetMaxBandwidthOut: 20, l7Listeners: [{protocol: HTTP, port: 80, domains: [{domain: a.example.com, rules: [{url: /}, {url: /api}]}, {domain: b.example.com, rules: [{url: /}]}]}]}`))
				w.put(kubetest.Service("web", append([]func(*corev1.Service){kubetest.Annotation(annotation.ServiceConfig, "site")}, test.mods...)...))
				w.run()
				w.pass(time.Minute)
				var told []string
				for _, e := range w.told {
					if e.Reason == string(lbsync.SettingIgnored) {
						told = append(told, e.Message)
					}
				}
				if len(told) != len(test.says) {
					t.Fatalf("the Events say %q, want %q", told, test.says)
				}
				for _, part := range test.says {
					if !slices.ContainsFunc(told, func(m string) bool { return strings.Contains(m, part) }) {
						t.Errorf("the Events say %q, without %q", told, part)
					}
				}
			})
		})
	}
}
