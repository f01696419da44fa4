// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// lockWait is how long, in seconds, a program waits for the lock that all users of iptables-legacy share; lockPatience
// is how long we start it again. Together they outlast a kube-proxy that loads its rules from nothing.
const (
	lockWait     = "5"
	lockPatience = 30 * time.Second
	// exitResource is what iptables exits with when the lock, memory or another table user is in the way: try again.
	exitResource = 4
)

// ErrLocked means that another program held the iptables lock all the time.
var ErrLocked = errors.New("the iptables lock was held by another program")

// Runner runs the iptables programs of one family and variant. It is safe for concurrent use.
type Runner struct {
	Family  corev1.IPFamily
	Variant Variant
}

// Program is the name of the program that changes rules, for people to type.
func (r Runner) Program() string { return r.program("") }

func (r Runner) program(suffix string) string {
	name := "iptables"
	if r.Family == corev1.IPv6Protocol {
		name = "ip6tables"
	}
	return name + "-" + string(r.Variant) + suffix
}

// Works tells whether the tables that we need can be read; it reads next to nothing of them.
func (r Runner) Works(ctx context.Context) error {
	for _, c := range []chains.Chain{{Table: "filter", Name: "INPUT"}, {Table: "nat", Name: "POSTROUTING"}} {
		if _, err := r.Chain(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Save reads the filter and nat tables; with counters also how often each rule was met.
func (r Runner) Save(ctx context.Context, counters bool) (chains.Saved, error) {
	var text []byte
	for _, table := range []string{"filter", "nat"} {
		args := []string{"-t", table}
		if counters {
			args = append(args, "-c")
		}
		out, err := r.run(ctx, "", r.program("-save"), args...)
		if err != nil {
			return chains.Saved{}, err
		}
		text = append(text, out...)
	}
	saved, err := chains.Parse(text)
	if err != nil {
		return chains.Saved{}, fmt.Errorf("output of %s: %w", r.program("-save"), err)
	}
	return saved, nil
}

// Jumps reads only the built-in chains that our jumps stand in, and the first chains that these lead to. It is
// cheap beside Save, and shows a flush or an overtaken jump.
func (r Runner) Jumps(ctx context.Context, wanted []chains.Jump) (builtIn map[chains.Chain][]string, err error) {
	builtIn = map[chains.Chain][]string{}
	for _, j := range wanted {
		if builtIn[j.From], err = r.Chain(ctx, j.From); err != nil {
			return nil, err
		}
	}
	return builtIn, nil
}

// Chain reads the rules of one chain; a chain that does not exist is an error.
func (r Runner) Chain(ctx context.Context, c chains.Chain) ([]string, error) {
	out, err := r.run(ctx, "", r.program(""), "-w", lockWait, "-t", c.Table, "-S", c.Name)
	if err != nil {
		return nil, err
	}
	rules := []string{}
	for line := range strings.Lines(string(out)) {
		if rule, found := strings.CutPrefix(strings.TrimRight(line, "\n"), "-A "+c.Name+" "); found {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// Restore loads the input, leaving all chains alone that it does not name. Each table changes at once or not at all;
// after an error in the second table the first has changed, so that the caller must read before it writes again.
func (r Runner) Restore(ctx context.Context, input string) error {
	_, err := r.run(ctx, input, r.program("-restore"), "-w", lockWait, "--noflush")
	return err
}

// transactionMost bounds the chains that one transaction of iptables-nft-restore names, which takes time with their
// square. iptables-legacy-restore reads and writes the whole table each time: for it, one is best.
const transactionMost = 500

// Apply makes the change with one iptables-restore. Of a change that touches hundreds of chains the packets may see the
// beginning before the end; each step is a whole rule set. It returns the generations before and after it; the one after is
// zero if others have written meanwhile, or may have.
func (r Runner) Apply(ctx context.Context, change chains.Change) (before, after Generation, err error) {
	most := 0
	if r.Variant == NFT {
		most = transactionMost
	}
	before, errBefore := r.Generation()
	input := change.Input(most)
	if err := r.Restore(ctx, input); err != nil {
		return before, Generation{}, err
	}
	after, errAfter := r.Generation()
	if errBefore != nil || errAfter != nil || !after.follows(before, strings.Count(input, "\nCOMMIT\n")) {
		return before, Generation{}, nil
	}
	return before, after, nil
}

// run starts a program, again and again while the lock is held by others.
func (r Runner) run(ctx context.Context, input, program string, args ...string) ([]byte, error) {
	var out []byte
	var last, locked error
	attempt := func() error {
		out, last = start(ctx, input, program, args)
		var exit *exec.ExitError
		if last == nil {
			return nil
		}
		if !errors.As(last, &exit) || exit.ExitCode() != exitResource {
			return backoff.Permanent(last)
		}
		locked = fmt.Errorf("%w: %w", ErrLocked, last)
		return last
	}
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(lockPatience))
	switch err := backoff.Retry(attempt, backoff.WithContext(policy, ctx)); {
	case err == nil:
		return out, nil
	case locked != nil && (ctx.Err() != nil || errors.Is(locked, last)):
		return nil, locked
	}
	return nil, last
}

func start(ctx context.Context, input, program string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	var out, errout bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errout
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, explain(errout.String(), input))
	}
	return out.Bytes(), nil
}

var (
	badLine = regexp.MustCompile(`line:? (\d+)`)
	quoted  = regexp.MustCompile(`'([^']+)' does not exist`)
)

// explain adds the offending line of the input to what iptables-restore says about it: "line 2718 failed" alone helps
// nobody once the input is gone.
func explain(message, input string) string {
	message = strings.TrimSpace(message)
	lines := strings.Split(input, "\n")
	line := ""
	if m := badLine.FindStringSubmatch(message); m != nil {
		if number, err := strconv.Atoi(m[1]); err == nil && number >= 1 && number <= len(lines) {
			line = lines[number-1]
		}
	}
	// iptables-nft names the COMMIT when a rule leads to a chain that does not exist; the name tells more.
	if m := quoted.FindStringSubmatch(message); m != nil && !strings.Contains(line, m[1]) {
		for _, l := range lines {
			if strings.Contains(l, m[1]) {
				line = l
				break
			}
		}
	}
	if line != "" {
		return message + ": " + strconv.Quote(line)
	}
	return message
}

// legacyTables returns the tables that iptables-legacy has made in this network namespace. Asking iptables-legacy-save
// would make the table that one asks for.
func legacyTables(family corev1.IPFamily) string {
	name := "ip_tables_names"
	if family == corev1.IPv6Protocol {
		name = "ip6_tables_names"
	}
	text, err := os.ReadFile("/proc/thread-self/net/" + name)
	if err != nil {
		return "" // the kernel has no such module loaded
	}
	return string(text)
}
