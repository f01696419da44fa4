// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"text/tabwriter"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/lab/e2e"
	"github.com/clbsync/clbsync/lab/probe"
	"github.com/clbsync/clbsync/lbsync"
)

// The same eight pods behind two Services, one of which weighs.
func TestWeightsGiveEachPodItsShare(t *testing.T) {
	const (
		asked  = 4000
		pods   = 8
		within = 0.15 // of a pod's fair share
		ns     = "shares"
	)
	ctx := t.Context()
	client, leave := startDialer(lab)
	defer func() {
		if err := leave(); err != nil {
			t.Error(err)
		}
	}()
	if err := lab.Namespace(ctx, ns); err != nil {
		t.Fatal(err)
	}
	placed := map[string]int{"n1": 1, "n2": 2, "n3": 5}
	for node, replicas := range placed {
		w := e2e.Workload{Namespace: ns, App: app, Node: node, Replicas: int32(replicas), Mods: []func(*appsv1.Deployment){func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64)
		}}}
		if err := lab.Deploy(ctx, w); err != nil {
			t.Fatal(err)
		}
	}
	reports := map[string]probe.Report{}
	for name, want := range map[string]map[string]int{
		"weighted":   {"n1": 1, "n2": 2, "n3": 5},
		"unweighted": {"n1": 10, "n2": 10, "n3": 10},
	} {
		mods := []mod{e2e.Local, onlyBind, func(svc *corev1.Service) {
			svc.Spec.Selector = map[string]string{"app": app}
			svc.Spec.LoadBalancerClass = new(lbsync.LoadBalancerClass)
		}}
		if name == "weighted" {
			mods = append(mods, weighted)
		}
		svc, err := lab.Client.CoreV1().Services(ns).Create(ctx, e2e.Service(ns, name, mods...), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		address, err := lab.AwaitAddress(ctx, ns, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := lab.AwaitWeights(ctx, svc.UID, want); err != nil {
			t.Fatal(err)
		}
		r := probe.Client{Timeout: patience, Dial: client.dial}.Share(ctx, probe.Target{Protocol: probe.TCP, Addr: address + ":80"}, asked)
		if r.Answered != asked || len(r.ByPod) != pods {
			t.Errorf("%s: %s from %d pods, want %d answers from %d", name, r, len(r.ByPod), asked, pods)
		}
		reports[name] = r
		if err := lab.Client.CoreV1().Services(ns).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	if err := lab.Client.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	off := map[string]float64{}
	for name, r := range reports {
		for _, n := range r.ByPod {
			off[name] = max(off[name], math.Abs(float64(n*pods)/asked-1))
		}
	}
	findings = append(findings, sharesTable(reports, placed, off, asked))
	if off["weighted"] > within {
		t.Errorf("with weights, a pod is %.0f %% off its fair share, want at most %.0f %%", 100*off["weighted"], 100*within)
	}
	if off["unweighted"] < 1 {
		t.Errorf("without weights no pod is more than %.0f %% off its fair share: this test cannot fail", 100*off["unweighted"])
	}
}

// sharesTable draws what share of all connections each pod had.
func sharesTable(reports map[string]probe.Report, placed map[string]int, off map[string]float64, asked int) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\nShare of %d connections per pod; fair is %.1f %%\n", asked, 100.0/8)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POD\tWITH WEIGHTS\tWITHOUT")
	pods := slices.Sorted(maps.Keys(reports["weighted"].ByPod))
	for _, pod := range pods {
		fmt.Fprintf(t, "%s\t%.1f %%\t%.1f %%\n", pod, percent(reports["weighted"].ByPod[pod], asked), percent(reports["unweighted"].ByPod[pod], asked))
	}
	for _, node := range slices.Sorted(maps.Keys(placed)) {
		fmt.Fprintf(t, "all %d on %s\t%.1f %%\t%.1f %%\n", placed[node], node, percent(reports["weighted"].ByNode[node], asked), percent(reports["unweighted"].ByNode[node], asked))
	}
	fmt.Fprintf(t, "farthest from fair\t%.0f %%\t%.0f %%\n", 100*off["weighted"], 100*off["unweighted"])
	_ = t.Flush() // it writes to memory
	return b.String()
}
