// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"
)

// WeightDefault is the weight of a target that nothing else decides, CLB's own default. WeightMax is the
// largest that CLB takes; 0 is the smallest and means that no new connection goes there.
const (
	WeightDefault = 10
	WeightMax     = 100
)

// Tags that say whose a CLB is, spelled as TKE spells them.
const (
	TagCreatedBy = "tke-createdBy-flag" // "yes": bought by a controller, and goes with its Service
	TagCluster   = "tke-clusterId"      // the cluster that uses it
	TagService   = "tke-lb-serviceuuid" // the UID of the Service that owns it
	createdByYes = "yes"
	listenerMark = "clbsync-" // followed by the Service's UID: the name of a listener that is ours
)

// Owner says whose a CLB is: the Service, by its UID, of a cluster. Names do not do: CLB renames a
// newcomer silently when the name is taken.
type Owner struct{ ClusterID, ServiceUID string }

// Tags returns the tags of a CLB that was created for the owner.
func (o Owner) Tags() map[string]string {
	return map[string]string{TagCreatedBy: createdByYes, TagCluster: o.ClusterID, TagService: o.ServiceUID}
}

// Owns reports whether tags prove that the CLB was created for the owner. A CLB that lacks one of the three
// is somebody else's: deleting it could delete what a person bought.
func (o Owner) Owns(tags map[string]string) bool {
	if o.ClusterID == "" || o.ServiceUID == "" {
		return false
	}
	for k, v := range o.Tags() {
		if tags[k] != v {
			return false
		}
	}
	return true
}

// OwnerOf returns the owner that tags name; its Owns says whether they prove it.
func OwnerOf(tags map[string]string) Owner {
	return Owner{ClusterID: tags[TagCluster], ServiceUID: tags[TagService]}
}

// Protocol is the protocol of a listener, in CLB's spelling.
type Protocol string

// The protocols of listeners. Those of HTTP and HTTPS take targets through their rules, the others directly.
const (
	TCP    Protocol = "TCP"
	UDP    Protocol = "UDP"
	TCPSSL Protocol = "TCP_SSL" // CLB ends TLS, targets get TCP
	QUIC   Protocol = "QUIC"    // CLB ends QUIC, targets get UDP
	HTTP   Protocol = "HTTP"
	HTTPS  Protocol = "HTTPS"
)

var protocols = []Protocol{TCP, UDP, TCPSSL, QUIC, HTTP, HTTPS} // all of them

// Transport is TCP or UDP: listeners of one transport share CLB's ports, and their targets' ports are of it too.
func (p Protocol) Transport() Protocol {
	if p == UDP || p == QUIC {
		return UDP
	}
	return TCP
}

// layer7 reports whether targets belong to rules.
func (p Protocol) layer7() bool { return p == HTTP || p == HTTPS }

// asksNode reports whether the health check of such a listener can ask a node's healthCheckNodePort whether it has
// pods: CLB probes another port than the target's own for TCP listeners only (CheckPort), apart from UDP ones, whose
// probes are no HTTP.
func (p Protocol) asksNode() bool { return p == TCP }

// ListenerKey tells listeners of one CLB apart: those of TCP and UDP may share a port. A forwarding rule of an HTTP or
// HTTPS listener is a listener of its own here, with a domain and a path: it is what has targets, a health check and a
// scheduler there. The listener that it hangs on, its parent, has none of these.
type ListenerKey struct {
	Protocol Protocol
	Port     uint16
	Domain   string // of a rule; "" otherwise
	URL      string // of a rule, begins with /; "" otherwise
}

func (k ListenerKey) String() string {
	if !k.Rule() {
		return fmt.Sprintf("%s:%d", k.Protocol, k.Port)
	}
	return fmt.Sprintf("%s:%d %s%s", k.Protocol, k.Port, k.Domain, k.URL)
}

// Rule reports whether it is the key of a forwarding rule.
func (k ListenerKey) Rule() bool { return k.Domain != "" }

// Parent is the key of the listener that a rule hangs on; other keys are their own.
func (k ListenerKey) Parent() ListenerKey { return ListenerKey{Protocol: k.Protocol, Port: k.Port} }

// port is what CLB gives to one listener only.
func (k ListenerKey) port() ListenerKey {
	return ListenerKey{Protocol: k.Protocol.Transport(), Port: k.Port}
}

// compare sorts a listener before its rules.
func (k ListenerKey) compare(o ListenerKey) int {
	return cmp.Or(cmp.Compare(k.Port, o.Port), cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.Domain, o.Domain), cmp.Compare(k.URL, o.URL))
}

// LoadBalancer is one CLB with all that hangs on it. The zero value is no CLB.
//
// As actual it says what CLB has; as desired, what it should have. Maps may be nil, which is empty.
type LoadBalancer struct {
	Present   bool // false: there is none (actual), or there should be none (desired)
	Instance  Instance
	Listeners map[ListenerKey]Listener
	Targets   map[Binding]int // weights, 0 to 100; every binding's listener is in Listeners

	// Idle (desired only) holds the listeners whose Service has no endpoint at all, ready or not. Only such a listener may
	// lose its last target; where targets are missing for another reason, the old ones are kept.
	Idle map[ListenerKey]bool

	// Doubtful (desired only) holds the hosts that are no full targets for a reason that is about their node
	// and that nobody decided: not ready, or matched by no selector. Nodes in such a state in masses are
	// more often a fault of the control plane, or of a manifest, than of the nodes. All CLBs share it: nobody may change it.
	Doubtful map[string]Reason
	// Known (desired only) holds the hosts of all nodes, by each name that a target of theirs may have, and the nodes' names.
	// A target whose host is not among them lost its Node object, which is doubtful in masses too, unless it is a pod.
	// All CLBs share it: nobody may change it.
	Known map[string]string
	// Answering (desired only) says behind which targets of a listener somebody answers. A listener that is
	// absent is not known about: every target may answer.
	Answering map[ListenerKey]Answering
	// TargetQuota (desired only) is how many targets a listener may have; 0 is not known.
	TargetQuota int
	// Waiting (desired only) holds the listeners and rules whose certificate is not known: Complete keeps what is there.
	Waiting map[ListenerKey]bool
	// Unclear (desired only) holds the listeners that ports may have whose protocol cannot be read, with what each would be bound to.
	// Complete keeps those that are there, and makes none.
	Unclear map[ListenerKey]Unclear
	// AccessInDoubt (desired only): who may connect is said in a way that cannot be followed. Complete opens no port that is not open.
	AccessInDoubt bool
	// RemovalAllowed (desired only) is a person's word that doubtful targets may go.
	RemovalAllowed bool
	// Released (desired only) holds the listeners for which alone it is given.
	Released map[ListenerKey]bool
}

// Clone returns a copy that shares nothing that can change.
func (l LoadBalancer) Clone() LoadBalancer {
	l.Instance = l.Instance.clone()
	l.Listeners = maps.Clone(l.Listeners)
	l.Targets = maps.Clone(l.Targets)
	l.Idle = maps.Clone(l.Idle)
	l.Answering = maps.Clone(l.Answering)
	l.Waiting = maps.Clone(l.Waiting)
	l.Released = maps.Clone(l.Released)
	return l
}

// Answering says which targets of a listener pass on what they get. CLB learns that by its probes, three of
// them at five seconds each by default, in which what it sends elsewhere is lost. It is about nodes and about pods
// alike, whichever of them are to be the targets: while one takes over from the other, both are there.
type Answering struct {
	Port  uint16          // the node port; at any other port of a node nobody listens any more. 0: the Service has none
	Nodes map[string]bool // names of the nodes with an endpoint that serves, terminating or not; nil: every node passes on

	Direct bool                  // pods are to be the targets
	Pods   map[netip.Addr]Answer // of the addresses of endpoints; at any other address that is no node's nobody answers any more
	Former map[netip.Addr]bool   // of those endpoints whose port is not known: Complete keeps what is bound of them
}

// Answer is what is known of an endpoint.
type Answer int

// The answers.
const (
	Silent   Answer = iota // it is there, and not ready
	Answers                // it serves, terminating or not
	Unknowns               // it is not ready, on a node that is not ready: nobody can say of what is there whether it serves
)

// pod reports whether a target of the listener is a pod, or was one.
func (a Answering) pod(t Target, known map[string]string) bool {
	if !t.IP.IsValid() || !a.Direct && t.Port == a.Port {
		return false // or a node that is bound by its address
	}
	_, node := known[t.Host()]
	return !node
}

// silent reports whether nobody answers behind a target. known is LoadBalancer.Known.
func (a Answering) silent(t Target, known map[string]string) bool {
	if a.pod(t, known) {
		return a.Pods[t.IP] == Silent
	}
	node, isNode := known[t.Host()]
	return t.Port != a.Port || a.Nodes != nil && isNode && !a.Nodes[node]
}

// IPVersion is the address family of a CLB and of its targets.
type IPVersion string

// The families.
const (
	IPv4  IPVersion = ""
	IPv6  IPVersion = "IPv6"  // CLB's IPv6FullChain: IPv6 outside and inside
	NAT64 IPVersion = "NAT64" // CLB's IPV6: IPv6 outside, IPv4 targets
)

// Listener is a protocol and port of a CLB, or a rule of one, with its settings and without its targets. Settings that
// the protocol does not have are zero. The zero value of each is what holds if nobody asks for anything else.
type Listener struct {
	ListenerKey
	ID            string // "lbl-…", of a rule "lbl-…/loc-…"; actual only
	EndPort       uint16 // the last one of a range of ports; actual only, of listeners that are not ours. 0: it has one port
	Name          string // desired: ListenerName of its Service. A rule has no name in CLB: it has its parent's here
	Check         HealthCheck
	SessionExpire time.Duration // stickiness, by client address or, in rules, by cookie: 30 s to 3600 s; 0 is none
	Scheduler     Scheduler
	IdleTimeout   time.Duration // of TCP and UDP, after which CLB forgets a silent connection, 10 s to 1980 s; 0: CLB's default
	Certificate   Certificate   // of TCP_SSL, QUIC, HTTPS without SNI; of the rules of HTTPS with SNI, the same in all of one domain
	SNI           bool          // of HTTPS: the domains have the certificates. It cannot be switched off again
	KeepAlive     bool          // of HTTP and HTTPS: CLB keeps connections to targets
	ForwardType   string        // of rules: what targets speak: "" HTTP, else HTTPS or GRPC
	Default       bool          // of rules: requests for unknown domains go to this one. One domain of a listener has it, all its rules alike; in desired, false: whoever has it keeps it
}

// Scheduler is how a listener chooses among its targets.
type Scheduler string

// The schedulers. The zero value is by weight, in turn (CLB's WRR).
const (
	LeastConn Scheduler = "LEAST_CONN"
	IPHash    Scheduler = "IP_HASH" // of rules only
)

// Certificate names certificates of Tencent Cloud's SSL service. The zero value is none, or, in desired, one that is not known
// (LoadBalancer.Waiting).
type Certificate struct {
	IDs string // of the server: one, or two of different algorithms with a comma between
	CA  string // signs the clients' certificates, which are demanded then; "": none
}

// ListenerName is the name of the listeners of a Service: it proves whose a listener is on a CLB that
// several Services, or people, share.
func ListenerName(serviceUID string) string { return listenerMark + serviceUID }

// Ours reports whether the listener was made by this controller. Others are never touched.
func (l Listener) Ours() bool { return strings.HasPrefix(l.Name, listenerMark) }

// CheckType is how a target is probed.
type CheckType string

// The probes.
const (
	CheckTCP   CheckType = "TCP"   // connect
	CheckHTTP  CheckType = "HTTP"  // on TCP and TCP_SSL listeners, and on rules
	CheckHTTPS CheckType = "HTTPS" // on HTTPS rules
	CheckGRPC  CheckType = "GRPC"  // on rules
	CheckPing  CheckType = "PING"  // on UDP listeners only
)

// http reports whether a probe is an HTTP request.
func (t CheckType) http() bool { return t == CheckHTTP || t == CheckHTTPS }

// HealthCheck is how the targets of a listener are probed. The zero value is no probing.
type HealthCheck struct {
	On        bool
	Type      CheckType
	Port      uint16        // 0: the target's own port
	Path      string        // of CheckHTTP, CheckHTTPS and CheckGRPC
	Domain    string        // of the same; CLB refuses an HTTP check of a TCP listener without
	Head      bool          // of CheckHTTP and CheckHTTPS: HEAD in place of GET
	HTTP10    bool          // of CheckHTTP on listeners: HTTP/1.0 in place of HTTP/1.1
	Codes     int           // of CheckHTTP and CheckHTTPS, what is healthy: the sum of 1 (1xx), 2 (2xx), 4 (3xx), 8 (4xx), 16 (5xx); 0 is 2xx
	FromVIP   bool          // probes come from the CLB's address in place of 100.64.0.0/10
	Interval  time.Duration // 2 s to 300 s
	Timeout   time.Duration // 2 s to 60 s, and less than Interval
	Healthy   int           // successes in a row that make a target healthy, 2 to 10
	Unhealthy int           // failures in a row that make it unhealthy, 2 to 10
}

func (h HealthCheck) String() string {
	if !h.On {
		return "none"
	}
	s := string(h.Type)
	if h.Port != 0 {
		s += fmt.Sprintf(":%d", h.Port)
	}
	return s + h.Path
}

// Settle is how long a target that is registered now stays without traffic, if all its probes succeed.
func (h HealthCheck) Settle() time.Duration {
	if !h.On {
		return 0
	}
	return h.Interval * time.Duration(h.Healthy)
}

// Target is where a listener sends traffic: exactly one of Instance and IP, and a port.
type Target struct {
	Instance string     // "ins-…": the primary address of a CVM instance
	IP       netip.Addr // a pod's address, or that of a node that cannot be bound as an instance
	Port     uint16
}

// Host is the target without its port: the instance ID or the address.
func (t Target) Host() string {
	if t.Instance != "" {
		return t.Instance
	}
	return t.IP.String()
}

func (t Target) String() string { return fmt.Sprintf("%s:%d", t.Host(), t.Port) }

// Binding is a target of a listener; it is what has a weight and a health.
type Binding struct {
	Listener ListenerKey
	Target   Target
}

func (b Binding) String() string { return b.Listener.String() + " " + b.Target.String() }

func (b Binding) compare(o Binding) int {
	if c := b.Listener.compare(o.Listener); c != 0 {
		return c
	}
	return b.Target.compare(o.Target)
}

// compare sorts addresses, as numbers, before instances. It makes no texts of them: a CLB with thousands of targets is sorted
// several times in a sync.
func (t Target) compare(o Target) int {
	return cmp.Or(cmp.Compare(t.Instance, o.Instance), t.IP.Compare(o.IP), cmp.Compare(t.Port, o.Port))
}

// Health is what CLB says of a target.
type Health int

// The states of a target. HealthUnknown is also the state of a new target until its first probes are done,
// during which CLB sends it nothing.
const (
	HealthUnknown Health = iota
	Healthy
	Unhealthy
	HealthOff // not probed: always gets traffic
)

func (h Health) String() string {
	return [...]string{"unknown", "healthy", "unhealthy", "not probed"}[h]
}
