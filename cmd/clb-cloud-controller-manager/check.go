// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/cloud-provider/names"

	"github.com/clbsync/clbsync/lbsync/clb"
)

// checkTime bounds the whole of --check.
const checkTime = 2 * time.Minute

// examine says what is there of what the program needs, a line each, and fails if something is not. It changes nothing.
func (p *program) examine(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if err := p.checkFlags(); err != nil {
		return usageError{err}
	}
	bad := 0
	say := func(good string, err error) bool {
		if err != nil {
			bad++
			_, _ = fmt.Fprintf(out, "!! %v\n", err)
		} else {
			_, _ = fmt.Fprintf(out, "ok %s\n", good)
		}
		return err == nil
	}
	var err error
	p.config, err = readConfig(p.options.KubeCloudShared.CloudProvider.CloudConfigFile)
	if !say(fmt.Sprintf("cloud config: region %s, VPC %s, cluster %s", p.config.Region, p.config.Settings.VPCID, p.config.Settings.ClusterID), err) {
		return errors.New("1 thing needs attention")
	}
	if err := p.reachAPIServer(); say("the API server answers", err) {
		missing, err := p.missingRights(ctx)
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("RBAC does not allow: %s", strings.Join(missing, "; "))
		}
		say("RBAC allows what --controllers needs", err)
	}
	quotas, err := p.askCloud(ctx)
	say(fmt.Sprintf("CLB answers: the account may have %d targets on a listener", quotas.Targets), err)
	switch bad {
	case 0:
		return nil
	case 1:
		return errors.New("1 thing needs attention")
	}
	return fmt.Errorf("%d things need attention", bad)
}

// askCloud makes the smallest request that needs credentials, region and the way to the cloud.
func (p *program) askCloud(ctx context.Context) (clb.Quotas, error) {
	cfg, err := p.cloudConfig()
	if err != nil {
		return clb.Quotas{}, err
	}
	client, err := clb.New(ctx, cfg)
	if err != nil {
		return clb.Quotas{}, err
	}
	return client.Quotas(ctx)
}

// right is one of those that the program cannot do without.
type right struct{ verb, group, resource, sub string }

func (r right) String() string {
	s := r.verb + " " + r.resource
	if r.sub != "" {
		s += "/" + r.sub
	}
	return strings.TrimSuffix(s+"."+r.group, ".")
}

// rights returns those of the controllers that run.
func (p *program) rights() []right {
	all := []right{{"list", "", "nodes", ""}, {"watch", "", "nodes", ""}, {"create", "", "events", ""}, {"patch", "", "events", ""}}
	runs := func(controller string) bool {
		list := p.options.Generic.Controllers
		return slices.Contains(list, controller) || slices.Contains(list, "*") && !slices.Contains(list, "-"+controller)
	}
	if runs(names.ServiceLBController) {
		all = append(all, right{"list", "", "services", ""}, right{"watch", "", "services", ""}, right{"patch", "", "services", "status"},
			right{"list", "discovery.k8s.io", "endpointslices", ""}, right{"watch", "discovery.k8s.io", "endpointslices", ""})
		if p.config.Settings.Gate.Enabled {
			all = append(all, right{"list", "", "pods", ""}, right{"watch", "", "pods", ""}, right{"patch", "", "pods", "status"})
		}
	}
	if runs(names.CloudNodeController) {
		all = append(all, right{"get", "", "nodes", ""}, right{"update", "", "nodes", ""}, right{"patch", "", "nodes", ""}, right{"patch", "", "nodes", "status"})
	}
	if runs(names.CloudNodeLifecycleController) {
		all = append(all, right{"delete", "", "nodes", ""})
	}
	return all
}

// missingRights asks the API server which of the rights this program does not have.
func (p *program) missingRights(ctx context.Context) ([]string, error) {
	cfg, err := clientcmd.BuildConfigFromFlags(p.options.Master, p.options.Generic.ClientConnection.Kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, r := range p.rights() {
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.sub}}}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("ask whether RBAC allows %s: %w", r, err)
		}
		if !review.Status.Allowed {
			missing = append(missing, r.String())
		}
	}
	return missing, nil
}
