// SPDX-License-Identifier: Apache-2.0

// Package healthcheck answers load balancers on healthCheckNodePorts, in the words that kube-proxy uses: any path,
// 200 if an endpoint on this node can take traffic and 503 if not, with the count in a header and as JSON.
//
// The answer is the handshake with the load balancer, and so it is the cautious one of two views: an endpoint
// counts only while the API server lists it as ready (Observed) and the kernel has rules for it (Programmed).
// The package decides neither; nodeagent/agent tells it both.
package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/nodeagent"
)

// connectionCap bounds the probe connections of one port, and the time-outs below how long one may sit there: a port
// that is open to the internet on every node must not cost the agent its memory or its file descriptors. Nor must who
// takes all places keep the load balancer out: see crowd.
const (
	connectionCap = 128
	readTimeout   = 5 * time.Second
	writeTimeout  = 10 * time.Second
	idleTimeout   = 60 * time.Second
	maxHeader     = 16 << 10
	bindFirst     = 200 * time.Millisecond
	bindLast      = 10 * time.Second
)

// Name is who answers, in the header Server; kube-proxy has none. Weight is the header that both have.
const (
	Name   = "clb-node-agent"
	Weight = "X-Load-Balancing-Endpoint-Weight"
)

// BindChange tells that a health port could not be opened, or that it could after all.
type BindChange struct {
	Service types.NamespacedName
	Port    uint16
	Err     error // nil: the port is open now
}

// Config is what a Server needs.
type Config struct {
	Network string // "tcp4" or "tcp6": one family
	// Healthy tells whether rule updates get through; false turns every answer into 503.
	Healthy func() bool
	// Draining tells whether this node is to get no new traffic; true turns every answer into 503. May be nil.
	Draining func() bool
	// OnBind is called when a port's state changes, not at every attempt. It must not call the Server.
	OnBind func(BindChange)
	// Mute opens no port but those of Open: another proxy holds them, and Counts is compared with its answers.
	Mute bool
	// OnAnswer is called for each answer. May be nil.
	OnAnswer func(status int)
}

// Server holds one listener per Service. It is safe for concurrent use.
type Server struct {
	config Config
	ctx    context.Context
	stop   context.CancelFunc

	mu       sync.Mutex
	services map[types.NamespacedName]*service
	latest   map[types.NamespacedName]nodeagent.HealthPort // as last observed; nil before that
}

type service struct {
	name       types.NamespacedName
	port       uint16
	programmed []netip.Addr
	observed   []netip.Addr
	open       func() // starts the listener; nil once it has been
	close      context.CancelFunc
	done       chan struct{}
}

// New returns a server without ports. Close ends it.
func New(config Config) *Server {
	ctx, stop := context.WithCancel(context.Background())
	return &Server{config: config, ctx: ctx, stop: stop, services: map[types.NamespacedName]*service{}}
}

// Observed tells what the API server says now. It can only turn answers down at once; what it adds
// counts from the next Programmed on.
func (s *Server) Observed(ports []nodeagent.HealthPort) {
	now := map[types.NamespacedName]nodeagent.HealthPort{}
	for _, p := range ports {
		now[p.Service] = p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = now
	for _, svc := range s.services {
		s.observe(svc)
	}
}

// observe gives a service the API server's view of it: nothing, if its port has moved or it is gone.
func (s *Server) observe(svc *service) {
	svc.observed = nil
	if p := s.latest[svc.name]; p.Port == svc.port {
		svc.observed = p.Addresses
	}
}

// Programmed tells which endpoints the kernel has rules for, and opens and closes ports accordingly. The listener of a
// Service whose port stays is left alone.
func (s *Server) Programmed(ports []nodeagent.HealthPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[types.NamespacedName]nodeagent.HealthPort{}
	for _, p := range ports {
		wanted[p.Service] = p
	}
	for name, svc := range s.services {
		if wanted[name].Port != svc.port {
			svc.close()
			<-svc.done // the port may be the next Service's
			delete(s.services, name)
		}
	}
	for _, p := range ports {
		svc := s.services[p.Service]
		if svc == nil {
			svc = &service{name: p.Service, port: p.Port, observed: p.Addresses, done: make(chan struct{})}
			if s.latest != nil {
				s.observe(svc) // the rules may come from an older view
			}
			s.services[p.Service] = svc
			var ctx context.Context
			ctx, svc.close = context.WithCancel(s.ctx)
			svc.open = func() { go s.serve(ctx, svc) }
			if s.config.Mute {
				close(svc.done)
			} else {
				svc.open()
			}
		}
		svc.programmed = p.Addresses
	}
}

// Open opens the port of a Service although the server is mute, because the proxy that was to answer there does not.
func (s *Server) Open(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svc := s.services[name]; svc != nil && s.config.Mute && svc.open != nil && s.ctx.Err() == nil {
		svc.done = make(chan struct{})
		svc.open()
		svc.open = nil
	}
}

// Close closes all ports and cuts their connections.
func (s *Server) Close() {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, svc := range s.services {
		<-svc.done
	}
}

// serve keeps the port open until the context ends. While another program holds it, it tries again and again: that
// program may be an old agent, or a kube-proxy about to be reconfigured, and nobody would come back to tell us.
func (s *Server) serve(ctx context.Context, svc *service) {
	defer close(svc.done)
	var failed bool
	bind := func() (net.Listener, error) {
		l, err := (&net.ListenConfig{}).Listen(ctx, s.config.Network, fmt.Sprintf(":%d", svc.port))
		if err != nil && ctx.Err() == nil && !failed {
			failed = true
			s.config.OnBind(BindChange{Service: svc.name, Port: svc.port, Err: err})
		}
		return l, err
	}
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(bindFirst), backoff.WithMaxInterval(bindLast), backoff.WithMaxElapsedTime(0))
	listener, err := backoff.RetryWithData(bind, backoff.WithContext(policy, ctx))
	if err != nil {
		return // the context has ended
	}
	if failed {
		s.config.OnBind(BindChange{Service: svc.name, Port: svc.port})
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(w, svc) }),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(newCrowd(listener, connectionCap)); !errors.Is(err, http.ErrServerClosed) {
		s.config.OnBind(BindChange{Service: svc.name, Port: svc.port, Err: err})
	}
}

// Count is what one port answers.
type Count struct {
	Port      uint16
	Endpoints int
}

// Counts returns what the ports answer, or would if they were open.
func (s *Server) Counts() map[types.NamespacedName]Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[types.NamespacedName]Count, len(s.services))
	for name, svc := range s.services {
		counts[name] = Count{Port: svc.port, Endpoints: svc.agreed()}
	}
	return counts
}

// count is the number of endpoints that both views agree on; 0 for a Service that has gone.
func (s *Server) count(svc *service) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.services[svc.name] != svc {
		return 0
	}
	return svc.agreed()
}

func (svc *service) agreed() int {
	n := 0
	for _, a := range svc.programmed {
		if slices.Contains(svc.observed, a) {
			n++
		}
	}
	return n
}

func (s *Server) answer(w http.ResponseWriter, svc *service) {
	count, healthy := s.count(svc), s.config.Healthy()
	draining := s.config.Draining != nil && s.config.Draining()
	status := http.StatusServiceUnavailable
	if count > 0 && healthy && !draining {
		status = http.StatusOK
	}
	w.Header().Set("Server", Name) // a check on the node that may not look into processes asks who holds the port
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set(Weight, strconv.Itoa(count))
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\n\t\"service\": {\n\t\t\"namespace\": %q,\n\t\t\"name\": %q\n\t},\n\t\"localEndpoints\": %d,\n\t\"serviceProxyHealthy\": %v\n}",
		svc.name.Namespace, svc.name.Name, count, healthy)
	if s.config.OnAnswer != nil {
		s.config.OnAnswer(status)
	}
}
