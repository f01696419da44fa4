// SPDX-License-Identifier: Apache-2.0

// Command demo tells the product's main job as a story on a real three-node cluster, and prints after each step what
// was measured. It ends with code 1 if any step does not hold, and leaves nothing behind.
//
// This file sets the stage and clears it; story.go has the steps, print.go the words and tables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
)

const usage = `demo starts a three-node Kubernetes cluster with clb-cloud-controller-manager, clb-node-agent and a simulated CLB
on this machine, in network namespaces, and shows what becomes of a Service of type LoadBalancer. Every figure is measured. It needs
root, and it removes all that it has made. The first run builds Kubernetes, which takes some minutes.

Flags:
`

func main() {
	fs := flag.NewFlagSet("demo", flag.ExitOnError)
	fs.Usage = func() { fmt.Fprint(fs.Output(), usage); fs.PrintDefaults() }
	proxy := cluster.NodeAgent
	fs.Var(&proxy, "proxy", "who serves NodePorts on the nodes: agent (clb-node-agent) or kube-proxy")
	logs := fs.String("logs", "", "keep the logs of all programs in this directory")
	limit := fs.Duration("limit", 5*time.Minute, "how long the story may take, building not included")
	_ = fs.Parse(os.Args[1:]) // it exits by itself
	if fs.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unexpected argument %q\n", fs.Arg(0))
		os.Exit(2)
	}
	if proxy == cluster.NoProxy {
		fmt.Fprintln(os.Stderr, "the story needs somebody who serves NodePorts: --proxy agent or kube-proxy")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	out := &printer{w: os.Stdout}
	err := run(ctx, out, proxy, *logs, *limit)
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
	}
	if err != nil || out.failed > 0 {
		os.Exit(1)
	}
}

// run sets the stage, tells the story and clears the stage, whatever happened on it.
func run(ctx context.Context, out *printer, proxy cluster.ProxyKind, logs string, limit time.Duration) (err error) {
	begin := time.Now()
	whose := map[cluster.ProxyKind]string{cluster.NodeAgent: "clb-node-agent", cluster.KubeProxy: "kube-proxy"}[proxy]
	out.say("Starting three nodes, whose NodePorts %s serves, the simulated CLB and the controller.", whose)
	lab, err := e2e.Start(ctx, e2e.Config{Cluster: cluster.Config{Nodes: 3, Proxy: proxy.Everywhere(), LogDir: logs, Progress: os.Stdout}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clear(out, lab), conclude(out, begin)) }() //nolint:contextcheck // the stage is cleared also after ctx has ended
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s := &story{printer: out, lab: lab}
	if err := s.tell(ctx); err != nil {
		return fmt.Errorf("%w\n\nend of the controller's log:\n%s", err, lab.ControllerLog(30))
	}
	return nil
}

// clear removes the lab and checks that nothing of it is left.
func clear(out *printer, lab *e2e.Lab) error {
	out.step("Clear the stage")
	if err := lab.Close(); err != nil {
		return err
	}
	left, err := lab.Leftovers()
	if err != nil {
		return err
	}
	for _, l := range left {
		out.say("left behind: %s", l)
	}
	out.check(len(left) == 0, "no process, namespace, mount, cgroup, link or rule of the lab is left")
	return nil
}

func conclude(out *printer, begin time.Time) error {
	took := time.Since(begin).Round(time.Second)
	if out.failed > 0 {
		return fmt.Errorf("%d of %d checks did not hold; %s in all", out.failed, out.checks, took)
	}
	out.say("")
	out.say("All %d checks held. %s in all.", out.checks, took)
	return nil
}
