// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/clbsync/clbsync/lbsync"
)

// Cloud is what the controller needs of the cloud. Its errors are, or wrap, *lbsync.Error. Calls for one
// CLB never overlap, Health apart; calls for different ones do.
type Cloud interface {
	lbsync.API
	// Find returns the CLBs whose tags prove the owner's ownership, the oldest first; nil if there is none.
	Find(ctx context.Context, owner lbsync.Owner) ([]lbsync.Instance, error)
	// Observe returns the CLB as it is. The error is of the Kind NotFound if there is no such CLB.
	Observe(ctx context.Context, id string) (lbsync.LoadBalancer, error)
	// DeleteSecurityGroups deletes those that were made for the owner, once no CLB has them. It succeeds if there are none.
	DeleteSecurityGroups(ctx context.Context, owner lbsync.Owner) error
	// Health returns the state of the targets of CLBs, whatever else is in flight for them; a target may be absent. A
	// CLB that is gone is absent too, and takes no other with it. With an error, more CLBs may be missing.
	Health(ctx context.Context, ids []string) (map[string]map[lbsync.Binding]lbsync.Health, error)
}

// Instances finds the CVM instance that has a private address in the VPC; found is false if none has it now.
type Instances func(ctx context.Context, addr netip.Addr) (id string, found bool, err error)

// Config is what a Controller needs: Client, Informers, Cloud and Settings.ClusterID at least. Without
// Instances, nodes whose object names no instance are no targets.
type Config struct {
	Client    kubernetes.Interface            // patches services/status, writes events
	Informers informers.SharedInformerFactory // started by the caller, after New
	Cloud     Cloud
	Settings  lbsync.Settings
	Instances Instances
	Dynamic   dynamic.Interface // watches TkeServiceConfigs, if the cluster knows them, and makes those that Services ask for; nil: they are not followed
	// Regions returns what Cloud is, for CLBs in another region. Nil: there are none, and Services that ask for one fail.
	Regions func(region string) (Cloud, error)
	// TargetQuota reads how many targets a listener may have, 0 if CLB does not say. Nil: it is not known,
	// and a Service of more nodes than that fails.
	TargetQuota func(ctx context.Context) (int, error)
	// Owned lists all of a region, "" the cluster's, that carries the tags of this cluster and of one of its Services. Nil: nobody
	// looks for orphans.
	Owned func(ctx context.Context, region string) ([]lbsync.Owned, error)
	// About is what Events are about that concern the cluster as a whole, the leader's Lease say. Nil: there are none.
	About *corev1.ObjectReference

	Workers int           // CLBs that are worked on at once, and as many again whose endpoints have moved; 0 is 32. Fewer let slow CLBs delay others
	Gather  time.Duration // events of one CLB within this time make one sync; 0 is 50 ms
	Verify  time.Duration // how often, about, the actual state is read again; 0 is 10 min
	Grace   time.Duration // how long calls in flight may go on when Run has to end; 0 is 20 s
	Wait    time.Duration // how long Ensure and Delete wait for an outcome; 0 is 2 min
	DryRun  bool          // plans go to the log and into Events; neither CLBs nor Services are written
}

// complete returns the configuration with its defaults, or an error that names all that is wrong with it.
func (c Config) complete() (Config, error) {
	var wrong []string
	for _, f := range []struct {
		name string
		none bool
	}{{"Client", c.Client == nil}, {"Informers", c.Informers == nil}, {"Cloud", c.Cloud == nil}, {"Settings.ClusterID", c.Settings.ClusterID == ""}} {
		if f.none {
			wrong = append(wrong, f.name+" is missing")
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"Gather", c.Gather}, {"Verify", c.Verify}, {"Grace", c.Grace}, {"Wait", c.Wait}} {
		if f.value < 0 {
			wrong = append(wrong, fmt.Sprintf("%s is %s, want 0 or more", f.name, f.value))
		}
	}
	if c.Workers < 0 {
		wrong = append(wrong, fmt.Sprintf("Workers is %d, want 0 or more", c.Workers))
	}
	if len(wrong) > 0 {
		return c, fmt.Errorf("controller configuration: %s", strings.Join(wrong, "; "))
	}
	c.Workers = cmp.Or(c.Workers, 32)
	c.Gather = cmp.Or(c.Gather, 50*time.Millisecond)
	c.Verify = cmp.Or(c.Verify, 10*time.Minute)
	c.Grace = cmp.Or(c.Grace, 20*time.Second)
	c.Wait = cmp.Or(c.Wait, 2*time.Minute)
	return c, nil
}
