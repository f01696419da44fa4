// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/clbsync/clbsync/internal/helm"
)

// Selectors cannot be changed: an upgrade that tried to would fail half way. And they have to find the pods, whatever labels people add.
func TestNoUpgradeChangesASelector(t *testing.T) {
	first := render(t, preset("full")...)
	for name, args := range map[string][]string{
		"k3s":          preset("k3s"),
		"beside a CCM": preset("beside-ccm"),
		"labels of users": with("--set-json", `commonLabels={"app.kubernetes.io/component":"x","a":"b"}`, "--set-json", `controller.podLabels={"app.kubernetes.io/name":"y","app.kubernetes.io/instance":"z"}`,
			"--set-json", `agent.podLabels={"app.kubernetes.io/component":"controller"}`),
		"another image": with("--set", "controller.image.tag=v2,agent.image.tag=v2"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := render(t, args...)
			was, is := as[appsv1.Deployment](t, first, "Deployment/clbsync-controller"), as[appsv1.Deployment](t, now, "Deployment/clbsync-controller")
			if diff := cmp.Diff(was.Spec.Selector, is.Spec.Selector); diff != "" {
				t.Errorf("Deployment (-was +is):\n%s", diff)
			}
			if !labels.SelectorFromSet(is.Spec.Selector.MatchLabels).Matches(labels.Set(is.Spec.Template.Labels)) {
				t.Errorf("the Deployment does not find its pods: %v", is.Spec.Template.Labels)
			}
			before, after := as[appsv1.DaemonSet](t, first, "DaemonSet/clbsync-agent"), as[appsv1.DaemonSet](t, now, "DaemonSet/clbsync-agent")
			if diff := cmp.Diff(before.Spec.Selector, after.Spec.Selector); diff != "" {
				t.Errorf("DaemonSet (-was +is):\n%s", diff)
			}
			if !labels.SelectorFromSet(after.Spec.Selector.MatchLabels).Matches(labels.Set(after.Spec.Template.Labels)) {
				t.Errorf("the DaemonSet does not find its pods: %v", after.Spec.Template.Labels)
			}
			if labels.SelectorFromSet(is.Spec.Selector.MatchLabels).Matches(labels.Set(after.Spec.Template.Labels)) {
				t.Error("the Deployment takes the agents' pods for its own")
			}
		})
	}
}

// A new agent never runs beside the old one on a node, and one replica of the controller is always ready.
func TestAnUpgradeGoesOneByOne(t *testing.T) {
	all := render(t, preset("full")...)
	d := as[appsv1.DaemonSet](t, all, "DaemonSet/clbsync-agent").Spec.UpdateStrategy.RollingUpdate
	if d.MaxSurge.IntValue() != 0 || d.MaxUnavailable.IntValue() != 1 {
		t.Errorf("agents: %+v", d)
	}
	c := as[appsv1.Deployment](t, all, "Deployment/clbsync-controller").Spec
	if *c.Replicas != 2 || c.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 || c.Strategy.RollingUpdate.MaxSurge.IntValue() != 1 {
		t.Errorf("controller: %d replicas, %+v", *c.Replicas, c.Strategy.RollingUpdate)
	}
	if all["PodDisruptionBudget/clbsync-controller"] == nil || render(t, set("controller.replicas=1")...)["PodDisruptionBudget/clbsync-controller"] != nil {
		t.Error("want a PodDisruptionBudget for two replicas, and none for one, which could never be evicted")
	}
}

// Uninstalling the CRD would delete every TkeServiceConfig of the cluster.
func TestTheCRDOutlivesTheRelease(t *testing.T) {
	const key = "CustomResourceDefinition/tkeserviceconfigs.cloud.tencent.com"
	for _, name := range []string{"full", "beside-ccm", "k3s"} {
		if crd := render(t, preset(name)...)[key]; crd == nil || crd.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s: %v", name, crd.GetAnnotations())
		}
	}
	if render(t, preset("beside-tke")...)[key] != nil || render(t, "-f", helm.Preset("agent-only"))[key] != nil {
		t.Error("beside TKE, whose it is, and without a controller there has to be none")
	}
}
