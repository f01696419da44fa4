// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/clbsync/clbsync/internal/helm"
)

// pods returns the pod of each object that has one.
func pods(t *testing.T, all map[string]*unstructured.Unstructured) map[string]corev1.PodSpec {
	t.Helper()
	found := map[string]corev1.PodSpec{}
	for key, o := range all {
		switch o.GetKind() {
		case "Deployment":
			found[key] = as[appsv1.Deployment](t, all, key).Spec.Template.Spec
		case "DaemonSet":
			found[key] = as[appsv1.DaemonSet](t, all, key).Spec.Template.Spec
		case "Pod":
			found[key] = as[corev1.Pod](t, all, key).Spec
		case "Job":
			found[key] = jobPod(t, all, key)
		}
	}
	return found
}

// restricted returns what of the Pod Security Standard "restricted" (v1.37) the pod does not meet.
func restricted(p corev1.PodSpec) []string {
	var bad []string
	add := func(wrong bool, what string) {
		if wrong {
			bad = append(bad, what)
		}
	}
	add(p.HostNetwork || p.HostPID || p.HostIPC, "namespaces of the host")
	for _, v := range p.Volumes {
		s := v.VolumeSource
		add(s.ConfigMap == nil && s.Secret == nil && s.Projected == nil && s.EmptyDir == nil && s.DownwardAPI == nil, "volume "+v.Name)
	}
	s := p.SecurityContext
	add(s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot, "may run as root")
	add(s == nil || s.RunAsUser != nil && *s.RunAsUser == 0, "runs as root")
	add(s == nil || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault, "seccomp")
	for _, c := range slices.Concat(p.InitContainers, p.Containers) {
		s := c.SecurityContext
		add(s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation, c.Name+": privilege escalation")
		add(s == nil || s.Privileged != nil && *s.Privileged, c.Name+": privileged")
		add(s == nil || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0, c.Name+": capabilities")
		add(s == nil || s.RunAsUser != nil && *s.RunAsUser == 0 || s.RunAsNonRoot != nil && !*s.RunAsNonRoot, c.Name+": root")
		for _, port := range c.Ports {
			add(port.HostPort != 0, c.Name+": port of the host")
		}
	}
	return bad
}

// The agent has to have the host's network and two capabilities; nothing else has more than "restricted" allows.
func TestPodSecurity(t *testing.T) {
	for name, args := range map[string][]string{
		"full": preset("full"), "beside TKE": preset("beside-tke"), "k3s": preset("k3s"),
		"credentials from values": with("--set", "credentials.source=values,credentials.secretID=a,credentials.secretKey=b"),
		"OIDC":                    with("--set", "credentials.source=oidc,credentials.oidc.roleARN=qcs::cam::uin/1:roleName/x,credentials.oidc.providerID=p"),
		"NodePorts on 127.0.0.1":  with("--set", "agent.localhostNodePorts=true"),
		"deletion of CLBs":        with("--set", "uninstall.deleteLoadBalancersOf=cls-demo"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := pods(t, render(t, args...))
			if len(found) < 2 {
				t.Fatalf("only %d pods", len(found))
			}
			for key, pod := range found {
				bad := restricted(pod)
				if strings.Contains(key, "agent") {
					files := map[string]corev1.VolumeMount{"/run/xtables.lock": {MountPath: "/run/xtables.lock"}}
					want := []string{"namespaces of the host", "volume xtables-lock", "may run as root"}
					if slices.Contains(pod.Containers[0].Args, "--localhost-nodeports") {
						// Where the agent looks for what it has to write: a container's own /proc/sys is read-only.
						if !slices.Contains(pod.Containers[0].Args, "check") && !slices.Contains(pod.Containers[0].Args, "--sysctls=/host/proc/sys") {
							t.Errorf("%s is not told where it can write: %v", key, pod.Containers[0].Args)
						}
						files["/proc/sys/net"] = corev1.VolumeMount{MountPath: "/host/proc/sys/net"}
						want = slices.Insert(want, 2, "volume sysctl-net")
					}
					if diff := cmp.Diff(want, bad[:len(want)]); diff != "" {
						t.Errorf("%s (-want +got):\n%s", key, diff)
					}
					agentContainer(t, key, pod, files)
					continue
				}
				if len(bad) > 0 {
					t.Errorf("%s: %v", key, bad)
				}
				for _, c := range pod.Containers {
					if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
						t.Errorf("%s can write to its image", key)
					}
				}
			}
		})
	}
	t.Run("the test notices what is not restricted", func(t *testing.T) {
		if bad := restricted(pods(t, render(t, set(`controller.hostNetwork=true`)...))["Deployment/clbsync-controller"]); !slices.Contains(bad, "namespaces of the host") {
			t.Errorf("%v", bad)
		}
	})
}

// agentContainer looks at an agent's pod. files are those of the host that it has, and how they are mounted, but for the names.
func agentContainer(t *testing.T, key string, pod corev1.PodSpec, files map[string]corev1.VolumeMount) {
	t.Helper()
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 || pod.HostPID || pod.HostIPC {
		t.Fatalf("%s: want one container, in the network of the host alone", key)
	}
	c := pod.Containers[0].SecurityContext
	if diff := cmp.Diff(&corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}}, c.Capabilities); diff != "" {
		t.Errorf("%s: capabilities (-want +got):\n%s", key, diff)
	}
	if c.Privileged != nil || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation || c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
		t.Errorf("%s: want no privileges, no way to them, and nothing to write to; got %+v", key, c)
	}
	got := map[string]corev1.VolumeMount{}
	for _, v := range pod.Volumes {
		for _, m := range pod.Containers[0].VolumeMounts {
			if m.Name == v.Name && v.HostPath != nil {
				m.Name = ""
				got[v.HostPath.Path] = m
			}
		}
	}
	if diff := cmp.Diff(files, got); diff != "" || len(pod.Volumes) != len(files) {
		t.Errorf("%s: of the host's files it has %+v (-want +got):\n%s", key, pod.Volumes, diff)
	}
}

func jobPod(t *testing.T, all map[string]*unstructured.Unstructured, key string) corev1.PodSpec {
	t.Helper()
	return as[batchv1.Job](t, all, key).Spec.Template.Spec
}

// at returns the objects that are made at that hook, without its name; of none: "".
func at(hook string, all map[string]*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	found := map[string]*unstructured.Unstructured{}
	for key, o := range all {
		if before, rest, hooked := strings.Cut(key, ":"); hooked && before == hook {
			found[rest] = o
		} else if !hooked && hook == "" {
			found[key] = o
		}
	}
	return found
}

// rights returns what each ServiceAccount may do: "kube-system/x" to "verb group/resource[name] in namespace".
func rights(t *testing.T, all map[string]*unstructured.Unstructured) map[string][]string {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	for key, o := range all {
		switch o.GetKind() {
		case "ClusterRole":
			rules[o.GetName()] = as[rbacv1.ClusterRole](t, all, key).Rules
		case "Role":
			rules[o.GetNamespace()+"/"+o.GetName()] = as[rbacv1.Role](t, all, key).Rules
		}
	}
	found := map[string][]string{}
	grant := func(subjects []rbacv1.Subject, role, where string) {
		for _, s := range subjects {
			if s.Kind != rbacv1.ServiceAccountKind {
				t.Errorf("%s is given to %v, want ServiceAccounts alone", role, s)
			}
			for _, r := range rules[role] {
				for _, verb := range r.Verbs {
					for _, url := range r.NonResourceURLs {
						found[s.Namespace+"/"+s.Name] = append(found[s.Namespace+"/"+s.Name], verb+" "+url)
					}
					for _, group := range r.APIGroups {
						for _, resource := range r.Resources {
							right := verb + " " + strings.TrimPrefix(group+"/"+resource, "/")
							if len(r.ResourceNames) > 0 {
								right += "[" + strings.Join(r.ResourceNames, ",") + "]"
							}
							found[s.Namespace+"/"+s.Name] = append(found[s.Namespace+"/"+s.Name], right+where)
						}
					}
				}
			}
		}
	}
	for key, o := range all {
		switch o.GetKind() {
		case "ClusterRoleBinding":
			b := as[rbacv1.ClusterRoleBinding](t, all, key)
			grant(b.Subjects, b.RoleRef.Name, "")
		case "RoleBinding":
			b := as[rbacv1.RoleBinding](t, all, key)
			if b.RoleRef.Name == "extension-apiserver-authentication-reader" {
				continue // Kubernetes' own, named in the table of docs/security.md
			}
			grant(b.Subjects, b.Namespace+"/"+b.RoleRef.Name, " in "+b.Namespace)
		}
	}
	for account := range found {
		slices.Sort(found[account])
		found[account] = slices.Compact(found[account])
	}
	return found
}

func verbs(resource string, list ...string) []string {
	for i := range list {
		list[i] += " " + resource
	}
	return list
}

var (
	services = slices.Concat(verbs("services", "list", "watch"), verbs("discovery.k8s.io/endpointslices", "list", "watch"), verbs("services/status", "patch"),
		verbs("cloud.tencent.com/tkeserviceconfigs", "list", "watch"), verbs("nodes", "list", "watch"), verbs("events", "create", "patch"),
		verbs("coordination.k8s.io/leases in kube-system", "create"), verbs("coordination.k8s.io/leases[clb-cloud-controller-manager] in kube-system", "get", "update"))
	gate     = slices.Concat(verbs("pods", "list", "watch"), verbs("pods/status", "patch"))
	auto     = verbs("cloud.tencent.com/tkeserviceconfigs", "create", "update", "delete")
	certs    = verbs("secrets", "get")
	nodes    = slices.Concat(verbs("nodes", "get", "update", "patch", "delete"), verbs("nodes/status", "patch"))
	metrics  = slices.Concat(verbs("authentication.k8s.io/tokenreviews", "create"), verbs("authorization.k8s.io/subjectaccessreviews", "create"))
	ofAgents = slices.Concat(verbs("services", "list", "watch"), verbs("discovery.k8s.io/endpointslices", "list", "watch"), verbs("nodes", "get", "list", "watch"), verbs("events", "create", "patch"))
	own      = verbs("apps/daemonsets[clbsync-agent] in kube-system", "get", "list", "watch")
)

// What each component may do, whole, by what is switched on. A right that is added has to be added here too.
func TestRights(t *testing.T) {
	for name, c := range map[string]struct {
		args              []string
		controller, agent []string
	}{
		"full":                 {preset("full"), slices.Concat(services, gate, auto, certs, nodes, metrics), slices.Concat(ofAgents, own)},
		"beside TKE":           {preset("beside-tke"), slices.Concat(services, gate, auto, certs, metrics), nil},
		"agent only":           {[]string{"-f", helm.Preset("agent-only")}, nil, slices.Concat(ofAgents, own)},
		"the least of them":    {append(preset("k3s"), "--set", "controller.tkeServiceConfig.auto=false,controller.certificates.access=none,controller.metrics.enabled=false,cloudConfig.readinessGate.enabled=false,agent.cleanupOnUninstall=false"), services, ofAgents},
		"certificates of shop": {append(preset("k3s"), "--set", "controller.certificates.access=namespaces,controller.certificates.namespaces={shop}"), slices.Concat(services, gate, auto, metrics, verbs("secrets in shop", "get")), slices.Concat(ofAgents, own)},
		"gates on the nodes":   {append(preset("k3s"), "--set", "agent.readinessGate=true"), slices.Concat(services, gate, auto, certs, metrics), slices.Concat(ofAgents, own, verbs("pods", "list", "watch"))},
		"nodes alone": {set(`controller.controllers=["cloud-node-controller"]`), slices.Concat(verbs("nodes", "get", "list", "watch", "update", "patch"), verbs("nodes/status", "patch"), verbs("events", "create", "patch"), metrics,
			verbs("coordination.k8s.io/leases in kube-system", "create"), verbs("coordination.k8s.io/leases[clb-cloud-controller-manager] in kube-system", "get", "update")), slices.Concat(ofAgents, own)},
		"none are made": {set(`rbac.create=false`), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string][]string{}
			if c.controller != nil {
				want["kube-system/clbsync-controller"] = slices.Compact(slices.Sorted(slices.Values(c.controller)))
			}
			if c.agent != nil {
				want["kube-system/clbsync-agent"] = slices.Compact(slices.Sorted(slices.Values(c.agent)))
			}
			if diff := cmp.Diff(want, rights(t, at("", render(t, c.args...)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// CLBs are deleted by nobody's accident: there is a Job only if the cluster is named, it runs after everything else is gone, with
// the rights that it needs, and refuses while the controller is there.
func TestCLBsAreDeletedOnlyWhenToldTo(t *testing.T) {
	for _, args := range [][]string{preset("full"), preset("k3s"), preset("beside-tke")} {
		if hooks := at("post-delete", render(t, args...)); len(hooks) > 0 {
			t.Errorf("%v: %v run after an uninstallation", args, slices.Sorted(maps.Keys(hooks)))
		}
	}
	all := render(t, with("-f", helm.Preset("k3s"), "--set", "uninstall.deleteLoadBalancersOf=cls-demo", "--set-json", `controller.hostNetwork=true`)...)
	hooks := at("post-delete", all)
	pod := jobPod(t, hooks, "Job/clbsync-controller-uninstall")
	for _, want := range []string{"--delete-load-balancers=cls-demo", "--unless-deployment=kube-system/clbsync-controller", "--load-balancer-class-only"} {
		if !slices.Contains(pod.Containers[0].Args, want) {
			t.Errorf("no %s among %v", want, pod.Containers[0].Args)
		}
	}
	if pod.HostNetwork {
		t.Error("it has the network of the host, which it does not need")
	}
	if diff := cmp.Diff(map[string][]string{"kube-system/clbsync-controller": slices.Sorted(slices.Values(slices.Concat(services, gate, auto,
		verbs("apps/deployments[clbsync-controller] in kube-system", "get"))))}, rights(t, hooks)); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
	for key, o := range hooks {
		if policy := o.GetAnnotations()["helm.sh/hook-delete-policy"]; policy != "before-hook-creation,hook-succeeded" {
			t.Errorf("%s stays after it has run: %q", key, policy)
		}
		if selector := as[appsv1.Deployment](t, all, "Deployment/clbsync-controller").Spec.Selector.MatchLabels; o.GetLabels()["app.kubernetes.io/component"] == selector["app.kubernetes.io/component"] {
			t.Errorf("%s is selected by the Deployment", key)
		}
	}
}

// Nothing is left in the namespace when the tests have passed: helm uninstall does not know their pods. One that has failed is there
// to be read. That is why --logs, which Helm 3 reads after it has deleted the pods, is in no instructions.
func TestPodsOfTestsGoWhenTheyHavePassed(t *testing.T) {
	found := 0
	for key, o := range render(t, preset("full")...) {
		if o.GetAnnotations()["helm.sh/hook"] == "test" {
			found++
			if policy := o.GetAnnotations()["helm.sh/hook-delete-policy"]; policy != "before-hook-creation,hook-succeeded" {
				t.Errorf("%s: %q", key, policy)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d pods of tests, want the controller's and the agent's", found)
	}
	for _, page := range []string{"README.md", "README.zh-CN.md", "docs/install.md", "docs/install.zh-CN.md", "charts/clbsync/README.md"} {
		text, err := os.ReadFile(filepath.Join(helm.Root(), page))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "$ helm") && strings.Contains(line, "--logs") {
				t.Errorf("%s: %s", page, line)
			}
		}
	}
}

// However credentials come, they are in no ConfigMap, argument, variable or annotation.
func TestCredentialsAreInSecretsAlone(t *testing.T) {
	all := render(t, with("--set", "credentials.source=values,credentials.secretID=MARKEDid,credentials.secretKey=MARKEDkey,credentials.token=MARKEDtoken")...)
	secret := as[corev1.Secret](t, all, "Secret/clbsync-controller-credentials")
	if diff := cmp.Diff(map[string][]byte{"secretID": []byte("MARKEDid"), "secretKey": []byte("MARKEDkey"), "token": []byte("MARKEDtoken")}, secret.Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for key, o := range all {
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if key != "Secret/clbsync-controller-credentials" && (strings.Contains(string(text), "MARKED") || strings.Contains(string(text), "TUFSS0VE")) {
			t.Errorf("%s holds a credential", key)
		}
	}
	pod := as[appsv1.Deployment](t, all, "Deployment/clbsync-controller").Spec.Template.Spec
	for _, c := range pod.Containers {
		if len(c.Env) > 0 || len(c.EnvFrom) > 0 {
			t.Errorf("%s has variables %v %v: what comes by them is not read again", c.Name, c.Env, c.EnvFrom)
		}
		for _, m := range c.VolumeMounts {
			if m.SubPath != "" {
				t.Errorf("%s is mounted by subPath, which the kubelet never updates", m.Name)
			}
		}
	}
	// A Secret that changes must not restart anything, and a cloud config that changes has to.
	first := as[appsv1.Deployment](t, all, "Deployment/clbsync-controller").Spec.Template
	other := as[appsv1.Deployment](t, render(t, with("--set", "credentials.source=values,credentials.secretID=b,credentials.secretKey=c,credentials.token=d")...), "Deployment/clbsync-controller").Spec.Template
	if diff := cmp.Diff(first, other); diff != "" {
		t.Errorf("a rotated key changes the pod:\n%s", diff)
	}
	third := as[appsv1.Deployment](t, render(t, with("--set", "credentials.source=values,credentials.secretID=b,credentials.secretKey=c,cloudConfig.gather=1s")...), "Deployment/clbsync-controller").Spec.Template
	if maps.Equal(third.Annotations, first.Annotations) {
		t.Error("a changed cloud config, which is read once, does not change the pod")
	}
}
