// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/clb"
	"github.com/clbsync/clbsync/lbsync/serviceconfig"
)

// desk is a person at a terminal, with a cluster and a simulated cloud.
type desk struct {
	*testing.T
	client  *fake.Clientset
	configs *dynamicfake.FakeDynamicClient // knows the TkeServiceConfigs
	sim     *admin.Client
	cloud   *clb.Client
	now     time.Time
	other   []string // regions that the cloud config lists
}

// tkeServiceConfigs is what the cluster calls them.
var tkeServiceConfigs = schema.GroupVersionResource{Group: serviceconfig.Group, Version: serviceconfig.Version, Resource: serviceconfig.Resource}

func atDesk(t *testing.T, test func(d desk), objects ...runtime.Object) {
	t.Helper()
	atDeskWith(t, func(*clbsim.Config) {}, test, objects...)
}

// atDeskWith is atDesk with another cloud.
func atDeskWith(t *testing.T, change func(*clbsim.Config), test func(d desk), objects ...runtime.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := clbsim.Example()
		for i := range 3 {
			cfg.Instances = append(cfg.Instances, clbsim.Instance{ID: fmt.Sprintf("ins-%08d", i+1), PrivateIP: fmt.Sprintf("10.0.0.%d", i+1), Type: "S5.MEDIUM4"})
		}
		cfg.LoadBalancers = []clbsim.ExistingLoadBalancer{
			{ID: "lb-orphan01", Name: "cls-demo_default_old", Tags: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "old"}.Tags(), DeleteProtect: true},
			{ID: "lb-theirs01", Name: "theirs", Tags: lbsync.Owner{ClusterID: "cls-other", ServiceUID: "old"}.Tags()},
			{ID: "lb-web00001", Name: "cls-demo_default_web", Tags: lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "web"}.Tags()},
		}
		change(&cfg)
		sim, err := clbsim.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer sim.Close()
		d := desk{T: t, sim: sim.Admin(), now: time.Now()}
		if d.cloud, err = clb.New(t.Context(), clb.Config{
			Region: "ap-guangzhou", VPCID: "vpc-2ab3c4d5", Transport: sim.Transport(), Credentials: clb.Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE"},
			Endpoints: clb.Endpoints{CLB: "http://clbsim.local", CVM: "http://clbsim.local", VPC: "http://clbsim.local"},
		}); err != nil {
			t.Fatal(err)
		}
		for _, n := range kubetest.Nodes(3) {
			objects = append(objects, n)
		}
		var configs []runtime.Object
		objects = slices.DeleteFunc(slices.Clone(objects), func(o runtime.Object) bool {
			_, is := o.(*unstructured.Unstructured)
			if is {
				configs = append(configs, o)
			}
			return is
		})
		d.client = fake.NewClientset(objects...)
		d.configs = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{tkeServiceConfigs: serviceconfig.Kind + "List"}, configs...)
		test(d)
	})
}

// run types a command, with what is answered to its questions, and returns what it prints and its exit code.
func (d desk) run(answer string, args ...string) (out, complaint string, code int) {
	d.Helper()
	var stdout, stderr bytes.Buffer
	tool := New(strings.NewReader(answer), &stdout, &stderr)
	tool.Now = func() time.Time { return d.now }
	tool.Kube = func(place Place) (Cluster, error) {
		return Cluster{Client: d.client, Dynamic: d.configs, Namespace: cmp.Or(place.Namespace, "default")}, nil
	}
	tool.Open = func(_ context.Context, file string) (Cloud, lbsync.Settings, error) {
		if file != "cloud.yaml" {
			return nil, lbsync.Settings{}, errors.New("no such file")
		}
		settings := lbsync.DefaultSettings()
		settings.ClusterID, settings.VPCID, settings.OtherRegions = "cls-demo", "vpc-2ab3c4d5", d.other
		return Client{d.cloud}, settings, nil
	}
	code = tool.Run(d.Context(), args)
	return stdout.String(), stderr.String(), code
}

// golden compares what a command prints with testdata/NAME.txt. Times and IDs that the cloud draws are no part of it.
func (d desk) golden(name, answer string, want int, args ...string) {
	d.Helper()
	out, complaint, code := d.run(answer, args...)
	if code != want {
		d.Errorf("%s: exit code %d, want %d: %s", strings.Join(args, " "), code, want, complaint)
	}
	text := "$ kubectl clb " + strings.Join(args, " ") + "\n" + drawn.ReplaceAllString(out, "${1}-12345678")
	if complaint != "" {
		text += "--- stderr\n" + complaint
	}
	golden.File(d.T, "testdata/"+name+".txt", text)
}

// drawn are the IDs that the cloud draws.
var drawn = regexp.MustCompile(`(lbl|loc)-[0-9a-z]{8}`)

// serve has the CLB of the Service web serve it, as the controller would have left it.
func (d desk) serve() {
	d.Helper()
	key := lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}
	ids, err := d.cloud.CreateListeners(d.Context(), "lb-web00001", []lbsync.Listener{{ListenerKey: key, Name: lbsync.ListenerName("web"), Check: lbsync.HealthCheck{
		On: true, Type: lbsync.CheckHTTP, Port: 31000, Path: "/healthz", Domain: "healthz.clbsync.io", Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 3, Unhealthy: 3}}})
	if err != nil {
		d.Fatal(err)
	}
	var changes []lbsync.Change
	for i := range 2 {
		changes = append(changes, lbsync.Change{Binding: lbsync.Binding{Listener: key, Target: lbsync.Target{Instance: fmt.Sprintf("ins-%08d", i+1), Port: 30080}}, ListenerID: ids[0], Weight: 10})
	}
	if err := d.cloud.Register(d.Context(), "lb-web00001", changes); err != nil {
		d.Fatal(err)
	}
	<-time.After(time.Minute)
}

func web(mods ...func(*corev1.Service)) *corev1.Service {
	mods = append(mods, kubetest.Local(31000), kubetest.Annotation(loadBalancerID, "lb-web00001"), kubetest.Annotation("service.kubernetes.io/local-svc-only-bind-node-with-pod", "true"))
	svc := kubetest.Service("web", mods...)
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.10"}}
	svc.Status.Conditions = []metav1.Condition{{Type: lbsync.ConditionSynced, Status: metav1.ConditionTrue, Reason: "InSync", Message: "2 targets in place, on 1 listener", LastTransitionTime: metav1.NewTime(start)}}
	return svc
}

// start is when a bubble's time begins.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func event() *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e1"}, InvolvedObject: corev1.ObjectReference{Kind: "Service", Namespace: "default", Name: "web", UID: "web"},
		Type: corev1.EventTypeWarning, Reason: "DriftDetected", Message: "CLB lb-web00001 was changed by somebody else", Count: 2, LastTimestamp: metav1.NewTime(start)}
}

func TestExplain(t *testing.T) {
	objects := []runtime.Object{web(), kubetest.Slice("web", kubetest.Ready("n2", "10.1.2.1"), kubetest.Ready("n3", "10.1.3.1")), event()}
	atDesk(t, func(d desk) {
		d.serve()
		d.golden("explain", "", 0, "explain", "web", "--cloud-config", "cloud.yaml")
		d.golden("explain-json", "", 0, "explain", "web", "--cloud-config", "cloud.yaml", "-o", "json")
		d.golden("plan", "", exitChanges, "plan", "web", "--cloud-config", "cloud.yaml")
		d.golden("plan-json", "", exitChanges, "plan", "web", "--cloud-config", "cloud.yaml", "-o", "json")
		d.golden("explain-without-cloud", "", 0, "explain", "web")
		for _, c := range d.writes() {
			d.Errorf("%s is a write", c)
		}
	}, objects...)
}

// writes are the calls that the commands made since the Service was served, of those that change something.
func (d desk) writes() []string {
	d.Helper()
	calls, err := d.sim.Calls(d.Context(), 0)
	if err != nil {
		d.Fatal(err)
	}
	var out []string
	for _, c := range calls {
		if c.Write && c.Action != "CreateListener" && c.Action != "BatchRegisterTargets" {
			out = append(out, c.Action)
		}
	}
	for _, a := range append(d.client.Actions(), d.configs.Actions()...) {
		if v := a.GetVerb(); v != "get" && v != "list" && v != "watch" {
			out = append(out, v+" "+a.GetResource().Resource)
		}
	}
	return out
}

func TestPlanOfAServiceThatIsStopped(t *testing.T) {
	svc := web(func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/33"} })
	atDesk(t, func(d desk) {
		d.golden("plan-blocked", "", 0, "plan", "web", "--cloud-config", "cloud.yaml")
		d.golden("plan-none", "", exitUsage, "plan", "web")
	}, svc)
}

func TestPlanOfTheControllersOwn(t *testing.T) {
	atDesk(t, func(d desk) {
		d.golden("plan-shown", "", exitChanges, "plan", "web")
	}, web(kubetest.Annotation("clbsync.io/mode", "plan"), kubetest.Annotation("clbsync.io/plan", "+ target TCP:80 ins-00000003:30080 weight 10\n")))
}

func TestOrphans(t *testing.T) {
	atDesk(t, func(d desk) {
		d.golden("orphans", "", 0, "orphans", "--cloud-config", "cloud.yaml")
		d.golden("orphans-no", "n\n", exitFailure, "orphans", "--cloud-config", "cloud.yaml", "--delete", "lb-orphan01")
		d.golden("orphans-not-ours", "", exitFailure, "orphans", "--cloud-config", "cloud.yaml", "--delete", "lb-orphan01,lb-theirs01", "--yes")
		d.golden("orphans-served", "", exitFailure, "orphans", "--cloud-config", "cloud.yaml", "--delete", "lb-web00001", "--yes")
		if w := d.writes(); len(w) > 0 {
			d.Errorf("nothing was to be deleted, and there were writes: %v", w)
		}
		d.golden("orphans-delete", "yes\n", 0, "orphans", "--cloud-config", "cloud.yaml", "--delete", "lb-orphan01")
		d.golden("orphans-none", "", 0, "orphans", "--cloud-config", "cloud.yaml", "-o", "json")
		state, err := d.sim.State(d.Context())
		if err != nil || len(state.LoadBalancers) != 2 {
			d.Errorf("%d CLBs are left, want 2: %v", len(state.LoadBalancers), err)
		}
	}, web())
}

func TestAnOrphanWhoseTagsArePutAwayMeanwhileStays(t *testing.T) {
	atDesk(t, func(d desk) {
		owner := lbsync.Owner{ClusterID: "cls-demo", ServiceUID: "old"}
		d.console("UnTagResources", map[string]any{"ResourceList": []string{"qcs::clb:ap-guangzhou:uin/100000000001:clb/lb-orphan01"}, "TagKeys": []string{lbsync.TagService}})
		err := d.cloud.DeleteLoadBalancer(d.Context(), lbsync.Instance{ID: "lb-orphan01", Owner: owner})
		if lbsync.KindOf(err) != lbsync.Denied || err == nil {
			d.Errorf("got %v, want a refusal", err)
		}
	}, web())
}

// CLB guards one that has 20 targets or more: they go first, with our listeners.
func TestAnOrphanWithManyTargetsIsDeleted(t *testing.T) {
	const many = 25
	atDeskWith(t, func(c *clbsim.Config) {
		for i := 3; i < many; i++ {
			c.Instances = append(c.Instances, clbsim.Instance{ID: fmt.Sprintf("ins-%08d", i+1), PrivateIP: fmt.Sprintf("10.0.0.%d", i+1), Type: "S5.MEDIUM4"})
		}
	}, func(d desk) {
		key := lbsync.ListenerKey{Protocol: lbsync.TCP, Port: 80}
		ids, err := d.cloud.CreateListeners(d.Context(), "lb-orphan01", []lbsync.Listener{{ListenerKey: key, Name: lbsync.ListenerName("old")}})
		if err != nil {
			d.Fatal(err)
		}
		var changes []lbsync.Change
		for i := range many {
			changes = append(changes, lbsync.Change{Binding: lbsync.Binding{Listener: key, Target: lbsync.Target{Instance: fmt.Sprintf("ins-%08d", i+1), Port: 30080}}, ListenerID: ids[0], Weight: 10})
		}
		if err := d.cloud.Register(d.Context(), "lb-orphan01", changes); err != nil {
			d.Fatal(err)
		}
		if out, complaint, code := d.run("", "orphans", "--cloud-config", "cloud.yaml", "--delete", "lb-orphan01", "--yes"); code != 0 || out != "Deleted CLB lb-orphan01\n" {
			d.Errorf("exit code %d: %s%s", code, out, complaint)
		}
		if state, err := d.sim.State(d.Context()); err != nil || len(state.LoadBalancers) != 2 {
			d.Errorf("%d CLBs are left, want 2: %v", len(state.LoadBalancers), err)
		}
	}, web())
}

// What is no orphan any more, or another than it was, at the second reading is left alone, without a question too.
func TestAnOrphanThatChangesBetweenTwoReadingsStays(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d desk)
		say    string
	}{
		"its Service is seen": {func(d desk) {
			if err := d.client.Tracker().Add(kubetest.Service("old")); err != nil {
				d.Fatal(err)
			}
		}, "is no orphan"},
		"somebody renames it": {func(d desk) {
			d.console("ModifyLoadBalancerAttributes", map[string]any{"LoadBalancerId": "lb-orphan01", "LoadBalancerName": "mine now"})
		}, "was changed since the first reading"},
	} {
		t.Run(name, func(t *testing.T) {
			atDesk(t, func(d desk) {
				lists := 0
				d.client.PrependReactor("list", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
					if lists++; lists == 3 { // each reading has two
						c.change(d)
					}
					return false, nil, nil
				})
				_, complaint, code := d.run("", "orphans", "--cloud-config", "cloud.yaml", "--delete", "lb-orphan01", "--yes")
				if code != exitFailure || !strings.Contains(complaint, c.say) {
					d.Errorf("exit code %d, %q; want %d with %q", code, complaint, exitFailure, c.say)
				}
				if state, err := d.sim.State(d.Context()); err != nil || len(state.LoadBalancers) != 3 {
					d.Errorf("%d CLBs are left, want 3: %v", len(state.LoadBalancers), err)
				}
			}, web())
		})
	}
}

func (d desk) console(action string, request any) {
	d.Helper()
	if err := d.sim.Console(d.Context(), action, request, nil); err != nil {
		d.Fatal(err)
	}
}

func TestTables(t *testing.T) {
	atDesk(t, func(d desk) {
		d.golden("annotation", "", 0, "annotations", "local-svc-weighted-balance")
		d.golden("annotation-zh", "", 0, "annotations", "local-svc-weighted-balance", "--lang", "zh")
		d.golden("error", "", 0, "errors", "LimitExceeded")
		d.golden("error-dotted", "", 0, "errors", "RequestLimitExceeded.UinLimitExceeded", "-o", "json")
		d.golden("error-tke-zh", "", 0, "errors", "E4009", "--lang", "zh")
		d.golden("error-unknown", "", exitFailure, "errors", "Nonsense")
		for _, all := range []string{"annotations", "errors"} {
			out, _, code := d.run("", all)
			if code != 0 || strings.Count(out, "\n") < 60 {
				d.Errorf("%s: exit code %d, %d lines", all, code, strings.Count(out, "\n"))
			}
		}
		if out, _, code := d.run("", "version"); code != 0 || !strings.HasPrefix(out, "kubectl-clb ") {
			d.Errorf("version: %d %s", code, out)
		}
	})
}

func TestMistakes(t *testing.T) {
	atDesk(t, func(d desk) {
		for _, c := range []struct {
			args []string
			code int
			say  string
		}{
			{[]string{"explain"}, exitUsage, "accepts 1 arg"},
			{[]string{"explian", "web"}, exitUsage, "explian"},
			{[]string{"explain", "web", "-o", "yaml"}, exitUsage, "want text or json"},
			{[]string{"errors", "--lang", "de"}, exitUsage, "want en or zh"},
			{[]string{"orphans"}, exitUsage, "--cloud-config"},
			{[]string{"plan", "--nonsense"}, exitUsage, "--nonsense"},
			{[]string{"explain", "nothing"}, exitFailure, "not found"},
			{[]string{"explain", "web", "--cloud-config", "other.yaml"}, exitFailure, "no such file"},
			{[]string{"annotations", "nonsense"}, exitFailure, "nonsense"},
		} {
			if _, complaint, code := d.run("", c.args...); code != c.code || !strings.Contains(complaint, c.say) {
				d.Errorf("%v: exit code %d, %q; want %d with %q", c.args, code, complaint, c.code, c.say)
			}
		}
	}, web())
}

func TestThePagesAreWhatHelpSays(t *testing.T) {
	tool := New(nil, nil, nil)
	golden.File(t, "../../docs/kubectl-clb.md", tool.Markdown(false))
	golden.File(t, "../../docs/kubectl-clb.zh-CN.md", tool.Markdown(true))
	for _, name := range commands {
		var out bytes.Buffer
		if code := New(nil, &out, &out).Run(t.Context(), []string{name, "--help"}); code != 0 {
			t.Errorf("%s --help: %d", name, code)
		}
		for _, part := range []string{strings.SplitN(texts[name].Long, "\n", 2)[0], "Usage:\n  kubectl clb " + name, texts[name].Example} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%s --help lacks %q:\n%s", name, part, out.String())
			}
		}
	}
}

func TestShellCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out bytes.Buffer
		if code := New(nil, &out, &out).Run(t.Context(), []string{"completion", shell}); code != 0 || !strings.Contains(out.String(), "kubectl-clb") {
			t.Errorf("%s: %d", shell, code)
		}
	}
}
