// SPDX-License-Identifier: Apache-2.0

package rights

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

const user = "system:serviceaccount:clbsync:clbsync-agent"

// line is one request as the API server logs it.
func line(verb, group, resource, namespace, name, decision string) string {
	resource, subresource, _ := strings.Cut(resource, "/")
	return fmt.Sprintf(`{"kind":"Event","verb":%q,"user":{"username":%q},"objectRef":{"apiGroup":%q,"resource":%q,"subresource":%q,"namespace":%q,"name":%q},`+
		`"responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":%q}}`+"\n", verb, user, group, resource, subresource, namespace, name, decision)
}

func TestUnusedRights(t *testing.T) {
	log := line("list", "", "services", "", "", "allow") +
		line("watch", "", "services", "", "", "forbid") +
		line("patch", "", "nodes/status", "", "n1", "allow") +
		line("get", "coordination.k8s.io", "leases", "kube-system", "other", "allow") +
		line("create", "", "events", "shop", "", "allow") +
		strings.ReplaceAll(line("delete", "", "nodes", "", "n1", "allow"), user, "system:serviceaccount:kube-system:other") +
		`{"kind":"Event","verb":"li`
	requests, err := ReadAudit(strings.NewReader(log), user)
	if err != nil {
		t.Fatal(err)
	}
	if len(requests) != 5 || !requests[1].Forbidden() || requests[0].Forbidden() {
		t.Fatalf("read %d requests of the user, want 5 of which the second is forbidden: %v", len(requests), requests)
	}
	grants := []Grant{
		{Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"delete", "patch"}},
			{APIGroups: []string{""}, Resources: []string{"nodes/status"}, Verbs: []string{"patch"}},
			{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"*"}},
		}},
		{Namespace: "kube-system", Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"ours"}, Verbs: []string{"get"}},
		}},
	}
	var got []string
	for _, r := range Unused(grants, requests) {
		got = append(got, r.String())
	}
	want := []string{
		"* events",
		"delete nodes", "get leases.coordination.k8s.io ours in kube-system", "patch nodes", "watch services",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unused rights (-want +got):\n%s", diff)
	}
}
