// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

var counted = regexp.MustCompile(` -c (\d+) \d+( |$)`)

// Packets returns how many packets the rules of one chain have taken, together, since each was written.
func (r Runner) Packets(ctx context.Context, c chains.Chain) (uint64, error) {
	out, err := r.run(ctx, "", r.program(""), "-w", lockWait, "-t", c.Table, "-v", "-S", c.Name)
	if err != nil {
		return 0, err
	}
	var sum uint64
	for line := range strings.Lines(string(out)) {
		if m := counted.FindStringSubmatch(strings.TrimSpace(line)); m != nil && strings.HasPrefix(line, "-A ") {
			n, err := strconv.ParseUint(m[1], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

// Table returns one table as iptables-save prints it, and nothing for one that iptables-legacy has not made: to ask for
// it would make it.
func (r Runner) Table(ctx context.Context, table string) (string, error) {
	if r.Variant == Legacy && !slices.Contains(strings.Fields(legacyTables(r.Family)), table) {
		return "", nil
	}
	out, err := r.run(ctx, "", r.program("-save"), "-t", table)
	return string(out), err
}

// Families are both, in the order in which they are named to people.
var Families = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
