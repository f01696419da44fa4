// SPDX-License-Identifier: Apache-2.0

// Package install installs the product as a platform team does: the chart by Helm, in a lab with RBAC on, its pods run by
// the lab's kubelets from the images that package images has built, and the simulated CLB in the place of the cloud.
//
// Its tests hold that each preset of the chart works end to end, that an upgrade costs no request, that an uninstallation
// leaves no rule on a node, and that both programs are granted what they ask for and nothing else. It decides
// nothing of how the chart is made.
package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/images"
	"github.com/clbsync/clbsync/internal/helm"
	"github.com/clbsync/clbsync/lab/build"
	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/e2e"
)

const (
	// Release is the name of the installation.
	Release = "clbsync"

	// Namespace is where the installation is.
	Namespace = "clbsync"

	// NextTag is another name of the same images on every node: an upgrade to it replaces every pod.
	NextTag = "lab-next"
)

// Site is a lab with Helm. Start makes one.
type Site struct {
	*e2e.Lab
	Helm helm.Helm

	files string // a directory for values
}

// Start builds what is missing and starts a lab whose nodes wait for a cloud-controller-manager, and whose kube-proxies leave
// NodePorts to the agent.
func Start(ctx context.Context, config cluster.Config) (_ *Site, err error) {
	binary, err := helm.Find(ctx)
	if err != nil {
		return nil, err
	}
	config.Audit, config.Proxy = true, cluster.Restricted.Everywhere()
	lab, err := e2e.Start(ctx, e2e.Config{
		Cluster: config, Sets: []build.Set{build.Release}, Images: imageNames(), WithoutController: true,
	})
	if err != nil {
		return nil, err
	}
	s := &Site{Lab: lab, files: filepath.Join(filepath.Dir(lab.InClusterKubeconfig), "helm")}
	s.Helm = helm.Helm{Binary: binary, Home: s.files, Kubeconfig: lab.Kubeconfig}
	if err := errors.Join(os.MkdirAll(s.files, 0o755), s.tagAgain(ctx)); err != nil {
		return nil, errors.Join(err, lab.Close()) //nolint:contextcheck // what was made goes, also after ctx has ended
	}
	return s, nil
}

func imageNames() []string {
	var names []string
	for _, i := range images.All {
		names = append(names, i.Name)
	}
	return names
}

// tagAgain gives the images their second name.
func (s *Site) tagAgain(ctx context.Context) error {
	for _, n := range s.Nodes() {
		for _, name := range imageNames() {
			ref := images.Registry + "/" + name + ":"
			if out, err := s.Output(ctx, n.Name, "ctr", "--namespace=k8s.io", "images", "tag", ref+build.ReleaseTag, ref+NextTag); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
	}
	return nil
}

// Values are values of the chart, nested as in a values file.
type Values map[string]any

// Merge returns the values with others over them.
func (v Values) Merge(over Values) Values {
	merged := maps.Clone(v)
	for key, value := range over {
		below, is := merged[key].(Values)
		above, also := value.(Values)
		if is && also {
			value = below.Merge(above)
		}
		merged[key] = value
	}
	return merged
}

// LabValues are what every installation in the lab says: where the cloud is, and which images its nodes have.
func LabValues(tag string) Values {
	cloud := Values{}
	for key, value := range e2e.CloudConfig() {
		switch key {
		case "apiVersion", "kind", "credentials":
		default:
			cloud[key] = value
		}
	}
	keys := e2e.CloudConfig()["credentials"].(map[string]any)
	return Values{
		"cloudConfig": cloud,
		"credentials": Values{"source": "values", "secretID": keys["secretID"], "secretKey": keys["secretKey"]},
		"controller":  Values{"image": Values{"tag": tag}},
		"agent":       Values{"image": Values{"tag": tag}},
	}
}

// file writes values for Helm.
func (s *Site) file(values Values) (string, error) {
	content, err := yaml.Marshal(values)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.files, "values.yaml")
	return path, os.WriteFile(path, content, 0o600)
}

// Install installs a preset, or upgrades what is installed to it, and waits until it is ready.
func (s *Site) Install(ctx context.Context, preset string, values Values) error {
	path, err := s.file(values)
	if err != nil {
		return err
	}
	if out, err := s.Helm.Install(ctx, Release, Namespace, "--values="+helm.Preset(preset), "--values="+path); err != nil {
		return fmt.Errorf("install the preset %s: %w\n%s\n%s", preset, err, out, s.explain(ctx))
	}
	return nil
}

// explain says how the pods of the installation are, for errors.
func (s *Site) explain(ctx context.Context) string {
	ctx = context.WithoutCancel(ctx)
	var text strings.Builder
	for _, args := range [][]string{
		{"get", "pods", "-o", "wide"}, {"get", "events", "--field-selector=type=Warning"},
		{"logs", "--selector=app.kubernetes.io/instance=" + Release, "--tail=12", "--prefix"},
	} {
		out, err := s.Kubectl(ctx, append([]string{"--namespace=" + Namespace, "--request-timeout=10s"}, args...)...)
		fmt.Fprintf(&text, "%s%s", out, cmp.Or(errText(err), ""))
	}
	return text.String()
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error() + "\n"
}

// DryRun has the API server check every object of a preset as if it were installed.
func (s *Site) DryRun(ctx context.Context, args ...string) error {
	text, err := s.Helm.Template(ctx, Release, append([]string{"--namespace=" + Namespace}, args...)...)
	if err != nil {
		return err
	}
	apply := s.KubectlCommand(ctx, "apply", "--dry-run=server", "--filename=-")
	apply.Stdin = strings.NewReader(text)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("the API server refuses it: %w\n%s", err, out)
	}
	return nil
}

// OurRules returns the agent's chains in each variant of iptables on a node, as "VARIANT CHAIN", and its address sets.
func (s *Site) OurRules(ctx context.Context, node string) ([]string, error) {
	var chains []string
	for _, save := range []string{"iptables-legacy-save", "iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save"} {
		out, err := s.Output(ctx, node, save)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "CLBN-") {
				chains = append(chains, save+" "+strings.TrimSpace(line))
			}
		}
	}
	machine, err := s.Machine(node)
	if err != nil {
		return nil, err
	}
	err = machine.InNetNS(func() error {
		sets, err := netlink.IpsetListAll()
		for _, set := range sets {
			if strings.HasPrefix(set.SetName, "CLBN-") {
				chains = append(chains, "set "+set.SetName)
			}
		}
		return err
	})
	return chains, err
}
