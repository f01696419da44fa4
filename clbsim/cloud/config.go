// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Duration is a time.Duration that reads and writes as "1.5s" in YAML and JSON.
type Duration time.Duration

// MarshalJSON writes the form of time.Duration.String.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads the form of time.ParseDuration. A bare number is refused:
// its unit would be a guess.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration %s: want a text such as 500ms or 2s", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("duration %q: want a number with a unit, such as 500ms or 2s", s)
	}
	*d = Duration(v)
	return nil
}

// Config describes the account: what exists before the first call, its limits,
// and how the simulation behaves where CLB's documentation leaves it open.
type Config struct {
	Regions        []string               `json:"regions"` // the first is the default of all that follows
	Uin            string                 `json:"uin"`     // account id, as in resource names of the tag service
	Zones          []Zone                 `json:"zones"`
	VPCs           []VPC                  `json:"vpcs"`
	Subnets        []Subnet               `json:"subnets"`
	Instances      []Instance             `json:"instances"`
	SecurityGroups []SecurityGroup        `json:"securityGroups"`
	Certificates   []Certificate          `json:"certificates"`
	PublicVIPs     []netip.Prefix         `json:"publicVIPs"`     // addresses of public CLBs
	PublicIPv6VIPs []netip.Prefix         `json:"publicIPv6VIPs"` // addresses of public CLBs of IPv6 with targets of IPv4 (NAT64)
	LoadBalancers  []ExistingLoadBalancer `json:"loadBalancers"`  // that are there before the first call
	Quotas         map[string]int64       `json:"quotas"`         // by QuotaId
	Tasks          Tasks                  `json:"tasks"`
	Health         Health                 `json:"health"`
	Assumptions    Assumptions            `json:"assumptions"`
}

// Zone maps a zone's name to its number: providerIDs carry the number.
type Zone struct {
	Name string `json:"name"` // ap-guangzhou-3
	ID   string `json:"id"`   // 100003
}

// VPC is a network. CIDRs include every range whose addresses may be bound by
// EniIp, container networks too.
type VPC struct {
	ID     string         `json:"id"`
	Region string         `json:"region,omitempty"` // default: the first region
	CIDRs  []netip.Prefix `json:"cidrs"`
}

// Subnet is where internal CLBs take their VIP from.
type Subnet struct {
	ID       string       `json:"id"`
	VPC      string       `json:"vpc"`
	CIDR     netip.Prefix `json:"cidr"`
	IPv6CIDR netip.Prefix `json:"ipv6CIDR,omitzero"` // of IPv6FullChain CLBs
	Zone     string       `json:"zone"`
}

// Instance is a CVM.
type Instance struct {
	ID        string            `json:"id"` // ins-xxxxxxxx
	Name      string            `json:"name,omitempty"`
	PrivateIP string            `json:"privateIP"`
	PublicIP  string            `json:"publicIP,omitempty"`
	Zone      string            `json:"zone,omitempty"`   // default: the first zone
	Type      string            `json:"type,omitempty"`   // default: S5.MEDIUM4
	VPC       string            `json:"vpc,omitempty"`    // default: the first VPC
	Subnet    string            `json:"subnet,omitempty"` // default: the VPC's first subnet
	State     string            `json:"state,omitempty"`  // default: RUNNING
	Tags      map[string]string `json:"tags,omitempty"`
}

// SecurityGroup admits clients to CLBs that are bound to it. CLBs without a
// group admit everyone.
type SecurityGroup struct {
	ID     string            `json:"id"`
	Name   string            `json:"name,omitempty"`   // default: the id
	Region string            `json:"region,omitempty"` // default: the first region
	Allow  []netip.Prefix    `json:"allow"`            // sources, of every protocol and port
	Tags   map[string]string `json:"tags,omitempty"`
}

// Certificate is one of the account's, as listeners name it. The data path
// makes a key and a certificate of its own for it.
type Certificate struct {
	ID        string   `json:"id"`
	Domains   []string `json:"domains,omitempty"`   // for which it is valid, in the data path
	Expired   bool     `json:"expired,omitempty"`   // CLB refuses it
	CA        bool     `json:"ca,omitempty"`        // it signs clients' certificates
	Algorithm string   `json:"algorithm,omitempty"` // default: RSA; a list has one certificate of each
}

// Tasks says how long asynchronous work takes.
type Tasks struct {
	Delay     Duration            `json:"delay"`
	Actions   map[string]Duration `json:"actions"`   // overrides Delay by action
	Retention Duration            `json:"retention"` // how long DescribeTaskStatus knows an ended task
}

// For returns how long a task of an action runs.
func (t Tasks) For(action string) time.Duration {
	if d, ok := t.Actions[action]; ok {
		return time.Duration(d)
	}
	return time.Duration(t.Delay)
}

// The values of Health.Probe.
const (
	ProbeSimulated = "simulated" // a target is healthy unless an override says otherwise
	ProbeReal      = "real"      // real connections decide
)

// Health says how targets are probed.
type Health struct {
	Probe   string     `json:"probe"`
	Speedup float64    `json:"speedup"` // 50 makes an interval of 5 s take 100 ms
	Source  netip.Addr `json:"source"`  // of probes with SourceIpType 1; in 100.64.0.0/10
	Proxy   netip.Addr `json:"proxy"`   // from which TCP_SSL, HTTP and HTTPS listeners reach their targets; in 100.127.0.0/16
}

func (h Health) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / h.Speedup)
}

// The values of the settings in Assumptions.
const (
	Sync         = "sync"
	Async        = "async"
	PerListener  = "listener"
	WholeRequest = "request"
	Duplicate    = "duplicate"
	Reweight     = "reweight"
	Rebind       = "rebind"
	Refuse       = "error"
	Ignore       = "ignore"
	Strict       = "strict"
	ByAddress    = "address"
	AtOnce       = "at-once"
	AtEnd        = "at-end"
	Asked        = "asked"
	EveryPublic  = "public"
	Always       = "always"
	Listed       = "documented"
	Unbind       = "unbind"
	Keep         = "keep"
	Fuzzy        = "fuzzy"
	Exact        = "exact"
	Required     = "required"
	Moves        = "moves"
	InField      = "field"
	InBoth       = "both"
)

// Assumptions are the answers that CLB's documentation does not give. Each can
// be switched, so that a client can be tried against every answer.
// README.md says for each what it rests on.
type Assumptions struct {
	BatchTargets          string   `json:"batchTargets"`          // sync: Batch(De)RegisterTargets answer when done; async: they answer at once and need DescribeTaskStatus
	BatchFailure          string   `json:"batchFailure"`          // listener: a target that cannot be bound fails its listener (FailListenerIdSet); request: it fails the request
	RegisterBound         string   `json:"registerBound"`         // a bound target is registered again: duplicate (refused), reweight, or rebind (health starts anew)
	DeregisterUnbound     string   `json:"deregisterUnbound"`     // error, or ignore
	TargetIdentity        string   `json:"targetIdentity"`        // strict: a target bound by InstanceId is not found by EniIp; address: it is
	UniqueBackend         bool     `json:"uniqueBackend"`         // two listeners of one protocol on one CLB cannot share a backend address and port
	CreateReturnsIDs      bool     `json:"createReturnsIDs"`      // false: CreateLoadBalancer answers without ids
	CreateListed          string   `json:"createListed"`          // a CLB is listed at-once, with Status 0, or at-end of its creation
	DomainStyle           string   `json:"domainStyle"`           // domain-style CLBs: only when asked (DynamicVip), or every public one
	LockCode              string   `json:"lockCode"`              // always: FailedOperation.ResourceInOperating; documented: only on actions that list it, else FailedOperation
	UDPPing               bool     `json:"udpPing"`               // CheckType PING is allowed on UDP listeners
	UDPReschedule         bool     `json:"udpReschedule"`         // Reschedule* and DeregisterTargetRst are allowed on UDP listeners
	HTTPVersionRequired   bool     `json:"httpVersionRequired"`   // an HTTP check on a TCP listener needs HttpVersion
	UnprobedIsUnhealthy   bool     `json:"unprobedIsUnhealthy"`   // targets not yet probed count for "all are unhealthy"
	DrainedIsLeftOut      bool     `json:"drainedIsLeftOut"`      // healthy targets of weight 0 do not prevent "all are unhealthy"
	UDPMovesAtWeightZero  bool     `json:"udpMovesAtWeightZero"`  // UDP flows leave a target of weight 0 at once, not only at deregistration
	TerminatedInstance    string   `json:"terminatedInstance"`    // unbind: a deleted instance leaves its listeners; keep: it stays and is dead
	PrivateIPFilter       string   `json:"privateIPFilter"`       // fuzzy: DescribeInstances matches parts of addresses; exact
	ClientTokenTTL        Duration `json:"clientTokenTTL"`        // afterwards a token answers ClientTokenLimitExceeded
	DefaultDomain         string   `json:"defaultDomain"`         // the default domain of a listener is deleted: required (another must be named), or moves (the oldest takes its place)
	IPv6Address           string   `json:"ipv6Address"`           // DescribeLoadBalancers has it in the field AddressIPv6, or in both that and LoadBalancerVips
	DeleteFrequencyWindow Duration `json:"deleteFrequencyWindow"` // 30 deletions in this window trip the guard
}

// The quotas that are enforced.
const (
	QuotaPublic    = "TOTAL_OPEN_CLB_QUOTA"
	QuotaInternal  = "TOTAL_INTERNAL_CLB_QUOTA"
	QuotaListeners = "TOTAL_LISTENER_QUOTA"
	QuotaTargets   = "TOTAL_TARGET_BIND_QUOTA"
	QuotaRules     = "TOTAL_LISTENER_RULE_QUOTA"
	QuotaSnatIPs   = "TOTAL_SNAT_IP_QUOTA"
)

// Example is the built-in configuration: one region, network and credential
// that examples and tests agree on, with CLB's usual limits.
func Example() Config {
	return Config{
		Regions: []string{"ap-guangzhou"},
		Uin:     "100000000001",
		Zones: []Zone{
			{"ap-guangzhou-3", "100003"}, {"ap-guangzhou-4", "100004"},
			{"ap-guangzhou-6", "100006"}, {"ap-guangzhou-7", "100007"},
		},
		VPCs:           []VPC{{ID: "vpc-2ab3c4d5", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00:10::/32")}}},
		Subnets:        []Subnet{{ID: "subnet-demo0001", VPC: "vpc-2ab3c4d5", CIDR: netip.MustParsePrefix("10.0.200.0/24"), IPv6CIDR: netip.MustParsePrefix("fd00:10:200::/64"), Zone: "ap-guangzhou-3"}},
		SecurityGroups: []SecurityGroup{{ID: "sg-demo0001", Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}},
		PublicVIPs:     []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
		PublicIPv6VIPs: []netip.Prefix{netip.MustParsePrefix("2001:db8:64::/64")},
		Quotas: map[string]int64{
			QuotaPublic: 100, QuotaInternal: 100, QuotaListeners: 50, QuotaRules: 50,
			QuotaTargets: 100, QuotaSnatIPs: 10, "TOTAL_ISP_CLB_QUOTA": 15, "TOTAL_FULL_PORT_RANGE_LISTENER_QUOTA": 1,
		},
		Tasks:  Tasks{Delay: Duration(500 * time.Millisecond), Actions: map[string]Duration{}, Retention: Duration(time.Hour)},
		Health: Health{Probe: ProbeSimulated, Speedup: 1, Source: netip.MustParseAddr("100.64.10.1"), Proxy: netip.MustParseAddr("100.127.0.1")},
		Assumptions: Assumptions{
			BatchTargets: Sync, BatchFailure: PerListener, RegisterBound: Duplicate, DeregisterUnbound: Refuse,
			TargetIdentity: Strict, UniqueBackend: true, CreateReturnsIDs: true, CreateListed: AtOnce,
			DomainStyle: Asked, LockCode: Always, UDPPing: true, UDPReschedule: true, HTTPVersionRequired: true,
			UnprobedIsUnhealthy: true, TerminatedInstance: Unbind, PrivateIPFilter: Fuzzy, DefaultDomain: Required, IPv6Address: InField,
			ClientTokenTTL: Duration(24 * time.Hour), DeleteFrequencyWindow: Duration(5 * time.Minute),
		},
	}
}
