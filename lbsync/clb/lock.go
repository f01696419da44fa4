// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"sync"
)

// locks is a mutex for each key. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	taken chan struct{} // holds one value while somebody has the key
	users int           // who have it or wait for it
}

// lock waits for the key, or for the end of the context.
func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	t := l.held[key]
	if t == nil {
		if l.held == nil {
			l.held = map[string]*turn{}
		}
		t = &turn{taken: make(chan struct{}, 1)}
		l.held[key] = t
	}
	t.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(l.held, key)
		}
	}
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
