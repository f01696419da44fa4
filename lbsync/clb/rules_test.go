// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/lbsync"
)

// certificates are those of the account.
func certificates(cfg *clbsim.Config) {
	cfg.Certificates = []clbsim.Certificate{{ID: "certRSA1"}, {ID: "certRSA2"}, {ID: "certECC1", Algorithm: "ECC"}, {ID: "certCA01", CA: true}, {ID: "certOld1", Expired: true}}
}

var (
	rsa, other = lbsync.Certificate{IDs: "certRSA1"}, lbsync.Certificate{IDs: "certRSA2"}
	both       = lbsync.Certificate{IDs: "certRSA1,certECC1"}
	withCA     = lbsync.Certificate{IDs: "certRSA2", CA: "certCA01"}
	siteCheck  = lbsync.HealthCheck{On: true, Type: lbsync.CheckHTTP, Path: "/", Domain: "a.example.com", Codes: 15, Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 3, Unhealthy: 3}
)

// with returns a listener, or a rule, with changes.
func with(k lbsync.ListenerKey, check lbsync.HealthCheck, changes ...func(*lbsync.Listener)) lbsync.Listener {
	l := ours(k, check, 0)
	for _, change := range changes {
		change(&l)
	}
	return l
}

func on(p lbsync.Protocol, domain string) lbsync.ListenerKey {
	return lbsync.ListenerKey{Protocol: p, Port: 443, Domain: domain, URL: "/"}
}

func cert(c lbsync.Certificate) func(*lbsync.Listener) {
	return func(l *lbsync.Listener) { l.Certificate = c }
}

func sni(l *lbsync.Listener)       { l.SNI = true }
func keepAlive(l *lbsync.Listener) { l.KeepAlive = true }
func isDefault(l *lbsync.Listener) { l.Default = true }

// Each state is reached from each other, and read back as it was asked for.
func TestListenersOfAllProtocolsReachOneAnother(t *testing.T) {
	simple := func(p lbsync.Protocol) lbsync.ListenerKey { return key(p, 443) }
	a, b := on(lbsync.HTTPS, "a.example.com"), on(lbsync.HTTPS, "*.b.example.com")
	grpc, https, head := siteCheck, siteCheck, siteCheck
	grpc.Type, grpc.Codes = lbsync.CheckGRPC, 0
	https.Type, https.Codes, https.Path = lbsync.CheckHTTPS, 31, "/up"
	head.Head, head.FromVIP, head.Codes = true, true, 0
	states := map[string][]lbsync.Listener{
		"nothing":                {},
		"TCP":                    {with(simple(lbsync.TCP), tcpCheck, func(l *lbsync.Listener) { l.Scheduler, l.IdleTimeout = lbsync.LeastConn, 30*time.Second })},
		"TCP by default":         {with(simple(lbsync.TCP), tcpCheck)},
		"UDP":                    {with(simple(lbsync.UDP), pingCheck, func(l *lbsync.Listener) { l.IdleTimeout = 900 * time.Second })},
		"TCP_SSL":                {with(simple(lbsync.TCPSSL), tcpCheck, cert(rsa))},
		"TCP_SSL of two":         {with(simple(lbsync.TCPSSL), tcpCheck, cert(both))},
		"QUIC":                   {with(simple(lbsync.QUIC), lbsync.HealthCheck{}, cert(rsa))},
		"QUIC and HTTPS":         {with(simple(lbsync.QUIC), lbsync.HealthCheck{}, cert(rsa)), with(simple(lbsync.HTTPS), lbsync.HealthCheck{}, cert(withCA)), with(a, siteCheck)},
		"HTTP":                   {with(simple(lbsync.HTTP), lbsync.HealthCheck{}, keepAlive), with(on(lbsync.HTTP, "a.example.com"), siteCheck, func(l *lbsync.Listener) { l.SessionExpire, l.Scheduler = time.Minute, lbsync.IPHash })},
		"HTTP of other domains":  {with(simple(lbsync.HTTP), lbsync.HealthCheck{}), with(on(lbsync.HTTP, "b.example.com"), head, isDefault), with(on(lbsync.HTTP, "a.example.com"), grpc, func(l *lbsync.Listener) { l.ForwardType = "GRPC" })},
		"HTTPS":                  {with(simple(lbsync.HTTPS), lbsync.HealthCheck{}, cert(rsa)), with(a, siteCheck), with(b, siteCheck)},
		"HTTPS, one domain less": {with(simple(lbsync.HTTPS), lbsync.HealthCheck{}, cert(other)), with(b, https, func(l *lbsync.Listener) { l.ForwardType = "HTTPS" })},
		"HTTPS with SNI":         {with(simple(lbsync.HTTPS), lbsync.HealthCheck{}, sni), with(a, siteCheck, cert(rsa)), with(b, siteCheck, cert(withCA), isDefault)},
		"SNI, unchecked":         {with(simple(lbsync.HTTPS), lbsync.HealthCheck{}, sni, keepAlive), with(a, lbsync.HealthCheck{}, cert(both)), with(on(lbsync.HTTPS, "c.example.com"), siteCheck, cert(other))},
	}
	want := func(name string) lbsync.LoadBalancer {
		lb := desired(states[name])
		for k := range lb.Listeners {
			if k.Rule() || k.Protocol != lbsync.HTTP && k.Protocol != lbsync.HTTPS {
				lb.Targets[lbsync.Binding{Listener: k, Target: onInstance("ins-00000001", 30443)}] = 10
			}
		}
		return lb
	}
	for from := range states {
		t.Run(from+", and changed to every other", func(t *testing.T) {
			simulated(t, certificates, func(t *testing.T, w world) {
				for to := range states {
					now := w.current()
					now = w.reach(now, desired(nil))
					now = w.reach(now, lbsync.Complete(now, want(from)))
					now = w.reach(now, lbsync.Complete(now, want(to)))
					again := want(to)
					if plan := lbsync.Diff(now, lbsync.Complete(now, again)); !plan.Empty() {
						t.Errorf("%s to %s is not at rest:\n%s", from, to, plan)
					}
				}
			})
		})
	}
}

func TestTargetsOfRules(t *testing.T) {
	simulated(t, certificates, func(t *testing.T, w world) {
		site, shop := on(lbsync.HTTP, "a.example.com"), on(lbsync.HTTP, "shop.example.com")
		want := desired([]lbsync.Listener{with(key(lbsync.HTTP, 443), lbsync.HealthCheck{}), with(site, siteCheck, isDefault), with(shop, siteCheck)})
		at := func(k lbsync.ListenerKey, instance string) lbsync.Binding {
			return lbsync.Binding{Listener: k, Target: onInstance(instance, 30080)}
		}
		want.Targets[at(site, "ins-00000001")], want.Targets[at(shop, "ins-00000001")] = 10, 20
		now := w.reach(lbsync.LoadBalancer{}, want)
		want.Targets = map[lbsync.Binding]int{at(site, "ins-00000001"): 0, at(shop, "ins-00000002"): 7}
		now = w.reach(now, want)
		<-time.After(time.Minute)
		health, err := w.Health(t.Context(), []string{now.Instance.ID})
		if err != nil {
			t.Fatal(err)
		}
		if got := health[now.Instance.ID]; len(got) != 2 {
			t.Errorf("health %v", got)
		}
		for b := range want.Targets {
			if _, known := health[now.Instance.ID][b]; !known {
				t.Errorf("the health of %s is not known: %v", b, health)
			}
		}
		// One rule's target is refused, the other's comes.
		want.Targets[at(site, "ins-99999999")], want.Targets[at(shop, "ins-00000003")] = 10, 10
		_, err = lbsync.Diff(now, want).Apply(t.Context(), w.Client, now)
		refused, only := lbsync.OnlyRefused(err)
		if !only || len(refused) != 1 || refused[0].Binding != at(site, "ins-99999999") {
			t.Errorf("refused %v", err)
		}
		delete(want.Targets, at(site, "ins-99999999"))
		if plan := lbsync.Diff(w.observe(now.Instance.ID), want); !plan.Empty() {
			t.Errorf("left to do:\n%s", plan)
		}
	})
}

func TestACertificateThatIsRefusedCostsItsListener(t *testing.T) {
	simulated(t, certificates, func(t *testing.T, w world) {
		a, b := on(lbsync.HTTPS, "a.example.com"), on(lbsync.HTTPS, "b.example.com")
		old, absent := lbsync.Certificate{IDs: "certOld1"}, lbsync.Certificate{IDs: "absent"}
		want := desired([]lbsync.Listener{
			with(key(lbsync.TCPSSL, 8443), tcpCheck, cert(old)), with(key(lbsync.TCP, 80), tcpCheck),
			with(key(lbsync.HTTPS, 443), lbsync.HealthCheck{}, sni), with(a, siteCheck, cert(rsa), isDefault), with(b, siteCheck, cert(absent)),
		}, onInstance("ins-00000001", 30080))
		for k := range want.Targets {
			if k.Listener == key(lbsync.HTTPS, 443) {
				delete(want.Targets, k)
			}
		}
		now, err := lbsync.Diff(lbsync.LoadBalancer{}, want).Apply(t.Context(), w.Client, lbsync.LoadBalancer{})
		refused, only := lbsync.OnlyRefused(err)
		if !only {
			t.Fatal(err)
		}
		var objects []string
		for _, one := range refused {
			objects = append(objects, one.Object())
		}
		if diff := cmp.Diff([]string{"listener TCP_SSL:8443", "rule HTTPS:443 b.example.com/"}, objects); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if text := err.Error(); !strings.Contains(text, "has expired") || !strings.Contains(text, "does not exist") {
			t.Error(text)
		}
		rest := refused.Without(now, want)
		if plan := lbsync.Diff(w.observe(now.Instance.ID), rest); !plan.Empty() {
			t.Errorf("left to do beside what is refused:\n%s", plan)
		}
		if got := len(rest.Targets); got != 2 {
			t.Errorf("%d targets, want those of the others", got)
		}
	})
}

func TestRulesThatAreGoneAreNotMissed(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		var list []lbsync.Listener
		for _, d := range []string{"a", "b", "c", "d"} {
			list = append(list, with(on(lbsync.HTTP, d+".example.com"), siteCheck))
		}
		parent := with(key(lbsync.HTTP, 443), lbsync.HealthCheck{})
		all := desired(append(list, parent))
		now := w.reach(lbsync.LoadBalancer{}, lbsync.Complete(lbsync.LoadBalancer{}, all))
		id, rule := location(now.Listeners[on(lbsync.HTTP, "b.example.com")].ID)
		w.console("DeleteRule", map[string]any{"LoadBalancerId": now.Instance.ID, "ListenerId": id, "LocationIds": []string{rule}})
		<-time.After(time.Minute)
		// a, b and c go, of which b has gone and a is the default.
		var doomed []lbsync.Listener
		for _, d := range []string{"a", "b", "c"} {
			doomed = append(doomed, now.Listeners[on(lbsync.HTTP, d+".example.com")])
		}
		if err := w.DeleteListeners(t.Context(), now.Instance.ID, doomed); err != nil {
			t.Fatal(err)
		}
		left := w.observe(now.Instance.ID)
		if last := left.Listeners[on(lbsync.HTTP, "d.example.com")]; len(left.Listeners) != 2 || !last.Default {
			t.Errorf("left %v", left.Listeners)
		}
		if err := w.DeleteListeners(t.Context(), now.Instance.ID, doomed); err != nil {
			t.Errorf("a second time: %v", err)
		}
	})
}

func TestARuleThatIsGoneIsNoFaultOfTheTargets(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		site := on(lbsync.HTTP, "a.example.com")
		now := w.reach(lbsync.LoadBalancer{}, desired([]lbsync.Listener{with(key(lbsync.HTTP, 443), lbsync.HealthCheck{}), with(site, siteCheck, isDefault)}))
		id, rule := location(now.Listeners[site].ID)
		w.console("DeleteRule", map[string]any{"LoadBalancerId": now.Instance.ID, "ListenerId": id, "LocationIds": []string{rule}})
		<-time.After(time.Minute)
		change := lbsync.Change{Binding: lbsync.Binding{Listener: site, Target: onInstance("ins-00000001", 30080)}, ListenerID: now.Listeners[site].ID, Weight: 10}
		for name, err := range map[string]error{
			"register": w.Register(t.Context(), now.Instance.ID, []lbsync.Change{change}),
			"reweight": w.Reweight(t.Context(), now.Instance.ID, []lbsync.Change{change}),
			"modify":   w.ModifyListener(t.Context(), now.Instance.ID, lbsync.ListenerChange{To: now.Listeners[site]}),
		} {
			if lbsync.KindOf(err) != lbsync.NotFound {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A person's listener of layer 7 is read, with its rules, and they are not ours.
func TestRulesOfOthers(t *testing.T) {
	simulated(t, nil, func(t *testing.T, w world) {
		now := w.reach(lbsync.LoadBalancer{}, desired(nil))
		w.console("CreateListener", map[string]any{"LoadBalancerId": now.Instance.ID, "Ports": []int{443}, "Protocol": "HTTP", "ListenerNames": []string{"theirs"}})
		<-time.After(time.Minute)
		seen := w.observe(now.Instance.ID)
		w.console("CreateRule", map[string]any{"LoadBalancerId": now.Instance.ID, "ListenerId": seen.Listeners[key(lbsync.HTTP, 443)].ID, "Rules": []any{map[string]any{"Domain": "a.example.com", "Url": "/"}}})
		<-time.After(time.Minute)
		seen = w.observe(now.Instance.ID)
		if len(seen.Listeners) != 2 {
			t.Fatalf("listeners %v", seen.Listeners)
		}
		for _, l := range seen.Listeners {
			if l.Ours() {
				t.Errorf("%s is not ours", l.ListenerKey)
			}
		}
		want := desired([]lbsync.Listener{with(key(lbsync.HTTP, 443), lbsync.HealthCheck{}), with(on(lbsync.HTTP, "a.example.com"), siteCheck), with(key(lbsync.TCP, 80), tcpCheck)})
		if plan := lbsync.Diff(seen, want).String(); strings.Contains(plan, "HTTP:443") || !strings.Contains(plan, "+ listener TCP:80") {
			t.Errorf("plan:\n%s", plan)
		}
		if plan := lbsync.Diff(seen, desired(nil)); !plan.Empty() {
			t.Errorf("plan:\n%s", plan)
		}
		var objects []string
		for _, s := range lbsync.Foreign(seen, want) {
			objects = append(objects, s.Object)
		}
		if diff := cmp.Diff([]string{"listener HTTP:443"}, objects); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// A new rule is one request however many there are, and the requests of a change are those that it needs.
func TestRequestsForRules(t *testing.T) {
	simulated(t, certificates, func(t *testing.T, w world) {
		parent := with(key(lbsync.HTTPS, 443), lbsync.HealthCheck{}, sni)
		a, b := on(lbsync.HTTPS, "a.example.com"), on(lbsync.HTTPS, "b.example.com")
		one := desired([]lbsync.Listener{parent, with(a, siteCheck, cert(rsa), isDefault), with(b, siteCheck, cert(rsa))})
		now := w.reach(lbsync.LoadBalancer{}, one)
		slow := siteCheck
		slow.Interval = 9 * time.Second
		start := len(w.writes())
		now = w.reach(now, desired([]lbsync.Listener{parent, with(a, slow, cert(rsa), isDefault), with(b, siteCheck, cert(other))}))
		w.reach(now, desired([]lbsync.Listener{parent, with(b, siteCheck, cert(other), isDefault)}))
		got := w.writes()[start:]
		if diff := cmp.Diff([]string{"ModifyRule", "ModifyDomainAttributes", "ModifyDomainAttributes", "DeleteRule"}, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if n := slices.Index(w.writes(), "CreateRule"); n < 0 || slices.Contains(w.writes()[n+1:], "CreateRule") {
			t.Errorf("writes %v", w.writes())
		}
	})
}
