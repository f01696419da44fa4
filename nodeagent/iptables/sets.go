// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// setSize bounds the clients that one endpoint remembers. Memory is only used for those that there are.
const setSize = 1 << 18

// CreateSet makes an address set whose entries can time out; one that exists is left as it is, with its clients.
func (r Runner) CreateSet(name string) error {
	timeout := uint32(corev1.DefaultClientIPServiceAffinitySeconds) // each rule sets its own
	family := uint8(unix.AF_INET)
	if r.Family == corev1.IPv6Protocol {
		family = unix.AF_INET6
	}
	err := netlink.IpsetCreate(name, "hash:ip", netlink.IpsetCreateOptions{Timeout: &timeout, Family: family, MaxElements: setSize})
	if err != nil && !errors.Is(err, unix.EEXIST) && err.Error() != "file exists" {
		return fmt.Errorf("address set %s of type hash:ip: %w", name, err)
	}
	return nil
}

// DestroySet removes an address set. One that does not exist is no error; one that a rule still refers to is.
func (r Runner) DestroySet(name string) error {
	err := netlink.IpsetDestroy(name)
	if err != nil && !errors.Is(err, unix.ENOENT) && err.Error() != "no such file or directory" {
		return fmt.Errorf("address set %s: %w", name, err)
	}
	return nil
}

// Sets returns the names of our address sets of this family.
func (r Runner) Sets(context.Context) ([]string, error) {
	all, err := netlink.IpsetListAll()
	if err != nil {
		return nil, fmt.Errorf("list of address sets: %w", err)
	}
	family := uint8(unix.AF_INET)
	if r.Family == corev1.IPv6Protocol {
		family = unix.AF_INET6
	}
	var names []string
	for _, s := range all {
		if strings.HasPrefix(s.SetName, chains.Prefix) && s.Family == family {
			names = append(names, s.SetName)
		}
	}
	return names, nil
}

// SetRest is how long a set outlives the last rule that named it. iptables-legacy-save copies the rules out of the kernel and
// then asks for the name of each set in them: where the set has gone in between, whoever reads rules just then, such as
// kube-proxy, gets an error (exit 2, "Set with index 0 in kernel doesn't exist") in place of the table.
const SetRest = 2 * time.Second

// SetsWork tells whether the kernel has address sets and rules can refer to them. It leaves an empty set of ours behind, to be
// destroyed after SetRest as any other that no rule names.
func (r Runner) SetsWork(ctx context.Context) error {
	name := chains.Prefix + "TEST-" + string(r.Family)
	if err := r.CreateSet(name); err != nil {
		return err
	}
	if err := r.takes(ctx, name, fmt.Sprintf("-m set --match-set %s src -j SET --add-set %s src --exist --timeout 1", name, name)); err != nil {
		return errors.Join(err, r.destroySoon(ctx, name)) // nobody looks after sets where rules cannot name them
	}
	return nil
}

// ComparingWorks tells whether rules can compare a packet's two addresses.
func (r Runner) ComparingWorks(ctx context.Context) error {
	return r.takes(ctx, chains.Prefix+"TEST", strings.Replace(chains.HairpinRule(r.Family), "-j "+chains.Masq.Name, "-j RETURN", 1))
}

// takes loads a rule into a chain that no packet meets, and removes it.
func (r Runner) takes(ctx context.Context, chain, rule string) error {
	if err := r.Restore(ctx, fmt.Sprintf("*nat\n:%s - [0:0]\n-A %s %s\nCOMMIT\n", chain, chain, rule)); err != nil {
		return err
	}
	return r.Restore(ctx, fmt.Sprintf("*nat\n:%s - [0:0]\n-X %s\nCOMMIT\n", chain, chain))
}

// destroySoon destroys a set that no rule refers to any more. With iptables-nft the kernel lets go of it only some
// time after the rule is gone.
func (r Runner) destroySoon(ctx context.Context, name string) error {
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxElapsedTime(2*time.Second))
	var last error
	err := backoff.Retry(func() error { last = r.DestroySet(name); return last }, backoff.WithContext(policy, ctx))
	if err != nil {
		return last
	}
	return nil
}
