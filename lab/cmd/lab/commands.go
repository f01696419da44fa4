// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/machine"
)

// startWithin bounds the start of a cluster, which takes some 15 s on two cores.
const startWithin = 3 * time.Minute

// flags makes a command's flag set; synopsis is what its help, which goes to out, begins with.
func flags(out io.Writer, name, synopsis string) *flag.FlagSet {
	fs := flag.NewFlagSet("lab "+name, flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() {
		fmt.Fprintf(out, "usage: lab %s %s\n", name, synopsis)
		fs.PrintDefaults()
	}
	return fs
}

func runBuild(ctx context.Context, out io.Writer, args []string) error {
	fs := flags(out, "build", "[--e2e] [--product]")
	e2e := fs.Bool("e2e", false, "also the upstream end-to-end suite and its image")
	product := fs.Bool("product", false, "also the programs of the main module")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var sets []build.Set
	if *e2e {
		sets = append(sets, build.E2E)
	}
	if *product {
		sets = append(sets, build.Product)
	}
	begin := time.Now()
	dir, err := build.Ensure(ctx, out, sets...)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is up to date (%.1f s)\n", dir, time.Since(begin).Seconds())
	return nil
}

func runPackages(ctx context.Context, out io.Writer, args []string) error {
	fs := flags(out, "packages", "\n\nInstalls the Debian packages that a lab needs and that lack; starts no service.\n")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return build.Packages(ctx, out)
}

func runUp(ctx context.Context, out io.Writer, args []string) error {
	fs := flags(out, "up", "[FLAGS]\n\nStarts a cluster and leaves it running until 'lab down'. It is built first if need be.\n")
	config := cluster.Config{Detached: true, Progress: out}
	proxy := cluster.NodeAgent
	fs.StringVar(&config.Name, "name", "lab", "name of the cluster")
	fs.IntVar(&config.Nodes, "nodes", 3, "number of nodes")
	fs.Var(&proxy, "proxy", "who serves NodePorts on the nodes: agent (clb-node-agent, with kube-proxy for the rest), kube-proxy or none")
	fs.BoolVar(&config.ExternalCloudProvider, "external-cloud-provider", false, "nodes wait for a cloud controller")
	fs.BoolVar(&config.DNS, "dns", false, "start cluster DNS")
	fs.Func("image", "docker-archive `tar` to load on every node, besides echo; may be repeated", func(path string) error {
		config.Images = append(config.Images, path)
		_, err := os.Stat(path)
		return err
	})
	if err := fs.Parse(args); err != nil {
		return err
	}
	config.Proxy = proxy.Everywhere()
	var sets []build.Set
	if proxy == cluster.NodeAgent {
		sets = append(sets, build.Product)
	}
	dir, err := build.Ensure(ctx, out, sets...)
	if err != nil {
		return err
	}
	config.Images = append(config.Images, dir.Image("echo"))
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	c, err := cluster.Start(ctx, config)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("there is a lab %q already: give another --name, or remove it with 'lab down %s'", config.Name, config.Name)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `
Cluster %s runs. Next, for instance:

  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl get nodes -o wide
  kubectl create deployment web --image=%s --replicas=3
  lab exec %s %s -- ip route        the machines: %s, %s, %s and the nodes
  lab down %s                       remove it all

Logs are in %s
`, c.Name, c.Kubeconfig, dir.BinDir(), build.EchoRef, c.Name, cluster.Client,
		cluster.ControlPlane, cluster.CLB, cluster.Client, c.Name, c.LogDir())
	return nil
}

func runDown(_ context.Context, out io.Writer, args []string) error {
	fs := flags(out, "down", "[NAME | --all]\n\nRemoves a cluster and every trace of it, whoever started it and whether or not that still runs.\n")
	all := fs.Bool("all", false, "all clusters, also those that a program is using now")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 1 || *all && fs.NArg() > 0 {
		return errors.New("want one NAME, or --all")
	}
	names, err := machine.Names()
	if err != nil {
		return err
	}
	switch {
	case fs.NArg() == 1:
		if !slices.Contains(names, fs.Arg(0)) {
			return fmt.Errorf("there is no lab %q; there are: %s", fs.Arg(0), strings.Join(names, " "))
		}
		names = fs.Args()
	case !*all && len(names) > 1:
		return fmt.Errorf("there are several labs, name one or say --all: %s", strings.Join(names, " "))
	}
	for _, name := range names {
		if err := machine.Remove(name); err != nil { //nolint:contextcheck // one that has begun is finished, for half of a lab is of no use to anybody
			return err
		}
		fmt.Fprintf(out, "removed lab %s\n", name)
	}
	if len(names) == 0 {
		fmt.Fprintln(out, "there is no lab")
	}
	return nil
}

func runList(_ context.Context, out io.Writer, args []string) error {
	if err := flags(out, "list", "").Parse(args); err != nil {
		return err
	}
	names, err := machine.Names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		fmt.Fprintln(out, "there is no lab")
		return nil
	}
	fmt.Fprintf(out, "%-24s  %-8s  %-20s  %s\n", "NAME", "NODES", "STARTED", "OWNER")
	for _, name := range names {
		nodes, started, owner := "-", "-", "unknown: remains of a lab"
		if lab, err := machine.Open(name); err == nil {
			started = lab.Owner().Created.Local().Format("2006-01-02 15:04:05")
			owner = describe(lab.Owner())
		}
		if c, err := cluster.Open(name); err == nil {
			nodes = fmt.Sprint(len(c.Nodes()))
		}
		fmt.Fprintf(out, "%-24s  %-8s  %-20s  %s\n", name, nodes, started, owner)
	}
	return nil
}

func describe(o machine.Owner) string {
	switch {
	case o.Detached:
		return "none: runs until 'lab down'"
	case o.Alive():
		return fmt.Sprintf("process %d", o.PID)
	}
	return fmt.Sprintf("process %d, which has died: 'lab down' removes the rest", o.PID)
}

func runKubectl(ctx context.Context, out io.Writer, args []string) error {
	c, rest, err := open(args)
	if err != nil {
		return err
	}
	cmd := c.KubectlCommand(ctx, rest...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, os.Stderr
	return cmd.Run()
}

func runExec(ctx context.Context, _ io.Writer, args []string) error {
	dash := slices.Index(args, "--")
	if dash < 1 || dash == len(args)-1 {
		return errors.New("want: lab exec [NAME] MACHINE -- PROGRAM ARGS")
	}
	c, argv, err := open(append(slices.Clone(args[:dash-1]), args[dash:]...))
	if err != nil {
		return err
	}
	m, err := c.Machine(args[dash-1])
	if err != nil {
		return err
	}
	return m.Attach(ctx, argv)
}

func runAddNode(ctx context.Context, out io.Writer, args []string) error {
	c, _, err := open(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	n, err := c.AddNode(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "node %s (%s, %s) is Ready\n", n.Name, n.IP, n.InstanceID)
	return nil
}

func runRemoveNode(ctx context.Context, out io.Writer, args []string) error {
	if len(args) == 0 {
		return errors.New("want: lab remove-node [NAME] NODE")
	}
	node := args[len(args)-1]
	c, _, err := open(args[:len(args)-1])
	if err != nil {
		return err
	}
	if err := c.RemoveNode(ctx, node); err != nil {
		return err
	}
	fmt.Fprintf(out, "removed node %s\n", node)
	return nil
}

func runCheckClean(_ context.Context, out io.Writer, args []string) error {
	fs := flags(out, "check-clean", "[NAME]\n\nLists what clusters have left on this host, or are: directories, cgroups, processes with their\nnamespaces, mounts, links, packet filter rules. Exit status 1 if there is anything.\n")
	if err := fs.Parse(args); err != nil {
		return err
	}
	left, err := machine.Leftovers(fs.Arg(0))
	if err != nil {
		return err
	}
	for _, trace := range left {
		fmt.Fprintln(out, trace)
	}
	if len(left) > 0 {
		return fmt.Errorf("%d traces of a lab", len(left))
	}
	fmt.Fprintln(out, "no trace of a lab")
	return nil
}

// open opens the cluster that args name before "--", or the only one, and returns what follows "--".
func open(args []string) (*cluster.Cluster, []string, error) {
	var rest []string
	if dash := slices.Index(args, "--"); dash >= 0 {
		args, rest = args[:dash], args[dash+1:]
	}
	switch {
	case len(args) > 1:
		return nil, nil, fmt.Errorf("want one lab's name before --, not %q", args)
	case len(args) == 1:
		c, err := cluster.Open(args[0])
		return c, rest, err
	}
	names, err := machine.Names()
	if err != nil {
		return nil, nil, err
	}
	if len(names) != 1 {
		return nil, nil, fmt.Errorf("name a lab: there are %d: %s", len(names), strings.Join(names, " "))
	}
	c, err := cluster.Open(names[0])
	return c, rest, err
}
