// SPDX-License-Identifier: Apache-2.0

// Command bench measures how long it takes from the write of an EndpointSlice to the request that tells CLB about it,
// on a real API server with the controller's default gathering window.
//
// A sample begins before the write is sent to the API server, and ends when the simulated CLB receives the controller's
// request: the time that CLB itself takes is not ours and not in it. Slices are written by this program, so neither a
// scheduler nor a kubelet adds its time. The stock service controller has no such figure: it does not watch
// EndpointSlices.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
)

const usage = `bench measures the time from the write of an EndpointSlice to the request's arrival at (simulated) CLB.

Flags:
`

func main() {
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	fs.Usage = func() { fmt.Fprint(fs.Output(), usage); fs.PrintDefaults() }
	samples := fs.Int("n", 100, "changes of a weight to measure; a quarter as many additions and removals of a node")
	median := fs.Duration("median", 150*time.Millisecond, "end with code 1 if the median of any change is longer")
	churning := fs.Int("churn", 0, "measure so many Services whose pods move at once instead, 100 at most, -n moves in all")
	p99 := fs.Duration("p99", 500*time.Millisecond, "end with code 1 if one of a hundred moves of -churn takes longer")
	_ = fs.Parse(os.Args[1:]) // it exits by itself
	if *samples < 4 || fs.NArg() > 0 || *churning < 0 || *churning > 100 || *churning > *samples {
		fmt.Fprintln(os.Stderr, "want -n of at least 4, -churn of 0 to 100 and no more than -n, and no arguments")
		os.Exit(2)
	}
	limits := limits{median: *median, p99: *p99}
	measure := oneByOne(*samples)
	if *churning > 0 {
		measure = atOnce(*churning, *samples / *churning)
	} else {
		limits.p99 = 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, measure, limits); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// limits are the longest times that are no failure; 0 is none.
type limits struct{ median, p99 time.Duration }

// oneByOne measures changes of one Service.
func oneByOne(samples int) func(context.Context, *e2e.Lab) ([]result, error) {
	return func(ctx context.Context, lab *e2e.Lab) ([]result, error) {
		b := &bench{lab: lab}
		if err := b.prepare(ctx); err != nil {
			return nil, err
		}
		return b.measure(ctx, samples)
	}
}

// atOnce measures moves of the pods of many Services.
func atOnce(services, rounds int) func(context.Context, *e2e.Lab) ([]result, error) {
	return func(ctx context.Context, lab *e2e.Lab) ([]result, error) {
		c := &churn{lab: lab}
		if err := c.prepare(ctx, services); err != nil {
			return nil, err
		}
		r, err := c.run(ctx, rounds)
		return []result{r}, err
	}
}

func run(ctx context.Context, measure func(context.Context, *e2e.Lab) ([]result, error), limit limits) (err error) {
	lab, err := e2e.Start(ctx, e2e.Config{
		// The controller is measured, and what runs beside it takes its processors: as little as can be.
		Cluster: cluster.Config{Proxy: cluster.KubeProxy.Everywhere(), Progress: os.Stderr},
		// Weights that change again and again are damped, which is not what is measured here.
		Settings: e2e.CloudConfig().With("handover", map[string]any{"poll": "200ms", "drain": "0s", "damping": "0s"}),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }() //nolint:contextcheck // what was made goes, also after ctx has ended
	results, err := measure(ctx, lab)
	if err != nil {
		return fmt.Errorf("%w\n\nend of the controller's log:\n%s", err, lab.ControllerLog(30))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nEndpointSlice written, until CLB is told\tsamples\tmedian\tp90\tp99\tmax")
	for _, r := range results {
		slices.Sort(r.took)
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", r.change, len(r.took), ms(r.quantile(0.5)), ms(r.quantile(0.9)), ms(r.quantile(0.99)), ms(r.quantile(1)))
	}
	w.Flush()
	for _, r := range results {
		if got := r.quantile(0.5); got > limit.median {
			err = errors.Join(err, fmt.Errorf("%s: median %s, want at most %s", r.change, ms(got), limit.median))
		}
		if got := r.quantile(0.99); limit.p99 > 0 && got > limit.p99 {
			err = errors.Join(err, fmt.Errorf("%s: p99 %s, want at most %s", r.change, ms(got), limit.p99))
		}
	}
	return err
}

// result is the samples of one kind of change.
type result struct {
	change string
	took   []time.Duration // sorted
}

// quantile returns the smallest sample that is not exceeded by the fraction q of all.
func (r result) quantile(q float64) time.Duration {
	i := int(math.Ceil(q*float64(len(r.took)))) - 1
	return r.took[max(0, min(i, len(r.took)-1))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
