// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"errors"
	"fmt"
)

const (
	weightMax = 100 // CLB's largest
	indexMax  = 1<<31 - 1
)

// PodWeights are the weights of pods of StatefulSets in direct access.
type PodWeights struct {
	DefaultWeight *int          `json:"defaultWeight,omitempty"` // of all other pods, 0 to 100; nil: 10
	Groups        []WeightGroup `json:"groups,omitempty"`
}

// WeightGroup is about one port of the Service.
type WeightGroup struct {
	Key          WeightKey        `json:"key"`
	StatefulSets []WeightedPodSet `json:"statefulSets"`
}

// WeightKey names a port of the Service.
type WeightKey struct {
	Proto string `json:"proto"` // of the listener
	Port  int    `json:"port"`
}

// WeightedPodSet is a StatefulSet in the Service's namespace.
type WeightedPodSet struct {
	Name    string      `json:"name"`
	Weights []PodWeight `json:"weights"`
}

// PodWeight is the weight of the pods with these ordinals.
type PodWeight struct {
	Weight     *int  `json:"weight"` // 0 to 100
	PodIndexes []int `json:"podIndexes"`
}

func (p *PodWeights) check() error {
	errs := []error{between("defaultWeight", p.DefaultWeight, 0, weightMax)}
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	ports := map[WeightKey]bool{}
	for i, g := range p.Groups {
		at := fmt.Sprintf("groups[%d]", i)
		if err := oneOf("proto", g.Key.Proto, append(append([]string{}, overTCP...), overUDP...)...); err != nil || g.Key.Proto == "" {
			fault("%s.key.proto is %q, not TCP, UDP, TCP_SSL, QUIC, HTTP or HTTPS", at, g.Key.Proto)
		}
		errs = append(errs, between(at+".key.port", &g.Key.Port, 1, 65535))
		if ports[g.Key] {
			fault("%s.key %s:%d stands twice", at, g.Key.Proto, g.Key.Port)
		}
		ports[g.Key] = true
		for j, set := range g.StatefulSets {
			errs = append(errs, set.check(fmt.Sprintf("%s.statefulSets[%d]", at, j)))
		}
	}
	return errors.Join(errs...)
}

func (s WeightedPodSet) check(at string) error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !validSecret(s.Name) {
		fault("%s.name is %q, not the name of a StatefulSet", at, s.Name)
	}
	seen := map[int]bool{}
	for k, w := range s.Weights {
		if w.Weight == nil {
			fault("%s.weights[%d].weight is missing", at, k)
		}
		errs = append(errs, between(fmt.Sprintf("%s.weights[%d].weight", at, k), w.Weight, 0, weightMax))
		for _, index := range w.PodIndexes {
			errs = append(errs, between(fmt.Sprintf("%s.weights[%d].podIndexes", at, k), &index, 0, indexMax))
			if seen[index] {
				fault("%s: the pod index %d stands twice", at, index)
			}
			seen[index] = true
		}
	}
	return errors.Join(errs...)
}
