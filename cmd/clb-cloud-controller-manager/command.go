// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/clbsync/clbsync/internal/version"
	"github.com/clbsync/clbsync/lbsync/clb"
	"github.com/clbsync/clbsync/provider"
)

const name = "clb-cloud-controller-manager"

// program is what main puts together.
type program struct {
	stop    context.Context // ends with SIGTERM or SIGINT
	stderr  io.Writer
	options *options.CloudControllerManagerOptions
	running sync.WaitGroup // the controllers that finish their work before the program ends
	lease   lease          // of the leader, from when this process became it; see lead
	leading sync.Once      // see lead

	// Our own flags.
	dryRun, classOnly, check bool
	gather                   time.Duration
	deleteOf                 string // the cluster whose CLBs are to be deleted
	unlessDeployment         string

	finish context.CancelFunc // ends the program when there is nothing left to do; see release.go

	// What prepare fills in.
	config provider.CloudConfig
	client *clb.Client
}

func newProgram(stop context.Context, stderr io.Writer) (*program, error) {
	o, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		return nil, err
	}
	o.KubeCloudShared.CloudProvider.Name = provider.Name
	// Not the stock name: k3s and other clouds' controllers hold a lease of that one in the same namespace.
	o.Generic.LeaderElection.ResourceName = name
	// How many CLBs are worked on at once. With the stock default of 1 a slow CLB would delay all others.
	o.ServiceController.ConcurrentServiceSyncs = 32
	o.Generic.ClientConnection.QPS, o.Generic.ClientConnection.Burst = 50, 100
	// There are no webhooks, so no port for them either.
	o.Webhook, o.WebhookServing = nil, nil
	stop, finish := context.WithCancel(stop)
	return &program{stop: stop, finish: finish, stderr: stderr, options: o}, nil
}

// command is upstream's command with our controllers, flags and checks.
func (p *program) command(stdout io.Writer) *cobra.Command {
	var own cliflag.NamedFlagSets
	fs := own.FlagSet("clbsync")
	fs.BoolVar(&p.dryRun, "dry-run", false, "Log what would be changed, and tell it in Events of the Services, but change neither CLBs nor Services nor Nodes. Needs no lease, so that it can run beside the real one.")
	fs.BoolVar(&p.classOnly, "load-balancer-class-only", false, "Serve only Services with loadBalancerClass: clbsync.io/clb, and leave those without a class to another controller, such as TKE's or k3s's.")
	fs.DurationVar(&p.gather, "gather", 0, "How long changes are gathered, so that many of them make one request to CLB. 0: what the cloud config says, else 50ms.")
	fs.BoolVar(&p.check, "check", false, "Say whether the cloud config, the API server, the rights there and the credentials are what this program needs, and exit. Changes nothing.")
	fs.StringVar(&p.deleteOf, "delete-load-balancers", "", "Delete the CLBs of all Services of this cluster, and exit when there are none left. The value has to be the clusterID of the cloud config. It is what uninstalling the chart runs, if it is told to.")
	fs.StringVar(&p.unlessDeployment, "unless-deployment", "", "With --delete-load-balancers: NAMESPACE/NAME of a Deployment. While it exists nothing is deleted, and the program fails.")

	initializers := p.initializers()
	open := func(*config.CompletedConfig) cloudprovider.Interface {
		return provider.New(p.config, provider.Backend{Instances: instances{p.client}})
	}
	cmd := app.NewCloudControllerManagerCommand(p.options, open, initializers, names.CCMControllerAliases(), own, p.stop.Done())
	cmd.Use, cmd.Long = name, long
	cmd.Flags().Lookup("help").Usage = "help for " + name
	cmd.SetOut(stdout)
	cmd.SetErr(p.stderr)
	cmd.SilenceUsage = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	ofUpstream, args, help := cmd.RunE, cmd.Args, cmd.HelpFunc()
	cmd.Args = func(cmd *cobra.Command, a []string) error {
		if err := args(cmd, a); err != nil {
			return usageError{err}
		}
		return nil
	}
	cmd.SetHelpFunc(func(c *cobra.Command, a []string) {
		if c != cmd { // upstream's would list all flags under "completion" too
			_, _ = fmt.Fprintf(stdout, "%s\nUsage:\n  %s\n", strings.TrimRight(c.Long, "\n")+"\n", c.UseLine())
			return
		}
		help(c, a)
	})
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		if v := cmd.Flags().Lookup("version").Value.String(); v == "true" || v == "raw" {
			_, err := fmt.Fprintln(stdout, version.Line(name))
			return err
		}
		if p.check {
			return p.examine(p.stop, stdout)
		}
		if err := p.prepare(cmd); err != nil {
			return err
		}
		if err := ofUpstream(cmd, a); err != nil {
			return printedError{err}
		}
		return nil
	}
	return cmd
}

const long = name + ` keeps a Tencent Cloud CLB in step with each Service of type LoadBalancer, and
describes and watches the cluster's nodes by their CVM instances.

Its controllers, for --controllers:
  service-lb-controller            CLBs of Services, in the place of the stock controller of that name
  cloud-node-controller            addresses, zone, type and providerID of new nodes
  cloud-node-lifecycle-controller  removes nodes whose CVM instance is gone

Examples:
  # A self-built cluster whose kubelets run with --cloud-provider=external
  ` + name + ` --kubeconfig=/etc/kubernetes/ccm.conf --cloud-config=/etc/kubernetes/cloud-config.yaml

  # Beside TKE's own controller, or in k3s: only Services with loadBalancerClass: clbsync.io/clb, no nodes
  ` + name + ` --cloud-config=… --load-balancer-class-only --controllers=service-lb-controller

  # What would it do here? Changes nothing, and can run beside the real one
  ` + name + ` --kubeconfig=$HOME/.kube/config --cloud-config=… --dry-run --secure-port=0

  # Is everything there that it needs? Changes nothing
  ` + name + ` --cloud-config=… --check

  # Against clbsim, the simulated CLB, on this machine
  ` + name + ` --kubeconfig=… --cloud-config=examples/cloud-config.yaml --leader-elect=false

  # Shell completion
  source <(` + name + ` completion bash)

The cloud config is described in docs/cloud-config.md. Of several replicas the one that holds the lease
kube-system/` + name + ` works. https://<host>:10258 serves /healthz to everybody, and /metrics to those whose token allows it.

When it is stopped it finishes the calls in flight and gives the lease back, so that the next leader begins at once.

Exit codes: 0 stopped by SIGTERM or SIGINT, after the calls in flight; 1 failure; 2 wrong command line.`
