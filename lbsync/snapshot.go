// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

// LoadBalancerClass is the class of Services that are ours whatever else runs in the cluster.
const LoadBalancerClass = "clbsync.io/clb"

// Snapshot is all that Desired looks at, for one CLB.
type Snapshot struct {
	Settings  Settings
	Services  []Service         // those that the CLB serves, the one with the first claim on a port first; at least one
	Hosts     *Hosts            // of all nodes of the cluster, shared by many snapshots; nil: they are worked out from Nodes and Instances
	Nodes     []*corev1.Node    // all of the cluster
	Instances map[string]string // node name → instance ID, for nodes whose object does not say it; "": it has none; a node that is absent is not known (yet)

	// CLB is the one that there is, as last read; nil: there is none, or none is known. Where it is and what family it has
	// stays, whatever the manifests say by now.
	CLB *Instance

	TargetQuota int // how many targets a listener may have, as CLB says; 0 is not known

	// Existing is the ID of the CLB that somebody made and the Services share; "": the CLB is made for the one Service.
	Existing string
	Actual   LoadBalancer // with Existing: as it is
}

// ServiceOf returns the Service with the UID; the zero value if there is none.
func (s Snapshot) ServiceOf(uid types.UID) Service {
	for _, svc := range s.Services {
		if svc.UID == uid {
			return svc
		}
	}
	return Service{Service: &corev1.Service{}}
}

// Service is a Service with what belongs to it.
type Service struct {
	*corev1.Service
	Slices   []*discoveryv1.EndpointSlice // those labelled with its name
	Options  annotation.Options           // from its annotations
	Problems []annotation.Problem         // with its annotations
	Config   ServiceConfig                // the TkeServiceConfig that its annotations name
	Secrets  map[string]Secret            // those that its annotations name (SecretNames); one that is absent could not be read
	// Gated holds the pods, by UID, that nothing but their readiness gate keeps from being ready, or nothing any
	// more. It is empty unless they are targets themselves (Settings.Direct), or node agents serve them (GateSettings.NodeAgent).
	Gated map[types.UID]bool
	// Leaving: the Service gives up what it has on the CLB, whatever its object says.
	Leaving bool
	// PodWeights is what the annotation custom-weight of pods says, by their UID. Pods without it are not in it, and it
	// may be nil where pods are no targets.
	PodWeights map[types.UID]string
	// PodsUnknown says that the pods have not been seen yet, so Gated and PodWeights may lack some: see KeepPods.
	PodsUnknown bool
}

// Settings is what the cloud config says about every CLB of the cluster.
type Settings struct {
	ClusterID         string   // "cls-…", the tag of everything that is ours
	VPCID             string   // "vpc-…"
	OtherRegions      []string // "ap-…", besides the cluster's, in which CLBs of Services may be: where orphans are looked for
	ClassOnly         bool     // only Services of LoadBalancerClass are ours, not those without a class
	Release           bool     // no Service is to have a CLB any more: those that are ours go, as if each Service were deleted
	ControlPlaneNodes bool     // control plane nodes are targets too
	NotReady          NotReadyPolicy
	Drift             DriftPolicy // of Services that name none
	DirectAccess      bool        // pods are the targets of Services that do not say
	UDPCheck          bool        // UDP listeners ping their targets; some accounts refuse it
	Check             HealthCheck
	Timing            Timing
	Gate              GateSettings
}

// NotReadyPolicy is what becomes of the targets of nodes that are not ready. CLB's own health check sees a
// node that is really gone sooner than Kubernetes does.
type NotReadyPolicy string

// The policies. The zero value is DrainNotReady.
const (
	DrainNotReady  NotReadyPolicy = "drain"  // no new connections while others can take them
	KeepNotReady   NotReadyPolicy = "keep"   // as if they were ready
	RemoveNotReady NotReadyPolicy = "remove" // no target
)

// Timing bounds the waits of a handover between targets.
type Timing struct {
	HealthDeadline time.Duration // how long old targets wait for new ones to become healthy
	Drain          time.Duration // how long a target stays at weight 0 before it goes, for the sake of its connections
	Poll           time.Duration // how often the health of new targets is read while old ones wait
	RemovalHold    time.Duration // how long a removal of most targets for doubtful reasons is held; 0 is not at all
	Programming    time.Duration // how long a node is given for its rules before a UDP listener, whose probes cannot see them, gets it as a target
	Damping        time.Duration // the least time between two changes of weights that neither open nor close a target
}

// DefaultSettings returns the settings of a cloud config that names none, without the cluster's own names.
func DefaultSettings() Settings {
	return Settings{
		UDPCheck: true,
		Check:    HealthCheck{On: true, Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 3, Unhealthy: 3},
		Timing: Timing{HealthDeadline: 2 * time.Minute, Drain: 30 * time.Second, Poll: 2 * time.Second,
			RemovalHold: 10 * time.Minute, Programming: time.Second, Damping: 5 * time.Second},
		Gate: GateSettings{Enabled: true},
	}
}

// Validate returns what CLB would refuse, with the name of the field, or nil.
func (s Settings) Validate() error {
	var wrong []string
	between := func(field string, v, low, high time.Duration) {
		if v < low || v > high {
			wrong = append(wrong, fmt.Sprintf("%s is %s, want %s to %s", field, v, low, high))
		}
	}
	between("healthCheck.interval", s.Check.Interval, 2*time.Second, 300*time.Second)
	between("healthCheck.timeout", s.Check.Timeout, 2*time.Second, 60*time.Second)
	between("handover.healthDeadline", s.Timing.HealthDeadline, time.Second, time.Hour)
	between("handover.drain", s.Timing.Drain, 0, time.Hour)
	between("handover.removalHold", s.Timing.RemovalHold, 0, 24*time.Hour)
	between("handover.programming", s.Timing.Programming, 0, time.Minute)
	between("handover.damping", s.Timing.Damping, 0, time.Minute)
	if s.Gate.Deadline != 0 {
		between("readinessGate.deadline", s.Gate.Deadline, time.Second, time.Hour)
	}
	between("handover.poll", s.Timing.Poll, 100*time.Millisecond, time.Minute)
	for _, n := range []struct {
		field string
		v     int
	}{{"healthCheck.healthy", s.Check.Healthy}, {"healthCheck.unhealthy", s.Check.Unhealthy}} {
		if n.v < 2 || n.v > 10 {
			wrong = append(wrong, fmt.Sprintf("%s is %d, want 2 to 10", n.field, n.v))
		}
	}
	switch s.NotReady {
	case "", DrainNotReady, KeepNotReady, RemoveNotReady:
	default:
		wrong = append(wrong, fmt.Sprintf("notReadyNodes is %q, want drain, keep or remove", s.NotReady))
	}
	switch s.Drift {
	case "", RepairDrift, ReportDrift:
	default:
		wrong = append(wrong, fmt.Sprintf("drift is %q, want repair or report", s.Drift))
	}
	if s.Check.Timeout >= s.Check.Interval {
		wrong = append(wrong, fmt.Sprintf("healthCheck.timeout is %s, want less than the interval, %s", s.Check.Timeout, s.Check.Interval))
	}
	for _, d := range []struct {
		field string
		v     time.Duration
	}{{"healthCheck.interval", s.Check.Interval}, {"healthCheck.timeout", s.Check.Timeout}} {
		if d.v%time.Second != 0 {
			wrong = append(wrong, fmt.Sprintf("%s is %s, want whole seconds", d.field, d.v))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(wrong, "; "))
}

// Reason says in one word why something was left out or changed on the way to the desired state. It is an
// Event's reason and a metric's label.
type Reason string

// The reasons.
const (
	BadAnnotation       Reason = "BadAnnotation"
	UnsupportedProtocol Reason = "UnsupportedProtocol"
	UnsupportedFamily   Reason = "UnsupportedIPFamily"
	RangesRefused       Reason = "UnsupportedSourceRanges"
	NoNodePort          Reason = "NoNodePort"
	PortTaken           Reason = "PortTaken"
	ProtocolChanged     Reason = "ListenerReplaced"
	ProtocolImpossible  Reason = "ProtocolImpossible"
	CertificateUnknown  Reason = "CertificateUnknown"
	BadServiceConfig    Reason = "BadServiceConfig"
	NoServiceConfig     Reason = "ServiceConfigNotFound"
	SettingIgnored      Reason = "ListenerSettingIgnored"
	SessionClamped      Reason = "SessionTimeoutClamped"
	CreateTimeOnly      Reason = "CreateTimeOnly"
	WeightsIgnored      Reason = "WeightedBalanceIgnored"
	NodeDeleted         Reason = "NodeDeleted"
	NodeExcluded        Reason = "NodeExcluded"
	NodeControlPlane    Reason = "NodeControlPlane"
	NodeVirtual         Reason = "NodeVirtual"
	NodeUnresolved      Reason = "NodeInstanceUnknown"
	NodeDraining        Reason = "NodeDraining"
	NodeNotReady        Reason = "NodeNotReady"
	NodeNotSelected     Reason = "NodeNotSelected"
	NodeBeyondQuota     Reason = "NodeBeyondQuota"
	NodeNoAddress       Reason = "NodeWithoutIPv6"
	QuotaExceeded       Reason = "TargetQuotaExceeded"
	PodOnHost           Reason = "PodOnHostNetwork"
	NoDirectTarget      Reason = "NoPodToBind"
	TargetTaken         Reason = "TargetTaken"
	AnnotationIgnored   Reason = "AnnotationIgnored"
	SecondFamily        Reason = "SecondIPFamily"
	Refused             Reason = "RefusedByCLB"
	NoNodes             Reason = "UnAvailableLoadBalancer" // the stock controller's word
	Duplicate           Reason = "DuplicateLoadBalancer"
	HandsOff            Reason = "Skipped"
	NoSuchLoadBalancer  Reason = "LoadBalancerNotFound"
	NotForSharing       Reason = "LoadBalancerOfAnotherService"
	OtherCluster        Reason = "LoadBalancerOfAnotherCluster"
	OtherVPC            Reason = "LoadBalancerInAnotherVPC"
	NotTagged           Reason = "LoadBalancerNotTagged"
)

// Skip is something that the manifests ask for and that the desired state lacks, or has otherwise.
type Skip struct {
	Service  types.UID // of the Service that it is about; "": of all that the CLB serves
	Object   string    // "node n1", "port web", "annotation service.…"
	Reason   Reason
	Message  string // for people: what, why, and what would be right
	Warning  bool   // the author of the Service has to know: an Event of type Warning
	Blocking bool   // nothing may be changed for this Service until it is mended
	Creation bool   // with Blocking: as long as there is no CLB that serves the Service
}

// Blocked reports whether one of the skips forbids any change.
func Blocked(skips []Skip) bool {
	for _, s := range skips {
		if s.Blocking {
			return true
		}
	}
	return false
}

// BlockedForNow reports whether what blocks the skips may all be about the creation of a CLB, so that it has to be known whether
// there is one already.
func BlockedForNow(skips []Skip) bool {
	for _, s := range skips {
		if s.Blocking && !s.Creation {
			return false
		}
	}
	return Blocked(skips)
}

// Wants reports whether a CLB of ours should serve the Service.
func (s Settings) Wants(svc *corev1.Service) bool {
	if s.Release || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.DeletionTimestamp != nil {
		return false
	}
	if svc.Spec.LoadBalancerClass == nil {
		return !s.ClassOnly
	}
	return *svc.Spec.LoadBalancerClass == LoadBalancerClass
}
