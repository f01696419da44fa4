// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// subset returns quota of the bound hosts, spread evenly over their zones. Hosts that take new connections
// come before those that do not, and hosts with ready pods before those without: under Local the others
// would answer nobody. Beyond that the choice is a hash of Service and host, so that it needs no memory,
// differs between Services, and moves one or two hosts when one comes or goes.
func subset(bound map[host]int, ready map[string]int, quota int, service string) map[host]int {
	zones := map[string][]ranked{}
	for h, weight := range bound {
		zone := h.node.Labels[corev1.LabelTopologyZone]
		zones[zone] = append(zones[zone], ranked{h, weight > 0, ready[h.node.Name] > 0, score(service, h)})
	}
	names := slices.Sorted(maps.Keys(zones))
	for _, name := range names {
		slices.SortFunc(zones[name], ranked.compare)
	}
	out := make(map[host]int, quota)
	// The hosts with pods in every zone go first; only what is left of the quota goes to the others.
	for _, class := range []func(ranked) bool{
		func(r ranked) bool { return r.open && r.pods },
		func(r ranked) bool { return r.open && !r.pods },
		func(r ranked) bool { return !r.open },
	} {
		of := make(map[string][]ranked, len(zones))
		for name, all := range zones {
			of[name] = slices.DeleteFunc(slices.Clone(all), func(r ranked) bool { return !class(r) })
		}
		for turn, took := 0, true; took; turn++ {
			took = false
			for _, name := range names {
				if turn >= len(of[name]) {
					continue
				}
				if len(out) == quota {
					return out
				}
				took = true
				out[of[name][turn].host] = bound[of[name][turn].host]
			}
		}
	}
	return out
}

type ranked struct {
	host
	open, pods bool
	score      uint64
}

func (r ranked) compare(o ranked) int {
	return cmp.Or(cmp.Compare(r.score, o.score), cmp.Compare(r.node.Name, o.node.Name))
}

func score(service string, h host) uint64 {
	sum := sha256.Sum256([]byte(service + "/" + h.target(0).Host()))
	return binary.BigEndian.Uint64(sum[:])
}
