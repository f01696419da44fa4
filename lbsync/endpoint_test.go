// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/clbsync/clbsync/internal/kubetest"
)

func TestASliceThatLacksAPort(t *testing.T) {
	port := func(name string, protocol corev1.Protocol) discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: new(int32(8080))}
	}
	tcp := func(name string) discoveryv1.EndpointPort { return port(name, corev1.ProtocolTCP) }
	named := func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("web") }
	second := func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "admin", Protocol: corev1.ProtocolTCP, Port: 81})
	}
	for name, test := range map[string]struct {
		mods  []func(*corev1.Service)
		by    string
		ports []discoveryv1.EndpointPort
		want  bool
	}{
		"it has another name":                      {nil, sliceController, []discoveryv1.EndpointPort{tcp("web")}, true},
		"it had no name":                           {nil, sliceController, []discoveryv1.EndpointPort{{Port: new(int32(8080))}}, true},
		"it had another protocol":                  {nil, sliceController, []discoveryv1.EndpointPort{port("http", corev1.ProtocolUDP)}, true},
		"a named target port":                      {[]func(*corev1.Service){named}, sliceController, []discoveryv1.EndpointPort{tcp("web")}, true},
		"nobody says who wrote it":                 {nil, "", []discoveryv1.EndpointPort{tcp("web")}, true},
		"its old name is another port's now":       {[]func(*corev1.Service){second}, sliceController, []discoveryv1.EndpointPort{tcp("admin")}, true},
		"no pod has the named target port":         {[]func(*corev1.Service){named, second}, sliceController, []discoveryv1.EndpointPort{tcp("admin")}, false},
		"no pod has it, and there is no other":     {[]func(*corev1.Service){named}, sliceController, nil, false},
		"a person's slice names ports as it likes": {nil, "example.com/mine", []discoveryv1.EndpointPort{tcp("web")}, false},
		"and so does one that mirrors Endpoints":   {nil, "endpointslicemirroring-controller.k8s.io", []discoveryv1.EndpointPort{tcp("web")}, false},
	} {
		svc := Service{Service: kubetest.Service("web", append([]func(*corev1.Service){kubetest.Selecting("web")}, test.mods...)...)}
		slice := kubetest.Slice("web")
		slice.Ports = test.ports
		if test.by != "" {
			slice.Labels[discoveryv1.LabelManagedBy] = test.by
		}
		if got := svc.outdated(slice, svc.Spec.Ports[0]); got != test.want {
			t.Errorf("%s: out of date is %v, want %v", name, got, test.want)
		}
	}
}
