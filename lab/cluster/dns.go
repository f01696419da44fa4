// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const dnsPort = 53

// startDNS runs the DNS server on the control plane and makes the Service by which pods find it. The Service has no
// selector: its endpoint is not a pod.
func (c *Cluster) startDNS(ctx context.Context) error {
	listen := netip.AddrPortFrom(ControlPlaneIP, dnsPort)
	err := c.essential(ctx, ControlPlane, "labdns", []string{
		c.bin("labdns"), "--kubeconfig=" + c.InClusterKubeconfig, "--listen=" + listen.String(), "--domain=" + clusterDomain,
	})
	if err != nil {
		return err
	}
	name := metav1.ObjectMeta{Name: "kube-dns", Namespace: metav1.NamespaceSystem, Labels: map[string]string{"k8s-app": "kube-dns"}}
	service := &corev1.Service{ObjectMeta: name, Spec: corev1.ServiceSpec{
		ClusterIP: dnsServiceIP.String(),
		Ports: []corev1.ServicePort{
			{Name: "dns", Protocol: corev1.ProtocolUDP, Port: dnsPort},
			{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: dnsPort},
		},
	}}
	if _, err := c.Clientset().CoreV1().Services(name.Namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create Service kube-dns: %w", err)
	}
	name.Labels = map[string]string{discoveryv1.LabelServiceName: name.Name}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  name,
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ControlPlaneIP.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		Ports: []discoveryv1.EndpointPort{
			{Name: new("dns"), Protocol: new(corev1.ProtocolUDP), Port: new(int32(dnsPort))},
			{Name: new("dns-tcp"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(dnsPort))},
		},
	}
	if _, err := c.Clientset().DiscoveryV1().EndpointSlices(name.Namespace).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create EndpointSlice kube-dns: %w", err)
	}
	return nil
}
