// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// subset returns quota of the bound, spread evenly over their zones. Those that take new connections
// come before those that do not, and nodes with ready pods before those without: under Local the others
// would answer nobody. Beyond that the choice is a hash of Service and host, so that it needs no memory,
// differs between Services, and moves one or two when one comes or goes.
func subset(all []bound, quota int, service string) []bound {
	// Those that serve in every zone go first; only what is left of the quota goes to the others.
	var zones [classes]map[string]*[]ranked
	seed := []byte(service + "/")
	for i := range all {
		b := &all[i]
		class := classClosed
		switch {
		case b.weight > 0 && b.serving:
			class = classServing
		case b.weight > 0:
			class = classIdle
		}
		of := zones[class][b.zone]
		if of == nil {
			if of = new([]ranked); zones[class] == nil {
				zones[class] = map[string]*[]ranked{}
			}
			*of = make([]ranked, 0, len(all)/2)
			zones[class][b.zone] = of
		}
		seed = append(seed[:len(service)+1], b.target.Host()...)
		*of = append(*of, ranked{b, score(seed)})
	}
	out := make([]bound, 0, quota)
	for _, of := range zones {
		out = inTurn(out, of, quota)
	}
	return out
}

// The classes of the bound, the best first.
const (
	classServing = iota
	classIdle
	classClosed
	classes
)

// inTurn adds to out until there are quota of them: one of each zone in turn, those of a zone by their rank.
func inTurn(out []bound, of map[string]*[]ranked, quota int) []bound {
	names := slices.Sorted(maps.Keys(of))
	for _, name := range names {
		slices.SortFunc(*of[name], ranked.compare)
	}
	for turn, took := 0, true; took; turn++ {
		took = false
		for _, name := range names {
			if turn >= len(*of[name]) {
				continue
			}
			if len(out) == quota {
				return out
			}
			took = true
			out = append(out, *(*of[name])[turn].bound)
		}
	}
	return out
}

type ranked struct {
	*bound
	score uint64
}

func (r ranked) compare(o ranked) int {
	if c := cmp.Compare(r.score, o.score); c != 0 {
		return c
	}
	return cmp.Or(strings.Compare(r.name, o.name), cmp.Compare(r.target.Port, o.target.Port))
}

func score(serviceAndHost []byte) uint64 {
	sum := sha256.Sum256(serviceAndHost)
	return binary.BigEndian.Uint64(sum[:])
}
