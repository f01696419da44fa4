// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/internal/readinessgate"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
)

// A scenario is a story in stages. Each stage has the cluster's objects in NAME.yaml, which replace those of
// the stage before kind by kind, and NAME.want, the golden: every step from the CLB that the stage before left, with
// the time that passes while a step waits. The line "# no endpoints" takes the slices away. Health is what CLB would say after Settle; a target that the
// comment line "# dead: HOST…" of a stage names is unhealthy in it; "# no instance: NODE…" names nodes that were looked up and have none; "# quota: N" is how many targets a listener may have; "# for: 20s" ends a stage after that time, whatever still waits.
// "# made: ID" begins with a CLB that a person made, which has a listener TCP:22 of theirs, and "# left: UID" with a listener TCP:80 on it
// that a Service of this cluster left behind.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("scenarios: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld()
			var out txtar.Archive
			out.Comment = archive.Comment
			for _, f := range archive.Files {
				stage, isYAML := strings.CutSuffix(f.Name, ".yaml")
				if !isYAML {
					continue
				}
				w.load(t, f.Data)
				got := w.run(t)
				out.Files = append(out.Files, f, txtar.File{Name: stage + ".want", Data: []byte(got)})
			}
			golden.File(t, file, string(txtar.Format(&out)))
		})
	}
}

// equal compares load balancers: an absent map is an empty one.
var equal = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

// world is a cluster and the CLB that serves it, in which time passes only where a step waits.
type world struct {
	snapshot Snapshot
	slices   []*discoveryv1.EndpointSlice
	pods     []*corev1.Pod
	secrets  map[string]Secret        // by name
	configs  map[string]ServiceConfig // by name
	cloud    *fakeCloud
	actual   LoadBalancer
	memory   Memory
	held     time.Time
	tuned    time.Time
	now      time.Time
	dead     map[string]bool
	applied  []string  // the record in the annotation
	until    time.Time // the end of the stage; zero: when time brings nothing more
}

func newWorld() *world {
	s := DefaultSettings()
	s.ClusterID, s.VPCID = "cls-demo", "vpc-2ab3c4d5"
	return &world{snapshot: Snapshot{Settings: s}, cloud: &fakeCloud{}, now: time.Unix(0, 0), dead: map[string]bool{}}
}

func (w *world) load(t *testing.T, data []byte) {
	t.Helper()
	w.dead, w.until = map[string]bool{}, time.Time{}
	for line := range strings.Lines(string(data)) {
		if hosts, ok := strings.CutPrefix(line, "# dead:"); ok {
			for h := range strings.FieldsSeq(hosts) {
				w.dead[h] = true
			}
		}
		if names, ok := strings.CutPrefix(line, "# no instance:"); ok {
			w.snapshot.Instances = map[string]string{}
			for n := range strings.FieldsSeq(names) {
				w.snapshot.Instances[n] = ""
			}
		}
		if id, ok := strings.CutPrefix(line, "# made: "); ok {
			w.make(strings.TrimSpace(id))
		}
		if uid, ok := strings.CutPrefix(line, "# left: "); ok {
			k := ListenerKey{Protocol: TCP, Port: 80}
			w.cloud.lb.Listeners[k] = Listener{ListenerKey: k, ID: "lbl-left", Name: ListenerName(strings.TrimSpace(uid))}
			w.cloud.lb.Instance.Tags = map[string]string{TagCluster: w.snapshot.Settings.ClusterID}
			w.actual = w.cloud.lb.Clone()
		}
		if quota, ok := strings.CutPrefix(line, "# quota: "); ok {
			if _, err := fmt.Sscan(quota, &w.snapshot.TargetQuota); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, after, ok := bytes.Cut(data, []byte("# for: ")); ok {
		var text string
		if _, err := fmt.Sscan(string(after), &text); err != nil {
			t.Fatal(err)
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		w.until = w.now.Add(d)
	}
	var nodes []*corev1.Node
	var epSlices []*discoveryv1.EndpointSlice
	var services []Service
	var pods []*corev1.Pod
	secrets, configs := map[string]Secret{}, map[string]ServiceConfig{}
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var kind struct{ Kind string }
		decode(t, doc, &kind)
		switch kind.Kind {
		case "Node":
			nodes = append(nodes, into[corev1.Node](t, doc))
		case "EndpointSlice":
			epSlices = append(epSlices, into[discoveryv1.EndpointSlice](t, doc))
		case "Service":
			svc := Service{Service: into[corev1.Service](t, doc)}
			svc.Options, svc.Problems = annotation.Parse(svc.Annotations)
			svc.Options.Applied = w.applied
			services = append(services, svc)
		case "Pod":
			pods = append(pods, into[corev1.Pod](t, doc))
		case "Secret":
			secret := into[corev1.Secret](t, doc)
			secrets[secret.Name] = SecretOf(secret)
		case "TkeServiceConfig":
			m := *into[map[string]any](t, doc)
			spec, _ := m["spec"].(map[string]any)
			name := m["metadata"].(map[string]any)["name"].(string)
			config := ServiceConfig{Name: name}
			config.Config, config.Problems = serviceconfig.Parse(spec)
			configs[name] = config
		case "":
		default:
			t.Fatalf("kind %q: want Node, EndpointSlice, Service, Pod, Secret or TkeServiceConfig", kind.Kind)
		}
	}
	if nodes != nil {
		w.snapshot.Nodes = nodes
	}
	if services != nil {
		w.snapshot.Services = services
	}
	if epSlices != nil || bytes.Contains(data, []byte("# no endpoints")) {
		w.slices = epSlices
	}
	if pods != nil {
		w.pods = pods
	}
	if len(secrets) > 0 {
		w.secrets = secrets
	}
	if len(configs) > 0 {
		w.configs = configs
	}
	for i := range w.snapshot.Services {
		svc := &w.snapshot.Services[i]
		svc.Slices, svc.Secrets = w.slices, map[string]Secret{}
		svc.PodWeights, svc.Gated = map[types.UID]string{}, map[types.UID]bool{}
		for _, pod := range w.pods {
			if text, set := pod.Annotations[annotation.CustomWeight]; set {
				svc.PodWeights[pod.UID] = text
			}
			if readinessgate.In(pod) && !readinessgate.Since(pod).IsZero() {
				svc.Gated[pod.UID] = true
			}
		}
		for _, name := range SecretNames(svc.Options) {
			secret, there := w.secrets[name]
			if !there {
				secret = SecretOf(nil)
			}
			svc.Secrets[name] = secret
		}
		if name := svc.Options.ConfigName; name != "" {
			config, there := w.configs[name]
			if !there {
				config = ServiceConfig{Name: name, Absent: true}
			}
			svc.Config = config
		} else {
			svc.Config = ServiceConfig{}
		}
	}
}

// make puts a CLB into the cloud that a person made and that the Services share.
func (w *world) make(id string) {
	theirs := ListenerKey{Protocol: TCP, Port: 22}
	w.cloud.lb = LoadBalancer{Present: true, Instance: Instance{ID: id, VPCID: w.snapshot.Settings.VPCID},
		Listeners: map[ListenerKey]Listener{theirs: {ListenerKey: theirs, ID: "lbl-theirs", Name: "ssh"}}, Targets: map[Binding]int{}}
	w.cloud.born = map[Binding]time.Time{}
	w.snapshot.Existing, w.actual = id, w.cloud.lb.Clone()
}

func into[T any](t *testing.T, doc []byte) *T {
	v := new(T)
	decode(t, doc, v)
	return v
}

func decode(t *testing.T, doc []byte, v any) {
	t.Helper()
	if err := yaml.Unmarshal(doc, v); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
}

// run steps until nothing is left to do, or only what time cannot mend, and returns the story.
func (w *world) run(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	defer func() {
		if w.now.Before(w.until) {
			w.now = w.until
		}
	}()
	if w.snapshot.CLB = nil; w.actual.Present {
		w.snapshot.CLB = &w.actual.Instance
	}
	if w.snapshot.Existing != "" {
		w.snapshot.Actual = w.actual
	}
	desired, skips := Desired(w.snapshot)
	desired = Complete(w.actual, desired)
	skips = append(skips, Replaced(w.actual, desired)...)
	for _, s := range append(skips, Fixed(w.actual, desired)...) {
		fmt.Fprintf(&b, "skip %s: %s\n", s.Reason, s.Message)
	}
	if Blocked(skips) {
		b.WriteString("blocked\n")
		return b.String()
	}
	for range 50 {
		w.memory = w.memory.Update(w.actual, desired, w.now)
		step := w.next(desired)
		if !step.Doubt {
			w.held = time.Time{}
		} else if w.held.IsZero() {
			w.held = w.now
		}
		if step.Tune {
			w.tuned = w.now
		}
		if !step.Plan.Empty() {
			b.WriteString(step.Plan.String())
			w.cloud.now = w.now
			next, err := step.Plan.Apply(t.Context(), w.cloud, w.actual)
			if err != nil {
				t.Fatalf("apply:\n%s%v", step.Plan, err)
			}
			if w.actual = next; !cmp.Equal(w.cloud.lb, next, equal) {
				t.Fatalf("what Apply returns is not what the cloud has:\n%s", cmp.Diff(w.cloud.lb, next, equal))
			}
			continue
		}
		if len(step.Waits) == 0 {
			w.applied = Applied(w.snapshot.Services[0].Options, w.actual.Instance, false)
			return b.String()
		}
		for _, wait := range step.Waits {
			fmt.Fprintf(&b, "wait %s\n", wait)
		}
		if !slices.ContainsFunc([]WaitReason{ForHealth, ForDrain, ForRelease, ForDamping, ForRoom, ForRules, ForSuccessor}, step.Awaits) {
			return b.String() // only the cluster can end this wait
		}
		for !step.again(w, desired) {
			if w.now = w.now.Add(time.Second); w.now.Equal(w.until) {
				return b.String()
			}
		}
		fmt.Fprintf(&b, "at %s\n", w.now.Sub(time.Unix(0, 0)))
	}
	t.Fatalf("no end:\n%s", b.String())
	return ""
}

// next is the step that is safe now; the health of the targets is read only if it is asked for.
func (w *world) next(desired LoadBalancer) Step {
	seen := Observation{Now: w.now, Memory: w.memory, HeldSince: w.held, Reweighted: w.tuned}
	step := Next(w.actual, desired, seen, w.snapshot.Settings.Timing)
	if step.Plan.Empty() && step.Ask {
		seen.Health = w.health()
		step = Next(w.actual, desired, seen, w.snapshot.Settings.Timing)
	}
	return step
}

// again reports whether the world has a new step at its present time.
func (s Step) again(w *world, desired LoadBalancer) bool {
	next := w.next(desired)
	return !next.Plan.Empty() || !slices.Equal(next.Waits, s.Waits)
}

// health is what CLB says: a target is healthy when it has been there for Settle.
func (w *world) health() map[Binding]Health {
	out := map[Binding]Health{}
	for b := range w.actual.Targets {
		switch check := w.actual.Listeners[b.Listener].Check; {
		case !check.On:
			out[b] = HealthOff
		case w.dead[b.Target.Host()]:
			out[b] = Unhealthy
		case w.now.Sub(w.cloud.born[b]) >= check.Settle():
			out[b] = Healthy
		}
	}
	for b := range w.actual.Targets {
		if _, ok := w.cloud.born[b]; !ok {
			panic("a target without a birthday: " + b.String())
		}
	}
	return out
}
