// SPDX-License-Identifier: Apache-2.0

// Command upstream runs the load balancer specs of Kubernetes' own end-to-end suite against a lab with our controller and
// the simulated CLB, and prints a table of what passed. No cloud provider's own tests are as independent of us as these.
//
// It knows how to divide the specs among processes that run side by side, and which specs cannot pass yet, with the
// reason; a spec that fails without a known reason ends it with code 1. The suite itself is unmodified.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/machine"
)

const usage = `upstream runs k8s.io/kubernetes/test/e2e, focus [Feature:LoadBalancer], against a lab. The quick specs take about
two minutes.

Flags:
`

func main() {
	fs := flag.NewFlagSet("upstream", flag.ExitOnError)
	fs.Usage = func() { fmt.Fprint(fs.Output(), usage); fs.PrintDefaults() }
	all := fs.Bool("all", false, "run also the rolling-update specs and those that are known to fail, if there are any: a quarter of an hour")
	direct := fs.Bool("direct", false, "run every spec with pods as targets: directAccess is true in the controller's cloud config")
	focus := fs.String("focus", "", "run only the specs that this regular expression matches, in one process")
	proxy := cluster.NodeAgent
	fs.Var(&proxy, "proxy", "who serves NodePorts on the nodes: agent (clb-node-agent) or kube-proxy")
	logs := fs.String("logs", "", "keep the logs and reports in this directory")
	limit := fs.Duration("limit", time.Hour, "how long the specs may take")
	_ = fs.Parse(os.Args[1:]) // it exits by itself
	if fs.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unexpected argument %q\n", fs.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	parts := divide(*all)
	if *focus != "" {
		parts = []part{{name: "focus", focus: *focus}}
	}
	for i := range parts {
		parts[i].direct = parts[i].direct || *direct
	}
	if err := run(ctx, parts, proxy, *logs, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, parts []part, proxy cluster.ProxyKind, logs string, limit time.Duration) (err error) {
	reports := logs
	if reports == "" {
		if reports, err = os.MkdirTemp("", "clbsync-upstream-"); err != nil {
			return err
		}
		defer os.RemoveAll(reports)
	}
	if reports, err = filepath.Abs(reports); err != nil {
		return err
	}
	lab, err := e2e.Start(ctx, e2e.Config{
		Cluster: cluster.Config{DNS: true, Proxy: proxy.Everywhere(), LogDir: logs, Progress: os.Stderr},
		Sets:    []build.Set{build.E2E},
		Images:  []string{"agnhost"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }() //nolint:contextcheck // what was made goes, also after ctx has ended
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := time.Now()
	results := make([][]spec, len(parts))
	failures := make([]error, len(parts))
	for _, direct := range []bool{false, true} {
		var together sync.WaitGroup
		running := 0
		for i, p := range parts {
			if p.direct != direct {
				continue
			}
			if running++; running == 1 && direct {
				if err := errors.Join(lab.StopController(ctx), lab.StartController(ctx, e2e.CloudConfig().With("directAccess", true))); err != nil {
					return err
				}
			}
			together.Go(func() {
				results[i], failures[i] = runPart(ctx, lab, p, filepath.Join(reports, p.name))
				fmt.Fprintf(os.Stderr, "  %5.0fs  %s: %d specs done\n", time.Since(begin).Seconds(), p.name, len(results[i]))
			})
		}
		if running > 0 {
			fmt.Fprintf(os.Stderr, "Running the specs in %d processes side by side, targets are %s.\n", running, map[bool]string{false: "nodes", true: "pods"}[direct])
		}
		together.Wait()
	}
	var specs []spec
	for _, r := range results {
		specs = append(specs, r...)
	}
	return errors.Join(errors.Join(failures...), judge(os.Stdout, specs, time.Since(begin)))
}

// runPart runs one process of the suite to its end and reads its report. A process that ran its specs has no error,
// whether or not they passed.
func runPart(ctx context.Context, lab *e2e.Lab, p part, reports string) ([]spec, error) {
	if err := os.MkdirAll(reports, 0o755); err != nil {
		return nil, err
	}
	process, err := lab.Run(cluster.Client, "e2e-"+p.name, []string{
		lab.Bin("e2e.test"),
		"--provider=skeleton",
		"--kubeconfig=" + lab.InClusterKubeconfig,
		"--kubectl-path=" + lab.Bin("kubectl"),
		"--report-dir=" + reports,
		"--ginkgo.focus=" + p.focus,
		"--ginkgo.skip=" + p.skip,
		"--ginkgo.no-color",
		"--ginkgo.timeout=1h",
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	if err := await(ctx, process); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	report, err := os.Open(filepath.Join(reports, "junit_01.xml"))
	if err != nil {
		return nil, fmt.Errorf("%s left no report; the end of its output:\n%s", p.name, process.Tail(20))
	}
	defer report.Close()
	specs, err := read(report)
	if err == nil && len(specs) == 0 {
		err = fmt.Errorf("%s: no spec matches focus %q and skip %q", p.name, p.focus, p.skip)
	}
	return specs, err
}

// await waits for a process. One that is interrupted gets time to remove its namespaces.
func await(ctx context.Context, p *machine.Process) error {
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return errors.Join(context.Cause(ctx), p.Signal(os.Interrupt), p.Stop(stopping))
	}
}

// judge prints the specs and returns an error if one failed without a known reason.
func judge(w io.Writer, specs []spec, took time.Duration) error {
	passed, unexplained := table(w, specs)
	fmt.Fprintf(w, "\n%d of %d specs passed, in %s.\n", passed, len(specs), took.Round(time.Second))
	if unexplained > 0 {
		return fmt.Errorf("%d specs failed without a known reason", unexplained)
	}
	return nil
}
