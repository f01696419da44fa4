// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

func TestQuantileIsASampleThatTheFractionDoesNotExceed(t *testing.T) {
	ten := result{}
	for i := 1; i <= 10; i++ {
		ten.took = append(ten.took, time.Duration(i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.1: 1, 0.5: 5, 0.9: 9, 0.91: 10, 1: 10} {
		if got := ten.quantile(q); got != want {
			t.Errorf("quantile %v of 1 to 10 is %d, want %d", q, got, want)
		}
	}
	if got := (result{took: []time.Duration{7}}).quantile(0.5); got != 7 {
		t.Errorf("median of one sample is %d, want 7", got)
	}
}
