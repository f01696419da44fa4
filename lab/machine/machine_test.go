// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// helper is the labinit program, built by TestMain.
var helper string

// ownerVariable makes the test program own a lab until it is killed.
const ownerVariable = "MACHINE_TEST_OWNER"

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if name, owner := os.LookupEnv(ownerVariable); owner {
		return ownLab(name)
	}
	dir, err := os.MkdirTemp("", "machine-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	helper = filepath.Join(dir, "labinit")
	if out, err := exec.Command("go", "build", "-o", helper, "../cmd/labinit").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build labinit: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func ownLab(name string) int {
	lab, err := Create(name, Options{Helper: os.Getenv("MACHINE_TEST_HELPER"), Detached: os.Getenv("MACHINE_TEST_DETACHED") != ""})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	m, err := lab.Boot(Spec{Name: "m1", Private: []string{"kubelet"}})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	if _, err := m.Run("sleep", filepath.Join(m.Dir(), "sleep.log"), []string{"sleep", "1000"}); err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, "ready")
	select {}
}

func newLab(t *testing.T) *Lab {
	t.Helper()
	lab, err := Create("t"+strings.ToLower(rand.Text()[:8]), Options{Helper: helper})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Remove(); err != nil {
			t.Error(err)
		}
		wantNothingLeft(t, lab.Name)
	})
	return lab
}

func boot(t *testing.T, lab *Lab, spec Spec) *Machine {
	t.Helper()
	m, err := lab.Boot(spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func output(t *testing.T, m *Machine, argv ...string) string {
	t.Helper()
	out, err := m.Output(t.Context(), argv)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func wantNothingLeft(t *testing.T, name string) {
	t.Helper()
	left, err := Leftovers(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string(nil), left); diff != "" {
		t.Errorf("lab %s left (-want +got):\n%s", name, diff)
	}
}

// eventually polls what until it returns true; a lab's end by another process has no event to wait for.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

func TestMachineIsItsOwn(t *testing.T) {
	lab := newLab(t)
	m := boot(t, lab, Spec{
		Name:    "m1",
		Private: []string{"kubelet", "dpkg"},
		Sysctls: map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/no_such_sysctl": "1"},
		Masks:   map[string]string{"vm/overcommit_memory": "7"},
		Cgroups: []string{"pods"},
	})
	other := boot(t, lab, Spec{Name: "m2"})

	for _, c := range []struct {
		name string
		argv []string
		want string
	}{
		{"it has its name", []string{"hostname"}, "m1"},
		{"its init is process 1 and it sees no process of the host", []string{"sh", "-c", "cat /proc/1/comm; set -- /proc/[0-9]*; echo $#"}, "labinit\n2"},
		{"its only link is the loopback", []string{"ls", "/sys/class/net"}, "lo"},
		{"a directory that the host lacks is there and empty", []string{"ls", "-A", "/var/lib/kubelet"}, ""},
		{"a directory that the host has is hidden", []string{"ls", "-A", "/var/lib/dpkg"}, ""},
		{"other directories of the host are there", []string{"sh", "-c", "ls /var/lib/apt >/dev/null && echo yes"}, "yes"},
		{"its sysctls are set", []string{"cat", "/proc/sys/net/ipv4/ip_forward"}, "1"},
		{"a mask shows its value", []string{"cat", "/proc/sys/vm/overcommit_memory"}, "7"},
		{"a mask takes writes", []string{"sh", "-c", "echo 8 > /proc/sys/vm/overcommit_memory; cat /proc/sys/vm/overcommit_memory"}, "8"},
		{"the cgroup tree is there", []string{"sh", "-c", "ls -d /sys/fs/cgroup/*/" + m.Cgroup() + "/pods /sys/fs/cgroup/" + m.Cgroup() + "/pods 2>/dev/null | head -1 | xargs basename"}, "pods"},
		{"it can write a log", []string{"sh", "-c", "echo x > /var/log/clbsync-test && ls /var/log"}, "clbsync-test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, output(t, m, c.argv...)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", c.argv, diff)
			}
		})
	}
	t.Run("the host and other machines are unchanged", func(t *testing.T) {
		for _, dir := range []string{"/var/lib/kubelet", "/var/log/clbsync-test"} {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s exists on the host", dir)
			}
		}
		if got := output(t, other, "cat", "/proc/sys/net/ipv4/ip_forward"); got != "0" {
			t.Errorf("ip_forward of the other machine = %s, want 0", got)
		}
		got, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(got)) == "8" {
			t.Error("a write to a mask reached the host")
		}
	})
}

func TestMachineRunsPrograms(t *testing.T) {
	lab := newLab(t)
	m := boot(t, lab, Spec{Name: "m1"})
	log := filepath.Join(m.Dir(), "p.log")

	t.Run("its output is in the log, its environment is given", func(t *testing.T) {
		p, err := m.Run("p", log, []string{"sh", "-c", "read line; echo $GREETING $line"}, Env("GREETING=hello"), Stdin(strings.NewReader("world\n")))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := p.Tail(1); got != "hello world" {
			t.Errorf("log = %q", got)
		}
	})
	t.Run("SIGTERM reaches the program itself", func(t *testing.T) {
		p, err := m.Run("p", log, []string{"sh", "-c", "trap 'exit 7' TERM; echo trapped; while :; do sleep 0.1; done"})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the trap is set", func() bool { return p.Tail(1) == "trapped" })
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.cmd.ProcessState.ExitCode(); got != 7 {
			t.Errorf("exit code %d, want the trap's 7", got)
		}
	})
	t.Run("one that ignores SIGTERM is killed when time is up, and that is an error", func(t *testing.T) {
		p, err := m.Run("p", log, []string{"sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the trap is set", func() bool { return p.Tail(1) == "deaf" })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := p.Stop(ctx); err == nil {
			t.Error("Stop returned nil for a killed program")
		}
		<-p.Done()
	})
	t.Run("an unknown program is an error that names it", func(t *testing.T) {
		if _, err := m.Run("p", log, []string{"no-such-program"}); err == nil || !strings.Contains(err.Error(), "no-such-program") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("power off ends everything on it", func(t *testing.T) {
		p, err := m.Run("p", log, []string{"sleep", "1000"})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.PowerOff(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		if _, err := m.Output(t.Context(), []string{"true"}); err == nil {
			t.Error("a program could be run on a machine that is off")
		}
	})
}

func TestMachineSockets(t *testing.T) {
	lab := newLab(t)
	m := boot(t, lab, Spec{Name: "m1"})
	listener, err := m.Listen(t.Context(), "tcp", "127.0.0.1:7777")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "inside")
			conn.Close()
		}
	}()
	read := func(t *testing.T, conn net.Conn, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != "inside" {
			t.Errorf("read %q, %v", got, err)
		}
	}
	t.Run("Dial connects inside", func(t *testing.T) {
		conn, err := m.Dial(t.Context(), net.Dialer{}, "tcp", "127.0.0.1:7777")
		read(t, conn, err)
	})
	t.Run("the host does not see the listener", func(t *testing.T) {
		if conn, err := net.Dial("tcp", "127.0.0.1:7777"); err == nil {
			conn.Close()
			t.Error("connected from the host")
		}
	})
	t.Run("a forwarded port leads inside", func(t *testing.T) {
		addr, err := m.Forward(netip.MustParseAddrPort("127.0.0.1:7777"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", addr.String())
		read(t, conn, err)
	})
	t.Run("a name instead of an address is refused", func(t *testing.T) {
		if _, err := m.Dial(t.Context(), net.Dialer{}, "tcp", "localhost:7777"); err == nil {
			t.Error("a name would be looked up outside the machine")
		}
	})
}

func TestLabName(t *testing.T) {
	lab := newLab(t)
	if _, err := Create(lab.Name, Options{Helper: helper}); err == nil {
		t.Error("the same name was given twice")
	}
	for _, bad := range []string{"", "Upper", "a/b", "..", "-a", strings.Repeat("a", 25)} {
		if _, err := Create(bad, Options{Helper: helper}); err == nil {
			t.Errorf("name %q was accepted", bad)
		}
	}
	names, err := Names()
	if err != nil {
		t.Fatal(err)
	}
	if indexOf(names, lab.Name) < 0 {
		t.Errorf("Names() = %v, without %s", names, lab.Name)
	}
}

func TestRemoveSparesAnotherLabOfTheName(t *testing.T) {
	first := newLab(t)
	if err := Remove(first.Name); err != nil { // as `lab down` does
		t.Fatal(err)
	}
	second, err := Create(first.Name, Options{Helper: helper})
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t, second, Spec{Name: "m1"})
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	if got := output(t, m, "hostname"); got != "m1" {
		t.Errorf("host name %q", got)
	}
	if err := second.Remove(); err != nil {
		t.Fatal(err)
	}
}

func TestOwnerKilled(t *testing.T) {
	start := func(t *testing.T, name string, detached string) *exec.Cmd {
		t.Helper()
		owner := exec.Command(os.Args[0])
		owner.Env = append(os.Environ(), ownerVariable+"="+name, "MACHINE_TEST_HELPER="+helper, "MACHINE_TEST_DETACHED="+detached)
		out, err := owner.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := owner.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "ready\n" {
			t.Fatalf("owner said %q, %v", line, err)
		}
		return owner
	}
	kill := func(t *testing.T, owner *exec.Cmd) {
		t.Helper()
		if err := owner.Process.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := owner.Wait(); err == nil {
			t.Fatal("the owner ended by itself")
		}
	}
	t.Run("its lab is removed without anybody's help", func(t *testing.T) {
		name := "t" + strings.ToLower(rand.Text()[:8])
		kill(t, start(t, name, ""))
		eventually(t, 20*time.Second, "the reaper removes all", func() bool {
			left, err := Leftovers(name)
			return err == nil && len(left) == 0
		})
	})
	t.Run("a detached lab lives on, is found, and can be removed", func(t *testing.T) {
		name := "t" + strings.ToLower(rand.Text()[:8])
		kill(t, start(t, name, "yes"))
		lab, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if lab.Owner().Alive() {
			t.Errorf("Owner = %+v, want one that is dead", lab.Owner())
		}
		m, err := lab.Machine("m1")
		if err != nil {
			t.Fatal(err)
		}
		if got := output(t, m, "hostname"); got != "m1" {
			t.Errorf("host name %q", got)
		}
		left, err := Leftovers(name)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]bool{}
		for _, l := range left {
			kinds[strings.Fields(l)[0]] = true
		}
		if diff := cmp.Diff(map[string]bool{"directory": true, "cgroup": true, "process": true}, kinds); diff != "" {
			t.Errorf("kinds of traces of a running lab (-want +got):\n%s", diff)
		}
		if err := Remove(name); err != nil {
			t.Fatal(err)
		}
		wantNothingLeft(t, name)
	})
}
