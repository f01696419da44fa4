// SPDX-License-Identifier: Apache-2.0

// Package annotation is the one table of Service annotations: their names, types, bounds, defaults and
// documentation. The parser, the reference pages and the warnings about misspelt names come out of it, so
// that they cannot contradict each other.
//
// It decides what an annotation says. It never decides what to do about it, and it reads nothing but the
// map that it is given. lbsync/controller calls it; nothing else in the project reads a Service's annotations.
package annotation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Options is what the annotations of one Service say. The zero value is a Service without annotations.
// It may be copied; nobody changes what its maps, slices and pointers lead to.
type Options struct {
	// The CLB itself.
	ExistingID     string            // of a CLB that somebody made, shared by all Services that name it; empty: one is created
	SubnetID       string            // of an internal CLB; empty: the CLB is public
	ChargeType     string            // of a public CLB's traffic, in CLB's words; empty: the account's default
	Bandwidth      int               // of a public CLB, in Mbps, 1 to 2048; 0: CLB's default
	Create         *CreateParameters // further parameters of CreateLoadBalancer; nil: none
	SecurityGroups []string          // "sg-…", in the order given, without repeats; nil: those that are bound stay
	SourceRanges   []string          // ranges of addresses that may use the CLB, as written; nil: the annotation says nothing
	PassToTarget   *bool             // the CLB's security groups alone decide; nil: as it is
	CrossRegion    string            // region of the CLB, if it is not the cluster's
	CrossVPC       string            // VPC of the CLB, if it is not the cluster's
	Hybrid         bool              // nodes outside of Tencent Cloud are targets too, through CCN
	SnatSubnets    []SnatIP          // where the CLB takes its source addresses for them; nil: none
	DeleteProtect  *bool             // CLB's own protection against deletion; nil: as it is
	Skip           bool              // the Service's CLB is left alone
	PlanOnly       bool              // plans are shown and nothing is written to CLB
	Drift          string            // "repair" or "report"; empty: as the cloud config says
	IPMode         string            // "VIP" or "Proxy", of status.loadBalancer.ingress; empty: VIP

	// Its targets.
	BindNodesOfPods  bool        // under Local, bind only the nodes that run a ready pod
	WeightByPods     bool        // under Local, weight a node by the number of its ready pods
	Backends         string      // label selector of the nodes that are bound; empty: all
	AllowRemoval     bool        // a held removal may go on
	DirectAccess     *bool       // pods are bound, by their addresses, in place of nodes; nil: as the cloud config says
	PodWeights       *PodWeights // of pods of StatefulSets, in direct access; nil: none
	DrainTerminating bool        // in direct access, a pod that is going gets weight 0 before it is unbound
	DrainNotReady    bool        // in direct access, any pod that is not ready gets weight 0

	// Its listeners.
	ConfigName      string                 // of a TkeServiceConfig in the Service's namespace; empty: none
	ConfigAuto      bool                   // a TkeServiceConfig is made for the Service
	Protocols       map[int32]PortProtocol // by port of the Service; a port that is absent has its own protocol
	BadProtocols    map[int32]bool         // ports of which specify-protocol says something that cannot be followed; nil: none
	BadProtocol     bool                   // it cannot be read as a whole, so that nobody knows what it says of ports that are not in Protocols
	Listener        *ListenerParameters    // of all listeners; nil: none
	PreventLoopback bool                   // probes come from 100.64.0.0/10, so that a node may own the CLB's address

	// What the controller wrote.
	LoadBalancerID string            // last in use; a cache key, never a proof of ownership
	Region         string            // of the CLB, if it is not the cluster's
	Ordered        *CreateParameters // with which the CLB was ordered; nil: not known
	Applied        []string          // names of the annotations whose effect on the CLB has to be undone when they go, sorted
}

// Problem is an annotation that cannot be followed. It costs only what that annotation says, unless Blocking.
type Problem struct {
	Name, Value string
	Reason      string // what is wrong and what would be right, a phrase
	Blocking    bool   // nothing may be created: guessing could, for instance, make a private Service public
	Creation    bool   // with Blocking: it is about the creation of the CLB alone, and one that is there goes on as it is
	Access      bool   // with Blocking: it is about who may use the Service
}

func (p Problem) Error() string {
	return fmt.Sprintf("annotation %s=%q: %s", p.Name, p.Value, p.Reason)
}

// Unfollowed reports whether there is an annotation of the name that cannot be followed: it is not gone, and what it brought
// about when it could be followed is not to be undone.
func Unfollowed(problems []Problem, name string) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Name == name })
}

// Parse reads the annotations of one Service and returns what they say and all that is wrong with them,
// sorted by name; nil if nothing is. An annotation with a problem keeps its default. Names that belong to
// others are ignored.
func Parse(annotations map[string]string) (Options, []Problem) {
	var o Options
	var problems []Problem
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		value := annotations[name]
		problem := func(blocking bool, format string, args ...any) {
			p := Problem{Name: name, Value: value, Reason: fmt.Sprintf(format, args...), Blocking: blocking}
			if blocking {
				p.Creation, p.Access = byName[name].creation(), byName[name].restricts()
			}
			problems = append(problems, p)
		}
		key, known := byName[name]
		switch {
		case slices.ContainsFunc(PodKeys, func(k Key) bool { return k.Name == name }):
			problem(false, "an annotation of Pods: set it in the template of the pods")
		case !known:
			if near := nearest(name); near != "" {
				problem(false, "no such annotation; did you mean %s?", near)
			} else if strings.HasPrefix(name, Prefix) {
				problem(false, "no such annotation; those of %s are listed in docs/annotations.md", Prefix)
			}
		case key.Refused != "":
			if key.Blocking || !key.off(value) {
				problem(key.Blocking, "%s", key.Refused)
			}
		default:
			if key.modern != "" && annotations[key.modern] != "" {
				problem(false, "an old spelling of %s, which is set too and counts", key.modern)
				continue
			}
			if other := key.excludedBy(annotations); other != "" && !key.off(value) {
				counts := ""
				if key.Yields {
					counts = " and counts"
				}
				problem(key.Blocking && !key.Yields, "it does not go together with %s, which is set too%s; remove one of them", other, counts)
				continue
			}
			switch err := key.Value.set(&o, value); {
			case errors.Is(err, errValue):
				problem(key.Blocking, "want %s", key.Value.Type)
			case err != nil:
				problem(key.Blocking, "%v; want %s", err, key.Value.Type)
			}
		}
	}
	return o, problems
}

// ProtocolUnknown reports whether specify-protocol says of a port what cannot be followed: something else than nothing.
func (o Options) ProtocolUnknown(port int32) bool {
	_, known := o.Protocols[port]
	return !known && (o.BadProtocol || o.BadProtocols[port])
}

// Home returns the ID of the CLB that somebody made and that a Service belongs to; "" if it is one that is, or will be, made for
// the Service. settled says that the controller has noted it: then what it noted counts over what a user writes.
func Home(annotations map[string]string, settled bool) string {
	noted := annotations[LoadBalancerID]
	switch {
	case settled && slices.Contains(strings.Split(annotations[Applied], ","), ExistingID):
		return noted
	case settled && noted != "":
		return ""
	}
	var o Options
	if byName[ExistingID].Value.set(&o, annotations[ExistingID]) != nil {
		return ""
	}
	return o.ExistingID
}

// excludedBy returns the name of an annotation that is set and that the key does not go together with, "" if none is.
func (k *Key) excludedBy(annotations map[string]string) string {
	for _, other := range k.Excludes {
		if v, set := annotations[other]; set && !byName[other].off(v) {
			return other
		}
	}
	return ""
}

// creation reports whether the annotation says nothing but which CLB there is to be, and of what kind.
func (k *Key) creation() bool { return k.Fixed || k.Refused != "" || k.Name == ExistingID }

// restricts reports whether the annotation says who may use the Service.
func (k *Key) restricts() bool { return k.Name == SecurityGroups || k.Name == SourceRanges }

// off reports whether a value asks for nothing.
func (k *Key) off(value string) bool { return value == "" || k.Default != "" && value == k.Default }

// nearest returns the known name that name is probably a misspelling of, or "". Under a prefix that is none of ours it is the
// whole name that has to be near; a known last part alone is suspected under those only which are mixed up often.
func nearest(name string) string {
	best, bestDistance := "", 4
	prefix, last, _ := strings.Cut(name, "/")
	for _, keys := range [][]Key{Keys, PodKeys} {
		for i := range keys {
			known := keys[i].Name
			knownPrefix, knownLast, _ := strings.Cut(known, "/")
			if last == knownLast && prefix != knownPrefix && ownPrefix(prefix) {
				return known
			}
			if d := distance(name, known, bestDistance); d < bestDistance {
				best, bestDistance = known, d
			}
		}
	}
	return best
}

func ownPrefix(prefix string) bool {
	switch prefix + "/" {
	case Prefix, tkePrefix, k8sPrefix, oldPrefix, betaPrefix:
		return true
	}
	return false
}

// distance is the Levenshtein distance of a and b, or limit if it is not below limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
		if slices.Min(row) >= limit {
			return limit // What others name has mostly nothing in common with ours, and there is much of it.
		}
	}
	return min(row[len(b)], limit)
}
