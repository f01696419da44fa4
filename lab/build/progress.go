// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress shows what is being done: on a terminal a line that is rewritten every second, elsewhere a line now and
// then. A step that is done quickly is not worth a line.
type progress struct {
	w        io.Writer
	terminal bool
}

const (
	quietFor      = 2 * time.Second
	terminalEvery = time.Second
	fileEvery     = 15 * time.Second
)

func newProgress(w io.Writer) *progress {
	if w == nil {
		w = io.Discard
	}
	file, isFile := w.(*os.File)
	return &progress{w: w, terminal: isFile && term.IsTerminal(int(file.Fd()))}
}

// step does one thing and shows it. do may call note, from any goroutine, with how far it is.
func (p *progress) step(what string, do func(note func(string)) error) error {
	var mu sync.Mutex
	var last string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		last = s
	}
	begin := time.Now()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		every := fileEvery
		if p.terminal {
			every = terminalEvery
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				mu.Lock()
				state := last
				mu.Unlock()
				p.show(what, state, time.Since(begin))
			}
		}
	}()
	err := do(note)
	close(stop)
	<-stopped
	elapsed := time.Since(begin)
	switch {
	case err != nil:
		p.clear()
		return fmt.Errorf("%s: %w", what, err)
	case elapsed >= quietFor:
		p.clear()
		fmt.Fprintf(p.w, "%s: done in %s\n", what, elapsed.Round(time.Second))
	}
	return nil
}

func (p *progress) show(what, state string, elapsed time.Duration) {
	if state != "" {
		state = ", " + state
	}
	line := fmt.Sprintf("%s: %s%s", what, elapsed.Round(time.Second), state)
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.w, line)
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
