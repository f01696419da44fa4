// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"context"
	"slices"
)

// Priority says who goes first where CLBs wait for each other: for a worker, or for one of the few requests per second
// that CLB takes. It is no promise to be alone: who is last still gets a turn now and then.
type Priority int

// The priorities. The zero value is Normal.
const (
	Background Priority = iota - 1 // a look at what should be in step: verification, the first reading after a restart
	Normal                         // a Service or a node has changed
	Urgent                         // an endpoint has moved: until its CLB knows, requests go where nobody answers
)

// Priorities are all of them, the first to be served first.
var Priorities = []Priority{Urgent, Normal, Background}

func (p Priority) String() string {
	return [...]string{"background", "normal", "urgent"}[p-Background]
}

type priorityKey struct{}

// WithPriority returns a context whose calls of the cloud have the priority.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// PriorityOf returns the priority of the context's calls.
func PriorityOf(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey{}).(Priority)
	return p
}

// Line is who waits for something of which there is too little, in the order in which they get it: by priority, and by
// age among equals; but one turn of lineShare is that of the oldest, whatever its priority, so that nobody starves. The
// zero value is empty. It is not safe for concurrent use.
type Line[T comparable] struct {
	waiting [3][]spot[T] // by priority, Background first
	turns   int
	arrived int
}

// lineShare: while all that is waiting is urgent but for one, that one waits for eight turns at most from the time when
// it is the oldest.
const lineShare = 8

// spot is one who waits.
type spot[T comparable] struct {
	who     T
	arrived int
}

// Join adds somebody who does not wait yet.
func (l *Line[T]) Join(who T, p Priority) {
	l.arrived++
	l.put(spot[T]{who, l.arrived}, p)
}

// put keeps each priority in order of arrival: who is raised has waited longer than the last ones there.
func (l *Line[T]) put(s spot[T], p Priority) {
	line := &l.waiting[p-Background]
	i := len(*line)
	for i > 0 && (*line)[i-1].arrived > s.arrived {
		i--
	}
	*line = slices.Insert(*line, i, s)
}

// Leave takes somebody out of the line, and reports whether they were there.
func (l *Line[T]) Leave(who T) bool {
	_, ok := l.take(who)
	return ok
}

// Raise gives somebody who waits another priority; they keep their age.
func (l *Line[T]) Raise(who T, p Priority) {
	if s, ok := l.take(who); ok {
		l.put(s, p)
	}
}

func (l *Line[T]) take(who T) (spot[T], bool) {
	for i := range l.waiting {
		for j, s := range l.waiting[i] {
			if s.who == who {
				l.waiting[i] = slices.Delete(l.waiting[i], j, j+1)
				return s, true
			}
		}
	}
	return spot[T]{}, false
}

// Next takes out who gets the next turn, of those whose priority is at least the given one; false: nobody waits.
func (l *Line[T]) Next(least Priority) (T, bool) {
	first := -1
	oldest := (l.turns+1)%lineShare == 0
	for i := len(l.waiting) - 1; i >= int(least-Background); i-- {
		line := l.waiting[i]
		if len(line) > 0 && (first < 0 || oldest && line[0].arrived < l.waiting[first][0].arrived) {
			first = i
		}
	}
	if first < 0 {
		var nobody T
		return nobody, false
	}
	l.turns++
	who := l.waiting[first][0].who
	l.waiting[first][0] = spot[T]{}
	l.waiting[first] = l.waiting[first][1:]
	return who, true
}

// Len returns how many wait with the priority.
func (l *Line[T]) Len(p Priority) int { return len(l.waiting[p-Background]) }
