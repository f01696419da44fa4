// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/names"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/internal/version"
	"github.com/clbsync/clbsync/lbsync/clb"
	"github.com/clbsync/clbsync/provider"
)

// prepare checks everything that can be wrong at the start, so that it is said in words and not as a crash
// somewhere in upstream's code, and makes the client of the cloud.
func (p *program) prepare(cmd *cobra.Command) error {
	if p.dryRun && !cmd.Flags().Changed("leader-elect") {
		// The lease is held by the real one, and asking for it is a write.
		p.options.Generic.LeaderElection.LeaderElect = false
	}
	if err := p.checkFlags(); err != nil {
		return usageError{err}
	}
	var err error
	if p.config, err = readConfig(p.options.KubeCloudShared.CloudProvider.CloudConfigFile); err != nil {
		return err
	}
	if p.deleteOf != "" && p.deleteOf != p.config.Settings.ClusterID {
		return usageError{fmt.Errorf("--delete-load-balancers is %q, but the clusterID of the cloud config is %q: both have to be the same", p.deleteOf, p.config.Settings.ClusterID)}
	}
	p.config.Settings.ClassOnly, p.config.Settings.Release = p.classOnly, p.deleteOf != ""
	p.config.Gather = cmp.Or(p.gather, p.config.Gather)
	registerBuildInfo()
	klog.InfoS("Starting", "version", version.Version(), "commit", version.Commit(), "region", p.config.Region, "vpc", p.config.Settings.VPCID,
		"cluster", p.config.Settings.ClusterID, "credentials", p.config.Credentials.String(), "classOnly", p.classOnly, "dryRun", p.dryRun)
	if err := p.reachAPIServer(); err != nil {
		return err
	}
	p.client, err = p.openCloud()
	return err
}

var plainName = regexp.MustCompile(`^[^/ ]+/[^/ ]+$`)

func (p *program) checkFlags() error {
	o := p.options
	if got := o.KubeCloudShared.CloudProvider.Name; got != provider.Name {
		return fmt.Errorf("--cloud-provider is %q, want %s, the only one in this program", got, provider.Name)
	}
	if o.KubeCloudShared.CloudProvider.CloudConfigFile == "" {
		return errors.New("--cloud-config is missing; give it a file like examples/cloud-config.yaml")
	}
	if p.unlessDeployment != "" && !plainName.MatchString(p.unlessDeployment) {
		return fmt.Errorf("--unless-deployment is %q, want NAMESPACE/NAME", p.unlessDeployment)
	}
	if p.deleteOf != "" && p.dryRun {
		return errors.New("--delete-load-balancers and --dry-run are both given: a dry run would never end")
	}
	if p.gather < 0 {
		return fmt.Errorf("--gather is %s, want 0 or more", p.gather)
	}
	return o.Validate(app.ControllerNames(p.initializers()), app.ControllersDisabledByDefault.List(), names.CCMControllerAliases(), app.AllWebhooks, app.DisabledByDefaultWebhooks)
}

func readConfig(path string) (provider.CloudConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return provider.CloudConfig{}, fmt.Errorf("--cloud-config: %w", err)
	}
	cfg, err := provider.ReadConfig(bytes.NewReader(text))
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// cloudConfig is what the client of the cloud is made of.
func (p *program) cloudConfig() (clb.Config, error) {
	cfg := clb.Config{
		Region:      p.config.Region,
		VPCID:       p.config.Settings.VPCID,
		Credentials: clb.Credentials(p.config.Credentials),
		Endpoints:   clb.Endpoints(p.config.Endpoints),
		RateLimits:  clb.RateLimits(p.config.RateLimits),
		UserAgent:   name + " " + version.Version(),
	}
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("cloud config: %w", err)
	}
	return cfg, nil
}

// openCloud makes the client of the cloud. Credentials that cannot be found yet (the metadata service is slow
// to come up, a role is still to be bound) are waited for: a crash would only hide the reason.
func (p *program) openCloud() (*clb.Client, error) {
	cfg, err := p.cloudConfig()
	if err != nil {
		return nil, err
	}
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		client, err := clb.New(p.stop, cfg)
		switch {
		case err == nil:
			return client, nil
		case p.stop.Err() != nil:
			return nil, p.stop.Err()
		}
		klog.ErrorS(err, "No credentials for Tencent Cloud; give some in the cloud config, the environment or the role of the CVM", "again", pause)
		select {
		case <-p.stop.Done():
			return nil, p.stop.Err()
		case <-time.After(pause):
		}
	}
}
