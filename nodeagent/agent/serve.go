// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// serve answers about the agent itself: /livez and /healthz (rule updates get through; /healthz also that the node is
// to stay), /readyz (rules are in the kernel), /metrics. An empty address serves nothing.
func (a *Agent) serve(ctx context.Context) (stop func(), err error) {
	if a.config.Address == "" {
		return func() {}, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.problem()) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		problem := a.problem()
		if problem == "" {
			problem = Leaving(a.caches.node())
		}
		answer(w, problem)
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		for _, f := range a.families {
			if !f.ready() {
				answer(w, f.label()+": no rules in the kernel yet")
				return
			}
		}
		answer(w, a.problem())
	})
	mux.Handle("/metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	if a.config.Profiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.config.Address)
	if err != nil {
		return nil, fmt.Errorf("the agent's own address (--address): %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			klog.FromContext(ctx).Error(err, "The agent's own address is served no longer")
		}
	}()
	return func() { server.Close() }, nil
}

func (a *Agent) problem() string {
	if a.healthy() {
		return ""
	}
	return "rule updates have not reached the kernel for more than " + a.config.StuckAfter.String()
}

func answer(w http.ResponseWriter, problem string) {
	if problem == "" {
		fmt.Fprintln(w, "ok")
		return
	}
	http.Error(w, problem, http.StatusServiceUnavailable)
}

// compareSoon is between the first comparisons. Before it was restarted the agent may have held a port that kube-proxy could not
// open: now nobody answers there, and a load balancer waits for no more than a few probes.
const compareSoon = time.Second

// compare asks kube-proxy, which holds the health ports in override mode, and tells when it says otherwise than we
// would: the load balancer hears kube-proxy, while the packets meet our rules.
func (a *Agent) compare(ctx context.Context) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	before := map[string]map[types.NamespacedName]difference{}
	for soon := 2; ; {
		wait := a.config.CompareEvery
		if soon > 0 {
			wait = min(wait, compareSoon)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if soon > 0 && !slices.ContainsFunc(a.families, func(f *family) bool { return !f.ready() }) {
			soon-- // before that nobody knows what to ask
		}
		for _, f := range a.families {
			now := a.differences(ctx, client, f)
			lasting := 0
			for service, d := range now {
				// One difference may be a matter of milliseconds; two in a row are not.
				if before[f.label()][service] == (difference{}) {
					continue
				}
				lasting++
				if d.silent {
					f.health.Open(service)
				}
				a.serviceEvent(service, corev1.EventTypeWarning, "HealthCheckNodePortDiffers", d.words)
			}
			a.metrics.differ.WithLabelValues(f.label()).Set(float64(lasting))
			before[f.label()] = now
		}
	}
}

// difference is how kube-proxy's answer is not what ours would be. silent: nobody listens. A kube-proxy that could not open
// the port when it wanted to, because this agent held it before a restart, say, tries again only when some Service changes.
type difference struct {
	words  string
	silent bool
}

func (a *Agent) differences(ctx context.Context, client *http.Client, f *family) map[types.NamespacedName]difference {
	host := "127.0.0.1"
	if f.runner.Family == corev1.IPv6Protocol {
		host = "::1"
	}
	found := map[types.NamespacedName]difference{}
	for service, count := range f.health.Counts() {
		ours := http.StatusServiceUnavailable
		if count.Endpoints > 0 && a.healthy() {
			ours = http.StatusOK
		}
		status, weight, err := probe(ctx, client, net.JoinHostPort(host, strconv.Itoa(int(count.Port))))
		who := fmt.Sprintf("node %s, healthCheckNodePort %d (%s): ", a.config.NodeName, count.Port, f.runner.Family)
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			found[service] = difference{who + "kube-proxy is to answer in mode override, but nobody does; this agent answers in its place", true}
		case err != nil:
			found[service] = difference{words: who + "kube-proxy is to answer in mode override, but does not: " + err.Error()}
		case status != ours || weight != strconv.Itoa(count.Endpoints):
			found[service] = difference{words: who + fmt.Sprintf("kube-proxy answers %d with weight %s, this agent counts %d endpoints", status, weight, count.Endpoints)}
		}
	}
	return found
}

func probe(ctx context.Context, client *http.Client, address string) (status int, weight string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)); err != nil {
		return 0, "", err
	}
	return response.StatusCode, response.Header.Get("X-Load-Balancing-Endpoint-Weight"), nil
}
