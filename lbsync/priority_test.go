// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestALineServesByPriorityAndThenByAge(t *testing.T) {
	var l Line[string]
	l.Join("verify", Background)
	l.Join("node", Normal)
	l.Join("pod", Urgent)
	l.Join("node2", Normal)
	l.Join("raised", Background)
	l.Join("gone", Urgent)
	l.Raise("raised", Normal)
	l.Raise("nobody", Urgent)
	if !l.Leave("gone") || l.Leave("gone") {
		t.Error("who leaves is there once")
	}
	if l.Len(Normal) != 3 || l.Len(Urgent) != 1 || l.Len(Background) != 1 {
		t.Errorf("%d, %d and %d wait, want 3 Normal, 1 Urgent and 1 Background", l.Len(Normal), l.Len(Urgent), l.Len(Background))
	}
	var got []string
	for who, ok := l.Next(Urgent); ok; who, ok = l.Next(Urgent) {
		got = append(got, who)
	}
	got = append(got, "only urgent ones so far")
	for who, ok := l.Next(Background); ok; who, ok = l.Next(Background) {
		got = append(got, who)
	}
	want := []string{"pod", "only urgent ones so far", "node", "node2", "raised", "verify"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestWhoIsRaisedGoesBeforeThoseThatCameLater(t *testing.T) {
	var l Line[int]
	l.Join(1, Background)
	l.Join(2, Urgent)
	l.Raise(1, Urgent)
	if got, _ := l.Next(Background); got != 1 {
		t.Errorf("%d is first, want 1, which waits longer", got)
	}
}

func TestNobodyInALineStarves(t *testing.T) {
	var l Line[int]
	l.Join(-1, Background)
	l.Join(-2, Normal)
	for turn := 1; turn <= 3*lineShare; turn++ {
		l.Join(turn, Urgent)
		switch who, _ := l.Next(Background); {
		case who == -1 && turn > lineShare, who == -2 && turn > 2*lineShare:
			t.Errorf("%d got turn %d", who, turn)
		case turn == 2*lineShare && l.Len(Normal)+l.Len(Background) > 0:
			t.Errorf("after %d turns somebody waits who was there before all others", turn)
		}
	}
}

func TestPrioritiesTravelInContexts(t *testing.T) {
	if got := PriorityOf(t.Context()); got != Normal {
		t.Errorf("without one: %v, want normal", got)
	}
	for _, p := range Priorities {
		if got := PriorityOf(WithPriority(t.Context(), p)); got != p {
			t.Errorf("%v travels as %v", p, got)
		}
	}
}
