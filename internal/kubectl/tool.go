// SPDX-License-Identifier: Apache-2.0

// Package kubectl is the plugin `kubectl clb`: it says in words what the controller makes of a Service, what it would
// change, and what is left over in the cloud, and it prints the tables of annotations and of error codes.
//
// It decides nothing about load balancers: what a Service asks for it asks lbsync/controller (Examine), which does what
// a sync does, without a write. The one thing that it changes is an orphan that a person names, after its tags were read
// again. Only cmd/kubectl-clb calls it.
package kubectl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/internal/version"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/controller"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
	exitChanges = 3 // of plan: something would be changed
)

// Cloud is what the commands need of the cloud.
type Cloud interface {
	controller.Cloud
	Owned(ctx context.Context, cluster string) ([]lbsync.Owned, error)
	Quota(ctx context.Context) (targets int, err error)
	// Region returns what the Cloud is, for CLBs in another region; that of its own is the Cloud itself.
	Region(region string) (Cloud, error)
	Instances() controller.Instances
}

// Tool is the program with what it is connected to; a test puts in its own. Fields may be changed before Run.
type Tool struct {
	In       io.Reader
	Out, Err io.Writer
	Now      func() time.Time
	// Kube connects to a cluster.
	Kube func(place Place) (Cluster, error)
	// Open reads a cloud config and connects to the cloud that it describes.
	Open func(ctx context.Context, file string) (Cloud, lbsync.Settings, error)
}

// Cluster is a connection to a cluster.
type Cluster struct {
	Client    kubernetes.Interface
	Dynamic   dynamic.Interface // for TkeServiceConfigs
	Namespace string            // to look in if no other is named
}

// Place says which cluster and namespace are meant, in kubectl's flags. Empty fields are what kubectl takes then.
type Place struct{ Kubeconfig, Context, Namespace string }

// New returns the program as people use it.
func New(in io.Reader, out, err io.Writer) *Tool {
	return &Tool{In: in, Out: out, Err: err, Now: time.Now, Kube: kube, Open: open}
}

// run is what the flags of one call say.
type run struct {
	*Tool
	place       Place
	cloudConfig string
	output      string // "text" or "json"
	lang        string // "en" or "zh"
	timeout     time.Duration
}

// Run carries out a command line and returns the exit code.
func (t *Tool) Run(ctx context.Context, args []string) int {
	klog.SetLogger(logr.Discard()) // what the libraries log is no answer to anybody's question
	ctx = klog.NewContext(ctx, logr.Discard())
	root := t.command() //nolint:contextcheck // ExecuteContext hands ctx to each command
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errChanges):
		return exitChanges
	}
	fmt.Fprintf(t.Err, "Error: %v\n", err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintln(t.Err, "See 'kubectl clb --help'.")
		return exitUsage
	}
	return exitFailure
}

// errChanges says that plan has found something to change.
var errChanges = errors.New("something would be changed")

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// command is the whole program as cobra has it.
func (t *Tool) command() *cobra.Command {
	r := &run{Tool: t}
	root := &cobra.Command{
		Use: "kubectl-clb", Short: texts["clb"].Short, Long: texts["clb"].Long, Example: texts["clb"].Example,
		Annotations:  map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl clb"},
		SilenceUsage: true, SilenceErrors: true, Version: version.Version(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetVersionTemplate(version.Line("kubectl-clb") + "\n")
	root.SetIn(t.In)
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVarP(&r.output, "output", "o", "text", "text, or json for programs")
	flags.StringVar(&r.lang, "lang", "en", "en or zh, of tables and of what codes mean")
	root.AddCommand(r.explain(), r.plan(), r.orphans(), r.annotations(), r.errors(), r.version())
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return r.check() }
	root.InitDefaultCompletionCmd(root.Name())
	return root
}

func (r *run) check() error {
	if r.output != "text" && r.output != "json" {
		return usage("--output is %q, want text or json", r.output)
	}
	if r.lang != "en" && r.lang != "zh" {
		return usage("--lang is %q, want en or zh", r.lang)
	}
	return nil
}

func (r *run) chinese() bool { return r.lang == "zh" }

// sub returns a command with its texts. use is its line of arguments.
func (r *run) sub(name, use string, args cobra.PositionalArgs, do func(c *cobra.Command, args []string) error) *cobra.Command {
	t := texts[name]
	return &cobra.Command{
		Use: strings.TrimSpace(name + " " + use), Short: t.Short, Long: t.Long, Example: t.Example,
		Args: func(c *cobra.Command, a []string) error {
			if err := args(c, a); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: do,
	}
}

// cluster adds the flags that say which cluster is meant.
func (r *run) cluster(c *cobra.Command) *cobra.Command {
	f := c.Flags()
	f.StringVar(&r.place.Kubeconfig, "kubeconfig", "", "path of the kubeconfig file; default: as kubectl")
	f.StringVar(&r.place.Context, "context", "", "context of the kubeconfig; default: the current one")
	f.StringVar(&r.cloudConfig, "cloud-config", "", "the controller's cloud config (docs/cloud-config.md); default: $CLBSYNC_CLOUD_CONFIG")
	f.DurationVar(&r.timeout, "timeout", time.Minute, "how long the command may take")
	return c
}

func (r *run) namespaced(c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&r.place.Namespace, "namespace", "n", "", "namespace of the Service; default: the context's")
	return r.cluster(c)
}

// print writes an answer: as JSON, or as its text.
func (r *run) print(value any, text string) error {
	if r.output == "json" {
		b, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return err
		}
		text = string(b) + "\n"
	}
	_, err := io.WriteString(r.Out, text)
	return err
}
