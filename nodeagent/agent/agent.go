// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/healthcheck"
	"github.com/clbsync/clbsync/nodeagent/iptables"
	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// Config is what an operator decides, and the client.
type Config struct {
	Build    Build // for the metrics
	NodeName string
	Client   kubernetes.Interface

	Mode    Mode             // "" detects
	Variant iptables.Variant // "" detects
	Mark    uint32           // one bit

	Pods         nodeagent.PodTraffic
	PodsFromNode bool // pods are the Node's podCIDRs, in place of Pods
	Localhost    bool
	Sysctls      string // directory through which kernel settings are written; "" is /proc/sys
	// ReadinessGate serves pods of this node, for Local, that nothing but their gate clbsync.io/target-health keeps from
	// being ready. It takes a watch of the node's pods.
	ReadinessGate bool

	Drain     bool // answer 503 on health ports while this node is to go
	Address   string
	Profiling bool

	MinSync      time.Duration // at least between two syncs of a family
	CheckEvery   time.Duration // how soon rules that others removed are noticed
	VerifyEvery  time.Duration // how often all rules are compared with the kernel
	StuckAfter   time.Duration // an update that waits longer makes the agent unhealthy
	CompareEvery time.Duration // override mode: how often kube-proxy's health answers are compared
	ModeEvery    time.Duration // how soon a kube-proxy that comes or goes is noticed
}

// Build says which build of the agent this is.
type Build struct{ Version, Commit string }

// Agent is one run of the node agent.
type Agent struct {
	config   Config
	mode     Mode
	found    Found
	metrics  *metrics
	caches   *caches
	families []*family
	recorder record.EventRecorder
	settings nodeagent.Settings // without pods
	again    func()             // ends this run and begins another
}

// Run runs the agent until ctx ends. The rules stay in the kernel: a restart must cut nothing. When kube-proxy leaves
// health ports that the agent left to it, or comes before the agent has done anything, the agent begins anew, in the mode that
// fits then.
func Run(ctx context.Context, config Config) error {
	recorder, stopEvents := startEvents(ctx, config)
	defer stopEvents()
	m := newMetrics()
	m.build.WithLabelValues(config.Build.Version, config.Build.Commit, runtime.Version()).Set(1)
	for {
		inner, again := context.WithCancelCause(ctx)
		err := (&Agent{config: config, metrics: m, recorder: recorder, again: func() { again(errModeChanged) }}).run(inner)
		again(nil)
		if ctx.Err() != nil || !errors.Is(context.Cause(inner), errModeChanged) {
			return err
		}
	}
}

func (a *Agent) run(ctx context.Context) error {
	config := a.config
	a.found = Look(ctx, config.Variant)
	var why, problem string
	a.mode, why, problem = DecideMode(config.Mode, a.found)
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "mode", a.mode, "because", why, "iptables", a.found.Variant, "variantBecause", a.found.WhyChosen, "mark", fmt.Sprintf("%#x", config.Mark))
	if problem != "" {
		logger.Info("This mode does not fit the node", "problem", problem)
		a.nodeEvent(corev1.EventTypeWarning, "NodePortModeMismatch", problem)
	}
	a.settings = a.hostSettings(ctx)
	a.caches = newCaches(config.Client, config.NodeName, config.ReadinessGate, a.changed)
	if err := a.makeFamilies(ctx); err != nil {
		return err
	}
	a.metrics.watch(a.families)
	stopServing, err := a.serve(ctx)
	if err != nil {
		return err
	}
	defer stopServing()
	if err := a.caches.start(ctx); err != nil {
		return err
	}
	if a.outdated(ctx) {
		a.again()
		return nil
	}
	return a.loop(ctx)
}

// outdated looks at the node once more before anything is opened or written. On a node that starts, the API server is reached
// through kube-proxy: the agent has looked, found nobody, and has waited ever since for the one whom it did not find.
func (a *Agent) outdated(ctx context.Context) bool {
	found := Look(ctx, a.config.Variant)
	mode, why, _ := DecideMode(a.config.Mode, found)
	if ctx.Err() != nil || mode == a.mode && found.Variant == a.found.Variant {
		return false
	}
	klog.FromContext(ctx).Info("Beginning anew: the node is other than it was before the API server answered", "mode", mode, "because", why, "iptables", found.Variant)
	return true
}

// loop runs the families' loops and what is on a clock.
func (a *Agent) loop(ctx context.Context) error {
	var wait sync.WaitGroup
	for _, f := range a.families {
		f.trigger()
		wait.Go(func() {
			f.run(ctx, intervals{gather: a.config.MinSync, check: a.config.CheckEvery, verify: a.config.VerifyEvery})
			f.health.Close()
		})
	}
	wait.Go(func() { a.observe(ctx) })
	wait.Go(func() { a.watchReturnPath(ctx) })
	wait.Go(func() { a.watchMode(ctx) })
	wait.Go(func() { a.checkMark(ctx) })
	if a.mode == Override {
		wait.Go(func() { a.compare(ctx) })
	}
	wait.Wait()
	return nil
}

// routeLocalnet lets packets from 127.0.0.0/8 leave this node's loopback. In a container that is not privileged /proc/sys is
// read-only, and the setting may be the operator's already.
func (a *Agent) routeLocalnet() error {
	const name = "net/ipv4/conf/all/route_localnet"
	if setting(name) == "1" {
		return nil
	}
	dir := cmp.Or(a.config.Sysctls, "/proc/sys")
	if err := os.WriteFile(filepath.Join(dir, name), []byte("1"), 0o644); err != nil {
		return fmt.Errorf("net.ipv4.conf.all.route_localnet is not 1 and cannot be written: %w; set it on the node, or mount the node's /proc/sys/net writable and name the place with --sysctls", err)
	}
	return nil
}

// hostSettings prepares the host as kube-proxy would, where that is ours to do.
func (a *Agent) hostSettings(ctx context.Context) nodeagent.Settings {
	logger := klog.FromContext(ctx)
	s := nodeagent.Settings{Localhost: a.config.Localhost, Forward: true, DropInvalid: a.mode == Standalone}
	if s.Localhost {
		if err := a.routeLocalnet(); err != nil {
			logger.Error(err, "NodePorts on 127.0.0.1 are off")
			a.nodeEvent(corev1.EventTypeWarning, "LocalhostNodePortsOff", err.Error())
			s.Localhost = false
		}
	}
	if liberal, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"); err == nil && strings.TrimSpace(string(liberal)) != "0" {
		s.DropInvalid = false // such packets are not INVALID then
	}
	return s
}

// commentsMost is up to how many NodePorts the rules of iptables-legacy name their Services: as many as cost an update nothing
// that anybody would notice. Above, explain and check still name them.
const commentsMost = 1000

func (a *Agent) makeFamilies(ctx context.Context) error {
	var errs []error
	for _, ip := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		runner := iptables.Runner{Family: ip, Variant: a.found.Variant}
		if err := runner.Works(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "No NodePorts in this family: its iptables does not work", "family", ip)
			errs = append(errs, err)
			continue
		}
		options := chains.Options{Mark: a.config.Mark}
		if runner.Variant == iptables.Legacy {
			options.CommentsMost = commentsMost
		}
		if err := runner.SetsWork(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "Client affinity is limited to 100 clients per endpoint: the kernel has no address sets", "family", ip)
			options.Recent = true
		}
		if err := runner.ComparingWorks(ctx); err != nil {
			klog.FromContext(ctx).Info("Updates are slower than they could be: the kernel has no bpf match", "family", ip, "error", err.Error())
			options.EndpointChains = true
		}
		f := newFamily(runner, options, a.metrics, a.snapshot)
		f.health = healthcheck.New(a.healthConfig(f)) //nolint:contextcheck // who holds a port is asked for a second at most, and told in an Event also at the end
		a.families = append(a.families, f)
	}
	if len(a.families) == 0 {
		return fmt.Errorf("iptables-%s works in no address family: %w", a.found.Variant, errors.Join(errs...))
	}
	return nil
}

func (a *Agent) healthConfig(f *family) healthcheck.Config {
	network := "tcp4"
	if f.runner.Family == corev1.IPv6Protocol {
		network = "tcp6"
	}
	c := healthcheck.Config{
		Network: network, Healthy: a.healthy, Mute: a.mode == Override,
		OnBind:   func(c healthcheck.BindChange) { a.bindChanged(f, c) },
		OnAnswer: func(status int) { a.metrics.answers.WithLabelValues(f.label(), fmt.Sprint(status)).Inc() },
	}
	if a.config.Drain {
		c.Draining = func() bool { return Leaving(a.caches.node()) != "" }
	}
	return c
}

// healthy tells whether rule updates get through in all families.
func (a *Agent) healthy() bool {
	now := time.Now()
	for _, f := range a.families {
		if f.overdue(now) > a.config.StuckAfter {
			return false
		}
	}
	return true
}

// snapshot gathers what the rules depend on.
func (a *Agent) snapshot() (nodeagent.Snapshot, nodeagent.Settings) {
	s := nodeagent.Snapshot{NodeName: a.config.NodeName, Node: a.caches.node(), Services: a.caches.services(), Slices: a.caches.slices(), Gated: a.caches.gated()}
	settings := a.settings
	settings.Pods = a.config.Pods
	if a.config.PodsFromNode {
		settings.Pods = podsOf(s.Node)
	}
	return s, settings
}

func podsOf(node *corev1.Node) nodeagent.PodTraffic {
	var p nodeagent.PodTraffic
	if node == nil {
		return p
	}
	cidrs := node.Spec.PodCIDRs
	if len(cidrs) == 0 && node.Spec.PodCIDR != "" {
		cidrs = []string{node.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		if prefix, err := netip.ParsePrefix(c); err == nil {
			p.CIDRs = append(p.CIDRs, prefix)
		}
	}
	return p
}

// changed is called for every event of the caches.
func (a *Agent) changed() {
	for _, f := range a.families {
		f.trigger()
	}
	a.caches.wakeObserver()
}

// observe tells the health ports what the API server says, while the rules may still be on their way: an endpoint that
// is gone must turn the answer at once, not when the kernel has taken the rules of five thousand Services.
func (a *Agent) observe(ctx context.Context) {
	models := map[*family]*nodeagent.Model{}
	for _, f := range a.families {
		models[f] = nodeagent.NewModel(f.runner.Family)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.caches.observer:
		}
		s := nodeagent.Snapshot{NodeName: a.config.NodeName, Node: a.caches.node(), Gated: a.caches.gated()}
		for _, svc := range a.caches.services() {
			if svc.Spec.HealthCheckNodePort != 0 {
				s.Services = append(s.Services, svc)
				s.Slices = append(s.Slices, a.caches.slicesOf(svc)...)
			}
		}
		for _, f := range a.families {
			f.health.Observed(models[f].Desired(s).Health)
		}
	}
}

// Leaving tells why a node is about to go, "" if it is not.
func Leaving(node *corev1.Node) string {
	if node == nil {
		return ""
	}
	if node.DeletionTimestamp != nil {
		return "the Node is being deleted"
	}
	for _, t := range node.Spec.Taints {
		switch t.Key {
		case "ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted":
			return "the Node has the taint " + t.Key
		}
	}
	return ""
}
