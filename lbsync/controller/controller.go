// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
)

const (
	syncReport = 30 * time.Second // how often Run says which caches it waits for
	stepsMax   = 10               // of one sync: a creation takes three
)

// Controller keeps CLBs in step with Services. Its methods are safe for concurrent use.
type Controller struct {
	client    kubernetes.Interface
	cloud     Cloud
	regions   func(string) (Cloud, error)
	settings  lbsync.Settings
	workers   int
	gathering time.Duration
	verify    time.Duration
	grace     time.Duration
	wait      time.Duration
	dryRun    bool
	born      time.Time

	services  corelisters.ServiceLister
	members   cache.Indexer // of Services, with byCLB
	nodes     corelisters.NodeLister
	slices    cache.Indexer
	caches    map[string]<-chan struct{} // closed when the handlers have seen all that there was; by resource
	instances *instances
	hosts     hosts
	quota     *quota
	healths   *healths
	pods      *pods
	gates     *gates // nil: readiness gates are not worked on
	secrets   *secrets
	configs   *configs // nil: TkeServiceConfigs are not followed
	queue     *queue
	memory    memory
	orphans   orphans

	recorder record.EventRecorder // set by Run
	stopping <-chan struct{}      // set by Run; closed when no further step is to be begun
}

// New returns a Controller that watches through cfg.Informers, which the caller starts afterwards.
func New(cfg Config) (*Controller, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	registerMetrics()
	c := &Controller{
		client: cfg.Client, cloud: cfg.Cloud, regions: cfg.Regions, settings: cfg.Settings,
		workers: cfg.Workers, gathering: cfg.Gather, verify: cfg.Verify, grace: cfg.Grace, wait: cfg.Wait, dryRun: cfg.DryRun,
		born: time.Now(), caches: map[string]<-chan struct{}{}, queue: newQueue(cfg.Workers), memory: memory{states: map[key]*state{}, claims: map[types.UID]key{}, nodesOf: map[key]reach{}, actuals: map[key]*lbsync.LoadBalancer{}},
	}
	c.orphans = orphans{read: cfg.Owned, about: cfg.About, regions: map[string]lookout{}}
	nodes := cfg.Informers.Core().V1().Nodes().Lister()
	c.instances = newInstances(cfg.Instances, nodes.Get, c.instanceFound)
	c.healths = &healths{read: c.readHealth}
	c.quota = &quota{read: cfg.TargetQuota, changed: c.all, every: cfg.Verify}
	if err := c.watch(cfg); err != nil {
		return nil, err
	}
	if c.pods, err = newPods(c, cfg); err != nil {
		return nil, err
	}
	c.secrets, c.configs = newSecrets(c), newConfigs(c, cfg)
	if cfg.Settings.Gate.Enabled && !cfg.DryRun {
		c.gates = newGates(c)
	}
	return c, nil
}

// Run works until ctx ends, and then until the calls in flight have ended, or the grace has. It computes
// nothing before all caches have synced, since until then an empty list would not mean that there is none.
// It can be called once.
func (c *Controller) Run(ctx context.Context) {
	logger := klog.FromContext(ctx).WithName("service-lb")
	ctx = klog.NewContext(ctx, logger)
	inFlight, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c.stopping = ctx.Done()
	broadcaster := startEvents(inFlight, c.client)
	defer broadcaster.Shutdown()
	c.recorder = newRecorder(broadcaster)

	var lookups, workers sync.WaitGroup
	lookups.Go(func() { c.instances.run(ctx) })
	lookups.Go(func() { c.configs.run(ctx) })
	if c.waitForCaches(ctx) {
		c.quota.first(ctx)
		c.pods.first(ctx, c.settings)
		c.configs.first(ctx)
		lookups.Go(func() { c.quota.run(ctx) })
		lookups.Go(func() { c.secrets.run(ctx, c.neededSecrets) })
		lookups.Go(func() { c.watchOrphans(ctx) })
		lookups.Go(func() { c.pods.run(ctx, c) })
		logger.Info("Started", "workers", c.workers, "cluster", c.settings.ClusterID, "classOnly", c.settings.ClassOnly, "dryRun", c.dryRun)
		for range 2 * c.workers { // half of them for what is urgent
			workers.Go(func() {
				for c.next(inFlight) {
				}
			})
		}
		if c.gates != nil {
			workers.Go(func() { c.gates.run(inFlight) })
		}
	}
	<-ctx.Done()
	c.queue.ShutDown()
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(c.grace):
		logger.Info("Cancelling calls that are still in flight", "grace", c.grace)
		cancel()
		<-done
	}
	lookups.Wait()
	logger.Info("Stopped")
}

// waitForCaches reports whether the caches have synced before ctx ended. It never gives up: what is missing,
// a right to list, say, can come.
func (c *Controller) waitForCaches(ctx context.Context) bool {
	report := time.NewTicker(syncReport)
	defer report.Stop()
	for begun := time.Now(); ; {
		missing := c.missing()
		if len(missing) == 0 {
			return true
		}
		select {
		case <-c.caches[missing[0]]:
		case <-ctx.Done():
			return false
		case <-report.C:
			klog.FromContext(ctx).Error(nil, "Still waiting for caches, nothing is done for any Service: is the API server reachable, and may this controller list and watch these?",
				"missing", strings.Join(missing, ", "), "for", time.Since(begun).Round(time.Second))
		}
	}
}

func (c *Controller) missing() []string {
	var missing []string
	for name, synced := range c.caches {
		select {
		case <-synced:
		default:
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// next works on one key. It reports false when there will be no more.
func (c *Controller) next(ctx context.Context) bool {
	k, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(k)
	if c.stopped() {
		return true // A queue that is shut down hands out what is left in it.
	}
	d := c.queue.take(k)
	r := c.memory.of(k)
	if held := time.Until(r.hold); held > 0 && !d.changed {
		c.queue.add(k, held, d)
		return true
	}
	if d.changed {
		r.failures = 0
		for _, s := range r.all() {
			s.failure = ""
		}
	}
	ctx = lbsync.WithPriority(klog.NewContext(ctx, klog.FromContext(ctx).WithValues("service", k)), d.priority)
	begun := time.Now()
	again, out := c.sync(ctx, k, r, d)
	c.memory.noteActual(k, r.actual)
	for _, w := range d.waiters {
		w.done <- out.of(w.uid) // Each has room for it.
	}
	if out.err != nil && ctx.Err() == nil {
		again = c.failed(ctx, r, out.err)
		c.queue.note(k, due{trigger: d.trigger, priority: d.priority}) // Still on its way.
	} else if out.err == nil {
		r.hold, r.failures = time.Time{}, 0
	}
	c.measure(ctx, begun, again, out)
	if again > 0 {
		p := lbsync.Background
		if again < time.Until(r.verify) {
			p = d.priority // What was begun goes on.
		}
		c.queue.later(k, again, p)
	}
	return true
}

func (c *Controller) stopped() bool {
	select {
	case <-c.stopping:
		return true
	default:
		return false
	}
}
