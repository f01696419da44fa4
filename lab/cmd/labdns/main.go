// SPDX-License-Identifier: Apache-2.0

// Command labdns is cluster DNS for the upstream end-to-end suite, which reaches Services by name. It answers
// A queries for SERVICE.NAMESPACE.svc.DOMAIN, and by the addresses of ready endpoints if the Service is headless,
// and knows nothing else: no other records, no other zones, no forwarding. lab/cluster starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	listen := flag.String("listen", "0.0.0.0:53", "IP:port for UDP and TCP")
	domain := flag.String("domain", "cluster.local", "the cluster's domain")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *kubeconfig, *listen, *domain)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "labdns:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, listen, domain string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	c := catalogue{
		domain:   strings.ToLower(domain),
		services: factory.Core().V1().Services().Lister(),
		slices:   factory.Discovery().V1().EndpointSlices().Lister(),
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("list %v: %w", kind, context.Cause(ctx))
		}
	}
	failed := make(chan error, 2)
	go func() { failed <- serveUDP(ctx, listen, c.addresses) }()
	go func() { failed <- serveTCP(ctx, listen, c.addresses) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// catalogue knows the Services' addresses.
type catalogue struct {
	domain   string
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// addresses returns the IPv4 addresses of a name, lower case and without the final dot. known is false if there is no
// such name.
func (c catalogue) addresses(name string) (addrs []netip.Addr, known bool, err error) {
	rest, ours := strings.CutSuffix(name, ".svc."+c.domain)
	service, namespace, two := strings.Cut(rest, ".")
	if !ours || !two || strings.Contains(namespace, ".") {
		return nil, false, nil
	}
	object, err := c.services.Services(namespace).Get(service)
	if err != nil {
		return nil, false, nil
	}
	if object.Spec.ClusterIP != corev1.ClusterIPNone {
		addr, err := netip.ParseAddr(object.Spec.ClusterIP)
		if err != nil {
			return nil, true, nil // an ExternalName has none
		}
		return []netip.Addr{addr}, true, nil
	}
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})
	slices, err := c.slices.EndpointSlices(namespace).List(selector)
	if err != nil {
		return nil, true, err
	}
	for _, slice := range slices {
		found, err := readyAddresses(slice)
		if err != nil {
			return nil, true, err
		}
		addrs = append(addrs, found...)
	}
	return addrs, true, nil
}

func readyAddresses(slice *discoveryv1.EndpointSlice) ([]netip.Addr, error) {
	var addrs []netip.Addr
	var bad []error
	for _, endpoint := range slice.Endpoints {
		if slice.AddressType != discoveryv1.AddressTypeIPv4 || endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
			continue
		}
		for _, text := range endpoint.Addresses {
			addr, err := netip.ParseAddr(text)
			addrs, bad = append(addrs, addr), append(bad, err)
		}
	}
	return addrs, errors.Join(bad...)
}
