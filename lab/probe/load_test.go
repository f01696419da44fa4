// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/clbsync/clbsync/lab/echo"
)

// unreachable is what a dial gives where no route leads.
var unreachable error = &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}

func TestProbeEndsByItself(t *testing.T) {
	targets, s, _ := startEcho(t, echo.Behaviour{})
	for _, tc := range []struct {
		name     string
		load     Load
		from, to int
	}{
		{"after its count", Load{Every: time.Millisecond, Count: 20, For: time.Minute}, 20, 20},
		{"after its time", Load{Every: 10 * time.Millisecond, Count: 1 << 30, For: 200 * time.Millisecond}, 5, 22},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := client.Start(t.Context(), targets[UDP], tc.load)
			if err != nil {
				t.Fatal(err)
			}
			r := p.Wait()
			if r.Asked < tc.from || r.Asked > tc.to || r.Answered != r.Asked {
				t.Errorf("%s, want %d to %d asked and all answered", r, tc.from, tc.to)
			}
		})
	}
	if s.Stats().UDP == 0 {
		t.Error("nothing arrived")
	}
	for _, load := range []Load{{Count: 1, For: 1}, {Every: 1, For: 1}, {Every: 1, Count: 1}} {
		if _, err := client.Start(t.Context(), targets[TCP], load); err == nil {
			t.Errorf("load %+v was accepted: it would have no bound", load)
		}
	}
}

func TestProbeReportsWhatWasLostAndWhen(t *testing.T) {
	targets, s, stop := startEcho(t, echo.Behaviour{})
	p, err := hasty.Start(t.Context(), targets[TCP], Load{Every: 5 * time.Millisecond, Count: 100, For: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return s.Stats().TCP >= 10 })
	stopped := time.Now()
	stop()
	r := p.Wait()
	if r.Answered < 9 || len(r.Lost) < 5 || r.Asked != r.Answered+len(r.Lost) {
		t.Errorf("%s, want some answered before and some lost after the program ended", r)
	}
	for _, e := range r.Lost {
		if e.At.Before(stopped.Add(-hasty.Timeout)) || Cause(e.Err) == "" {
			t.Errorf("lost %s at %s with %v, want only after %s", e.Took, e.At, e.Err, stopped)
		}
	}
}

func TestSlowAnswersDoNotHoldBackLaterRequests(t *testing.T) {
	const delay = 200 * time.Millisecond
	targets, _, _ := startEcho(t, echo.Behaviour{Delay: delay})
	begin := time.Now()
	p, err := client.Start(t.Context(), targets[HTTP], Load{Every: 5 * time.Millisecond, Count: 20, For: time.Minute, Slow: delay / 2})
	if err != nil {
		t.Fatal(err)
	}
	r := p.Wait()
	if r.Answered != 20 || len(r.Slow) != 20 || r.Longest < delay {
		t.Errorf("%s, want all 20 answered and slow", r)
	}
	if took := time.Since(begin); took > 10*delay {
		t.Errorf("20 requests took %s: they waited for each other", took)
	}
	for i := 1; i < len(r.Slow); i++ {
		if r.Slow[i].At.Before(r.Slow[i-1].At) {
			t.Error("slow answers are not in the order of their start")
		}
	}
}

func TestStopWaitsForRequestsUnderWay(t *testing.T) {
	targets, s, _ := startEcho(t, echo.Behaviour{Delay: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	p, err := client.Start(ctx, targets[TCP], Load{Every: time.Hour, Count: 2, For: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return s.Stats().TCP == 1 })
	cancel()
	if r := p.Wait(); r.Asked != 1 || r.Answered != 1 {
		t.Errorf("%s, want the one request answered although the probe was cancelled meanwhile", r)
	}
}

func TestHeldConnection(t *testing.T) {
	const every = 5 * time.Millisecond
	t.Run("stays whole while the other end serves", func(t *testing.T) {
		targets, s, _ := startEcho(t, echo.Behaviour{})
		h, err := client.Hold(t.Context(), targets[TCP].Addr, every)
		if err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return s.Stats().Line >= 10 })
		if end := h.Close(); end.Err != nil || end.Echoes < 9 || !end.At.IsZero() {
			t.Errorf("end = %+v, want no break after 9 echoes or more", end)
		}
		until(t, func() bool { return s.Stats().Open == 0 })
		if s.Stats().TCP != 1 {
			t.Errorf("%d connections were made, want one that is kept", s.Stats().TCP)
		}
	})
	t.Run("breaks the moment the other end goes, not with the next line", func(t *testing.T) {
		targets, s, stop := startEcho(t, echo.Behaviour{})
		h, err := client.Hold(t.Context(), targets[TCP].Addr, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if h.Answer.Pod != "web-0" || s.Stats().Open != 1 {
			t.Errorf("answer = %+v with %d open connections", h.Answer, s.Stats().Open)
		}
		gone := time.Now()
		stop()
		<-h.Broken()
		if end := h.Close(); end.Err == nil || end.At.Sub(gone) > time.Second || end.At.Before(gone) {
			t.Errorf("end = %+v, want a break right after %s", end, gone)
		}
	})
	t.Run("breaks when an echo does not come in time", func(t *testing.T) {
		l := listen(t)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "{\"pod\":\"deaf\"}\n")
			_, _ = io.Copy(io.Discard, conn)
		}()
		h, err := hasty.Hold(t.Context(), l.Addr().String(), every)
		if err != nil {
			t.Fatal(err)
		}
		<-h.Broken()
		if end := h.Close(); Cause(end.Err) != "timeout" || end.Echoes != 0 {
			t.Errorf("end = %+v, want a timeout", end)
		}
	})
	t.Run("is not made to a program that does not answer", func(t *testing.T) {
		targets := failing(t)
		for _, cause := range []string{"timeout", "refused", "closed"} {
			if h, err := hasty.Hold(t.Context(), targets[cause].Addr, every); err == nil {
				h.Close()
				t.Errorf("%s: a connection was held", cause)
			}
		}
	})
}

// until polls a condition that another goroutine makes true.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come true within 10 s")
		}
	}
}
