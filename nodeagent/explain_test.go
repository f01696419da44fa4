// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		name     string
		snapshot Snapshot
		settings Settings
		port     uint16
		want     string
	}{
		{"Cluster", snapshot(service("s"), slice("s", hereA+" rs", away+" st")), testSettings, 30001, `  30001/TCP is a NodePort of Service ns/s, externalTrafficPolicy Cluster
    endpoint 10.244.1.10:8080: on this node, ready
    endpoint 10.244.2.10:8080: on another node, terminating but still serving (used only if none is ready)
  from a client outside: forwarded to any usable endpoint (10.244.1.10:8080); the endpoint sees this node's address
  from a process on this node: forwarded to any usable endpoint (10.244.1.10:8080); the endpoint sees this node's address
  from a pod of this cluster: forwarded to any usable endpoint (10.244.1.10:8080); the endpoint sees this node's address
`},
		{"Local, and no endpoint here", snapshot(service("s", local, healthPort(31000)), slice("s", away+" rs", hereA+" -x")), Settings{}, 30001, `  30001/TCP is a NodePort of Service ns/s, externalTrafficPolicy Local
    endpoint 10.244.1.10:8080: on this node, not ready (not used)
    endpoint 10.244.2.10:8080: on another node, ready
  from a client outside: dropped: policy Local, and no usable endpoint is on this node; the load balancer is to send elsewhere
  from a process on this node: forwarded to any usable endpoint (10.244.2.10:8080); the endpoint sees this node's address
  from a pod of this cluster: dropped: policy Local, and no usable endpoint is on this node; the load balancer is to send elsewhere (pods cannot be told from other clients on this node: see --pods)
`},
		{"none anywhere", snapshot(service("s")), testSettings, 30001, `  30001/TCP is a NodePort of Service ns/s, externalTrafficPolicy Cluster
  from a client outside: refused: no endpoint of the Service is usable anywhere
  from a process on this node: refused: no endpoint of the Service is usable anywhere
  from a pod of this cluster: refused: no endpoint of the Service is usable anywhere
`},
		{"health port", snapshot(service("s", local, healthPort(31000)), slice("s", away)), testSettings, 31000,
			"  31000 is the healthCheckNodePort of Service ns/s: 503, no ready endpoint is on this node\n"},
		{"nobody's port", snapshot(service("s")), testSettings, 4, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			services := Desired(test.snapshot, corev1.IPv4Protocol)
			got := Explain(services, NewRules(corev1.IPv4Protocol, services, test.settings), test.port)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}
