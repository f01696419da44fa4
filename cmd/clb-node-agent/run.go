// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/internal/version"
	"github.com/clbsync/clbsync/nodeagent"
	"github.com/clbsync/clbsync/nodeagent/agent"
	"github.com/clbsync/clbsync/nodeagent/iptables"
)

// options are the flags that become an agent.Config.
type options struct {
	kubeconfig, node      string
	mode, variant, pods   string
	bit                   int
	localhost, drain      bool
	gates                 bool
	sysctls               string
	address               string
	profiling             bool
	minSync, check, stuck time.Duration
	verify, compare       time.Duration
	modeEvery             time.Duration
	daemonSet             string
}

func (o *options) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "file that says how to reach the API server; default: as a pod does")
	flags.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "name of this Node; default: the environment's NODE_NAME, then the host name")
	flags.StringVar(&o.pods, "pods", "node-cidr", `how packets of pods are known: "node-cidr" (the Node's podCIDRs), "cidr:CIDR[,CIDR]" (the whole cluster's), "bridge:NAME", "interface-prefix:PREFIX" or "unknown"`)
	flags.BoolVar(&o.localhost, "localhost-nodeports", false, "serve NodePorts on 127.0.0.0/8 too (sets net.ipv4.conf.all.route_localnet, with a rule that guards the node's loopback services)")
	flags.BoolVar(&o.gates, "readiness-gate", false, "serve pods of this node, for policy Local, that wait for the readiness gate clbsync.io/target-health alone; takes the right to list and watch pods, and goes with readinessGate.nodeAgent in the cloud config")
	flags.IntVar(&o.bit, "masquerade-bit", 13, "bit (0-31) of the packet mark that the agent uses; no other program on the node may use it")
	flags.StringVar(&o.variant, "iptables", "", `"legacy" or "nft"; default: the one that kube-proxy or kubelet uses`)
}

func runCommand() *cobra.Command {
	o := &options{}
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the agent until it is told to stop; the rules stay, unless --cleanup-with-daemonset says otherwise",
		Long: `Run the agent until it is told to stop (SIGTERM). The rules stay in the kernel, so that a restart cuts nothing; "cleanup"
removes them, and so does the end of an agent with --cleanup-with-daemonset whose DaemonSet has been deleted. The log begins with the mode and the variant of iptables that were chosen, and why.

--address serves /livez, /healthz and /readyz (rule updates reach the kernel; /healthz also: this Node is to stay; /readyz also:
the first rules are in the kernel), /metrics, and with --profiling /debug/pprof.`,
		Example: `  clb-node-agent run --mode=override --iptables=nft          # beside a kube-proxy that nobody may change
  clb-node-agent run --pods=cidr:10.0.0.0/14                 # VPC-CNI: pods are known by the cluster's CIDR
  clb-node-agent run --node-name=n1 --kubeconfig=agent.conf  # as a service of the host`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := o.config()
			if err != nil {
				return err
			}
			return runWithOwner(c.Context(), config, o.daemonSet, c.OutOrStdout())
		},
	}
	flags := c.Flags()
	o.add(flags)
	flags.StringVar(&o.mode, "mode", "", `"standalone" (no kube-proxy for NodePorts), "companion" (kube-proxy with `+agent.RestrictFlag+`) or "override" (kube-proxy as it is); default: detected`)
	flags.BoolVar(&o.drain, "drain", false, "answer 503 on health check ports while the Node is being deleted or tainted by an autoscaler")
	flags.StringVar(&o.sysctls, "sysctls", "/proc/sys", "directory through which --localhost-nodeports sets the kernel's setting, where /proc/sys is read-only, as in a container")
	flags.StringVar(&o.address, "address", ":10356", "where /healthz, /livez, /readyz and /metrics are served; empty: nowhere")
	flags.BoolVar(&o.profiling, "profiling", false, "serve /debug/pprof as well")
	flags.DurationVar(&o.minSync, "min-sync-period", 100*time.Millisecond, "least time between two syncs")
	flags.DurationVar(&o.check, "check-period", 5*time.Second, "how often the agent looks whether others have changed its rules or come before its jumps (next to nothing while nobody writes rules)")
	flags.DurationVar(&o.verify, "verify-period", 5*time.Minute, "how often all rules are compared with the kernel's")
	flags.DurationVar(&o.stuck, "stuck-after", time.Minute, "an update that waits longer turns health answers to 503")
	flags.DurationVar(&o.compare, "compare-period", 10*time.Second, "in mode override: how often kube-proxy's health answers are compared with ours")
	flags.DurationVar(&o.modeEvery, "mode-period", time.Minute, "how often the agent looks whether kube-proxy has come, gone or been restricted")
	flags.StringVar(&o.daemonSet, "cleanup-with-daemonset", "", "NAMESPACE/NAME of the agent's DaemonSet: when it is deleted, the agent removes its rules as it ends; takes the right to get, list and watch it. Empty: the rules always stay")
	logs := flag.NewFlagSet("log", flag.ContinueOnError)
	klog.InitFlags(logs)
	flags.AddGoFlag(logs.Lookup("v"))
	return c
}

func (o *options) config() (agent.Config, error) {
	c := agent.Config{
		Build:    agent.Build{Version: version.Version(), Commit: version.Commit()},
		NodeName: o.nodeName(), Mode: agent.Mode(o.mode), Variant: iptables.Variant(o.variant), Localhost: o.localhost, Sysctls: o.sysctls, ReadinessGate: o.gates, Drain: o.drain,
		Address: o.address, Profiling: o.profiling, MinSync: o.minSync, CheckEvery: o.check, VerifyEvery: o.verify, StuckAfter: o.stuck, CompareEvery: o.compare, ModeEvery: o.modeEvery,
	}
	var errs []error
	if c.NodeName == "" {
		errs = append(errs, errors.New("no --node-name, and the host has no name"))
	}
	switch c.Mode {
	case "", agent.Standalone, agent.Companion, agent.Override:
	default:
		errs = append(errs, fmt.Errorf("--mode is %q, want standalone, companion or override", o.mode))
	}
	switch c.Variant {
	case "", iptables.Legacy, iptables.NFT:
	default:
		errs = append(errs, fmt.Errorf("--iptables is %q, want legacy or nft", o.variant))
	}
	if o.bit < 0 || o.bit > 31 {
		errs = append(errs, fmt.Errorf("--masquerade-bit is %d, want 0 to 31", o.bit))
	} else {
		c.Mark = 1 << o.bit
	}
	for name, d := range map[string]time.Duration{"--min-sync-period": o.minSync, "--check-period": o.check, "--verify-period": o.verify, "--stuck-after": o.stuck, "--compare-period": o.compare, "--mode-period": o.modeEvery} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s is %v, want more than 0", name, d))
		}
	}
	var err error
	c.PodsFromNode = o.pods == "node-cidr"
	c.Pods, err = podTraffic(o.pods)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return agent.Config{}, err
	}
	c.Client, err = o.client()
	return c, err
}

// nodeName is the host's name, as kubelet takes it, unless another is given; "" if there is none.
func (o *options) nodeName() string {
	if o.node != "" {
		return o.node
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return strings.ToLower(name)
}

// interfaceName is what iptables takes; a longer name would make it refuse every rule.
var interfaceName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,14}$`)

func podTraffic(text string) (nodeagent.PodTraffic, error) {
	kind, value, _ := strings.Cut(text, ":")
	var p nodeagent.PodTraffic
	switch {
	case text == "unknown" || text == "node-cidr":
	case kind == "bridge" && value != "":
		if !interfaceName.MatchString(value) {
			return p, fmt.Errorf("--pods: %q is no name of an interface, want at most 15 of a-z, A-Z, 0-9, '_', '.' and '-'", value)
		}
		p.Interface = value
	case kind == "interface-prefix" && value != "":
		if !interfaceName.MatchString(value) || len(value) > 14 {
			return p, fmt.Errorf("--pods: %q begins no name of an interface, want at most 14 of a-z, A-Z, 0-9, '_', '.' and '-'; the + is not said", value)
		}
		p.InterfacePrefix = value
	case kind == "cidr" && value != "":
		for c := range strings.SplitSeq(value, ",") {
			prefix, err := netip.ParsePrefix(strings.TrimSpace(c))
			if err != nil {
				return p, fmt.Errorf("--pods: %w", err)
			}
			p.CIDRs = append(p.CIDRs, prefix.Masked())
		}
	default:
		return p, fmt.Errorf("--pods is %q, want node-cidr, cidr:CIDR, bridge:NAME, interface-prefix:PREFIX or unknown", text)
	}
	return p, nil
}

func (o *options) client() (kubernetes.Interface, error) {
	var config *rest.Config
	var err error
	if o.kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("how to reach the API server (--kubeconfig): %w", err)
	}
	config.UserAgent = version.UserAgent(name)
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	return kubernetes.NewForConfig(config)
}
