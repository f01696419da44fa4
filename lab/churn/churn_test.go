// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
)

var (
	full   = flag.Bool("full", false, "run every situation beside the stock behaviour, with more requests")
	graces = flag.String("graces", "", "instead of the tests, try pods that serve on for so long after SIGTERM, such as 0s,1s,2s, and print what is lost")
	proxy  = cluster.KubeProxy // what most nodes run
	logs   = flag.String("logs", "", "keep the logs of all programs in this directory")

	lab      *e2e.Lab
	table    []row
	findings []string // what else is worth a line at the end
)

// TestMain starts one lab for all situations, with our controller for Services of its class and the stock one for the
// others, and draws the table at the end.
func TestMain(m *testing.M) {
	flag.Var(&proxy, "proxy", "who serves NodePorts on the nodes: agent (clb-node-agent) or kube-proxy")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code, err := 1, error(nil)
	func() {
		defer stop()
		var end func() error
		if end, err = start(ctx); err != nil {
			return
		}
		if *graces != "" {
			code, err = 0, sweep(ctx, strings.Split(*graces, ","))
		} else {
			stop() // from here on an interrupt ends the process, and the lab goes because its owner is gone
			code = m.Run()
		}
		if len(table) > 0 {
			fmt.Fprintln(os.Stdout)
			err = errors.Join(err, draw(os.Stdout, table))
		}
		for _, f := range findings {
			fmt.Fprintln(os.Stdout, f)
		}
		err = errors.Join(err, end())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// sweep asks which grace is the shortest that loses nothing here.
func sweep(ctx context.Context, values []string) error {
	for _, value := range values {
		grace, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		p := phase{pace: paced(220), situations: []situation{
			{name: rollingWeighted, sides: both[:1], grace: grace, pods: 3, shape: onePerNode, mods: []mod{e2e.Local, onlyBind, weighted}, round: restart},
			{name: onlyPodMoves, sides: both[:1], grace: grace, pods: 1, shape: on("n2"), mods: []mod{e2e.Local, onlyBind}, round: move},
			control(),
		}}
		p.pace.requests = 5000
		rows, err := run(ctx, lab, p)
		if err != nil {
			return err
		}
		table = append(table, rows...)
	}
	return nil
}

func start(ctx context.Context) (end func() error, err error) {
	if lab, err = e2e.Start(ctx, e2e.Config{Speedup: speedup, Cluster: cluster.Config{Proxy: proxy.Everywhere(), Progress: os.Stderr, LogDir: *logs}}); err != nil {
		return nil, err
	}
	stopStock := func() {}
	end = func() error { stopStock(); return lab.Close() } //nolint:contextcheck // what was made goes, also after ctx has ended
	if err := lab.StopController(ctx); err != nil {
		return nil, errors.Join(err, end())
	}
	if err := startAlone(ctx); err != nil {
		return nil, errors.Join(err, end())
	}
	if stopStock, err = startStock(ctx, lab); err != nil {
		return nil, errors.Join(err, lab.Close()) //nolint:contextcheck // what was made goes, also after ctx has ended
	}
	return end, nil
}

// startAlone starts the only controller, without leader election.
func startAlone(ctx context.Context) error {
	return lab.StartController(ctx, settings(), ourFlags...)
}

// speedup is moderate: a probe's time to answer shrinks with it, and where it is short, a busy machine looks like a dead node.
const speedup = 5

// Grace is how long the pods here serve on after SIGTERM.
const (
	grace       = 10 * time.Second
	graceCrash  = 15 * time.Second // a controller has to start, and to read what there is
	graceLeader = 28 * time.Second // a killed leader's lease lives for 15 s
)

func control() situation {
	return situation{name: "nothing happens", control: true, sides: []side{ours}, pods: 1, shape: on("n1"), mods: []mod{e2e.Local, onlyBind}}
}

// tries is how often a phase is run if the machine is too busy for it.
const tries = 3

// judge runs a phase, adds to the table and fails the test if one of our TCP requests failed, or if what was to happen did
// not happen. A phase is run again only if the Service to which nothing happens shows that the machine was short of
// processors: it lost requests itself, or had one answered later than a packet that is sent again would be.
func judge(t *testing.T, p phase) []row {
	t.Helper()
	p.situations = append(slices.Clone(p.situations), control())
	for try := 1; ; try++ {
		begin := time.Now()
		rows, err := run(t.Context(), lab, p)
		faults := wrong(rows, p.pace)
		if err != nil {
			faults = append(faults, err)
		}
		t.Logf("took %s", time.Since(begin).Round(time.Second))
		for _, r := range rows {
			t.Logf("%s, %s: %s; UDP: %s\n  weights %s", r.name, r.side, r.tcp, r.udp, strings.Join(r.weights, " → "))
		}
		busy := slices.ContainsFunc(rows, func(r row) bool { return r.control && (r.failed() > 0 || r.tcp.Longest > time.Second) })
		if len(faults) > 0 && busy && try < tries && t.Context().Err() == nil {
			t.Logf("again, since the machine was too busy (see %q):\n%v", control().name, errors.Join(faults...))
			continue
		}
		table = append(table, rows...)
		for _, r := range rows {
			fmt.Fprintf(os.Stderr, "  %-32s %-8s %d of %d requests failed\n", r.name, r.side, r.failed(), r.tcp.Asked)
		}
		for _, fault := range faults {
			t.Error(fault)
		}
		if len(faults) > 0 {
			t.Logf("end of the controller's log:\n%s", lab.ControllerLog(40))
		}
		return rows
	}
}

// wrong lists what is not as it should be.
func wrong(rows []row, p pace) (faults []error) {
	fault := func(r row, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s, %s: %w", r.name, r.side, fmt.Errorf(format, args...)))
	}
	for _, r := range rows {
		if r.holds != nil {
			if err := r.holds(r); err != nil {
				fault(r, "did not happen as it should: %w", err)
			}
		}
		if r.side == ours && r.failed() > 0 {
			fault(r, "%d of %d requests failed, want none:%s", r.failed(), r.tcp.Asked, losses(r))
		}
		if r.side == ours && !r.control && r.tcp.Asked < p.requests {
			fault(r, "%d requests, want %d at least", r.tcp.Asked, p.requests)
		}
	}
	return faults
}

// mustLose fails the test unless the stock side of the situation lost requests: else the test would prove nothing.
func mustLose(t *testing.T, rows []row, situation string) {
	t.Helper()
	for _, r := range rows {
		if r.name == situation && r.side == stock {
			if r.failed() == 0 {
				t.Errorf("%s: the stock side lost none of %d requests: this test cannot fail", situation, r.tcp.Asked)
			}
			return
		}
	}
	t.Errorf("%s: the stock side did not run", situation)
}

// both runs the stock side too, beside does in a full run.
var both = []side{ours, stock}

func beside() []side {
	if *full {
		return both
	}
	return both[:1]
}

const (
	rollingBind     = "rolling restart, only-bind"
	rollingWeighted = "rolling restart, weighted"
	onlyPodMoves    = "the only pod moves"
)

func TestNoRequestIsLostInARollingRestart(t *testing.T) {
	rows := judge(t, phase{pace: paced(220), situations: []situation{
		{name: rollingBind, sides: both, grace: grace, pods: 3, shape: onePerNode, mods: []mod{e2e.Local, onlyBind}, round: restart, holds: replaced},
		{name: rollingWeighted, sides: both, grace: grace, pods: 3, shape: onePerNode, mods: []mod{e2e.Local, onlyBind, weighted}, round: restart, holds: replaced},
	}})
	mustLose(t, rows, rollingBind)
	mustLose(t, rows, rollingWeighted)
}

func paced(rate int) pace {
	return pace{rate: rate, datagram: 16, requests: 10_000, limit: 4 * time.Minute}
}

func TestNoRequestIsLostWhilePodsComeAndGo(t *testing.T) {
	judge(t, phase{pace: paced(220), situations: []situation{
		{name: "scale 4→1→4, weighted", sides: beside(), grace: grace, pods: 4, shape: evenly, mods: []mod{e2e.Local, onlyBind, weighted}, round: scale, holds: scaled},
		{name: onlyPodMoves, sides: beside(), grace: grace, pods: 1, shape: on("n2"), mods: []mod{e2e.Local, onlyBind}, round: move, holds: moved},
	}})
}

func TestNoRequestIsLostWhenThePolicyChanges(t *testing.T) {
	judge(t, phase{pace: paced(220), situations: []situation{
		{name: "Cluster→Local→Cluster", sides: beside(), grace: grace, pods: 3, shape: onePerNode, round: flip, holds: flipped},
		{name: "Cluster→Local→Cluster, only-bind", sides: []side{ours}, grace: grace, pods: 3, shape: onePerNode, mods: []mod{onlyBind, weighted}, round: flip, holds: flipped},
	}})
}

func TestNoRequestIsLostWhenANodeLeaves(t *testing.T) {
	added, err := lab.AddNode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	judge(t, phase{pace: paced(220), event: leaves(added.Name), situations: []situation{
		{name: "node leaves, Local", sides: beside(), grace: grace, pods: 4, shape: onePerNode, mods: []mod{e2e.Local, onlyBind}, holds: left(added.Name)},
		{name: "node leaves, Cluster", sides: beside(), grace: grace, pods: 4, shape: onePerNode, holds: left(added.Name)},
	}})
}

func TestNoRequestIsLostWhenTheControllerIsKilledInAHandover(t *testing.T) {
	midway := 0
	crash := func(ctx context.Context) error {
		if err := lab.KillController(); err != nil {
			return err
		}
		return startAlone(ctx)
	}
	judge(t, phase{pace: paced(400), situations: []situation{
		{name: "controller SIGKILLed in a move", sides: beside(), grace: graceCrash, pods: 1, shape: on("n2"), mods: []mod{e2e.Local, onlyBind}, round: during(crash, &midway), holds: moved},
	}})
	if midway < 2 {
		t.Errorf("the controller was killed %d times in the middle of a handover, want twice at least", midway)
	}
}

func TestNoRequestIsLostWhenTheLeaderChangesInAHandover(t *testing.T) {
	if err := lab.StopController(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := startControllers(t.Context(), lab)
	defer func() { // also after the test's context has ended
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(c.stop(ctx), startAlone(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		name   string
		signal syscall.Signal
	}{{"SIGTERM", syscall.SIGTERM}, {"SIGKILL", syscall.SIGKILL}} {
		t.Run(end.name, func(t *testing.T) {
			midway := 0
			change := func(ctx context.Context) error { return c.end(ctx, end.signal) }
			judge(t, phase{pace: paced(320), situations: []situation{{
				name: "leader ends by " + end.name + " in a move", sides: beside(), grace: graceLeader, pods: 1, shape: on("n2"),
				mods: []mod{e2e.Local, onlyBind}, round: during(change, &midway), holds: moved,
			}}})
			if midway < 2 {
				t.Errorf("the leader ended %d times in the middle of a handover, want twice at least", midway)
			}
		})
	}
}
