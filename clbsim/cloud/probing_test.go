// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"testing"
	"time"
)

// healthOf returns the status of the targets of the first listener.
func (c *Cloud) healthOf(now time.Time) string {
	c.Advance(now)
	out := ""
	for _, t := range c.Snapshot().LoadBalancers[0].Listeners[0].Targets {
		out += t.Status
		if t.Receives {
			out += "+"
		}
		out += " "
	}
	return out
}

// probed returns an account with a listener with the default check (5 s, 3, 3)
// and two targets, the second of weight 5.
func probed(t *testing.T, change ...func(*Config)) (c *Cloud, lb, listener string) {
	t.Helper()
	c = cloudWith(t, append(change, instant)...)
	lb, listener = c.seed(t, testStart)
	c.do(t, testStart, "RegisterTargets", string(fill([]byte(
		`{"LoadBalancerId":"lb-1","ListenerId":"lbl-1","Targets":[{"InstanceId":"ins-aaaa0001","Port":1},{"InstanceId":"ins-aaaa0002","Port":1,"Weight":5}]}`), lb, listener)))
	return c, lb, listener
}

func TestANewTargetIsHealthyAfterIntervalTimesThreshold(t *testing.T) {
	c, _, _ := probed(t)
	for _, step := range []struct {
		at   float64
		want string
	}{{14.9, "Unknown+ Unknown+ "}, {15, "Alive+ Alive+ "}} {
		if got := c.healthOf(after(step.at)); got != step.want {
			t.Errorf("after %v s: %s, want %s", step.at, got, step.want)
		}
	}
}

func TestOverridesActThroughProbes(t *testing.T) {
	c, _, _ := probed(t)
	c.healthOf(after(15))
	if err := c.SetOverride(Override{Instance: "ins-aaaa0001", State: Down}, after(100)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at   float64
		want string
	}{{114.9, "Alive+ Alive+ "}, {115, "Dead Alive+ "}} {
		if got := c.healthOf(after(step.at)); got != step.want {
			t.Errorf("after %v s: %s, want %s", step.at, got, step.want)
		}
	}
	if err := c.SetOverride(Override{Address: "10.0.0.10", State: Down}, after(200)); err != nil {
		t.Fatal(err)
	}
	if got, want := c.healthOf(after(215)), "Dead+ Dead+ "; got != want {
		t.Errorf("with all dead: %s, want %s", got, want)
	}
	c.ClearOverrides(after(300))
	if got, want := c.healthOf(after(315)), "Alive+ Alive+ "; got != want {
		t.Errorf("after the overrides: %s, want %s", got, want)
	}
	if _, due := c.Next(); due {
		t.Error("settled targets are still probed")
	}
}

func TestSwitchingTheCheckOffClosesTargets(t *testing.T) {
	c, lb, l := probed(t)
	modify := func(at float64, check string) {
		c.do(t, after(at), "ModifyListener", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"HealthCheck":%s}`, lb, l, check))
	}
	modify(1, `{"HealthSwitch":0}`)
	if got, want := c.healthOf(after(1)), "Close+ Close+ "; got != want {
		t.Errorf("off: %s, want %s", got, want)
	}
	modify(2, `{"HealthSwitch":1,"IntervalTime":10,"HealthNum":2}`)
	for _, step := range []struct {
		at   float64
		want string
	}{{21.9, "Unknown+ Unknown+ "}, {22, "Alive+ Alive+ "}} {
		if got := c.healthOf(after(step.at)); got != step.want {
			t.Errorf("on again, after %v s: %s, want %s", step.at, got, step.want)
		}
	}
}

// Real probes are asked for at each interval; the answer to a superseded one
// counts for nothing.
func TestRealProbesAreAskedFor(t *testing.T) {
	c, lb, l := probed(t, func(c *Config) { c.Health.Probe = ProbeReal })
	if n := len(c.Advance(after(4.9)).Probes); n != 0 {
		t.Fatalf("%d probes before the interval", n)
	}
	for round := range 3 {
		at := after(5 * float64(round+1))
		due := c.Advance(at).Probes
		if len(due) != 2 {
			t.Fatalf("round %d: %d probes, want one for each target", round, len(due))
		}
		if due[0].Source != Example().Health.Source || due[0].Timeout != 2*time.Second || due[0].Target.String() != "10.0.0.1:1" {
			t.Errorf("the probe is %+v", due[0])
		}
		c.Probed(due[0], true, at.Add(time.Second)) // slow answers do not stretch the interval
		c.Probed(due[1], false, at.Add(time.Second))
		c.Probed(due[0], false, at.Add(time.Second))
	}
	if got, want := c.healthOf(after(16)), "Alive+ Dead "; got != want {
		t.Errorf("after three probes: %s, want %s", got, want)
	}
	c.do(t, after(17), "ModifyListener", fmt.Sprintf(`{"LoadBalancerId":%q,"ListenerId":%q,"HealthCheck":{"SourceIpType":0,"CheckPort":9}}`, lb, l))
	due := c.Advance(after(22)).Probes
	if len(due) != 2 || due[0].Source.String() != c.Snapshot().LoadBalancers[0].VIP || due[0].Target.Port() != 9 {
		t.Errorf("after the change the probes are %+v", due)
	}
}

func TestSpeedupShortensIntervals(t *testing.T) {
	c, _, _ := probed(t, func(c *Config) { c.Health.Speedup = 50 })
	if got, want := c.healthOf(after(0.3)), "Alive+ Alive+ "; got != want {
		t.Errorf("after 0.3 s: %s, want %s", got, want)
	}
}
