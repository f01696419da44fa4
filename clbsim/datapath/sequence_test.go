// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSequence(t *testing.T) {
	for _, tc := range []struct {
		name    string
		weights []int
		want    []int
	}{
		{"nobody", nil, []int{}},
		{"only weights of 0", []int{0, 0}, []int{}},
		{"one target has every turn", []int{0, 7}, []int{1}},
		{"equal weights alternate", []int{10, 10, 10}, []int{0, 1, 2}},
		{"3:1 puts the rare one in between", []int{3, 1}, []int{0, 0, 1, 0}},
		{"the common divisor does not matter", []int{75, 25}, []int{0, 0, 1, 0}},
		{"weight 0 has no turn", []int{2, 0, 1}, []int{0, 2, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Sequence(tc.weights)); diff != "" {
				t.Errorf("turns (-want +got):\n%s", diff)
			}
		})
	}
}

// Shares are exact over a round, or, for sums that have to be scaled down, as
// close as the length of a rule allows; nobody with weight is forgotten.
func FuzzSequence(f *testing.F) {
	f.Add([]byte{3, 1})
	f.Add([]byte{100, 99, 98, 97, 1, 0})
	f.Add([]byte{200, 200, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 500 {
			return
		}
		weights := make([]int, len(raw))
		sum := 0
		for i, b := range raw {
			weights[i] = int(b) % 101
			sum += weights[i]
		}
		turns := make([]int, len(weights))
		sequence := Sequence(weights)
		for _, i := range sequence {
			turns[i]++
		}
		if sum == 0 && len(sequence) != 0 || len(sequence) > maxSlots+len(weights) {
			t.Fatalf("%v has %d turns", weights, len(sequence))
		}
		for i, w := range weights {
			if (w > 0) != (turns[i] > 0) {
				t.Fatalf("weight %d of %v has %d turns", w, weights, turns[i])
			}
			want := float64(w) / float64(max(sum, 1)) * float64(len(sequence))
			if d := float64(turns[i]) - want; len(sequence) <= sum && sum <= maxSlots && (d > 1e-9 || d < -1e-9) {
				t.Fatalf("weight %d of %v has %d of %d turns", w, weights, turns[i], len(sequence))
			}
		}
	})
}
