// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

func testCatalogue(t *testing.T) catalogue {
	t.Helper()
	services := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	slices := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	for _, s := range []*corev1.Service{
		{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{ClusterIP: "10.251.240.7"}},
		{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}},
		{ObjectMeta: meta("elsewhere"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}},
	} {
		if err := services.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta("db-1"),
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.251.65.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
			{Addresses: []string{"10.251.65.3"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
			{Addresses: []string{"10.251.65.4"}},
		},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "db"}
	if err := slices.Add(slice); err != nil {
		t.Fatal(err)
	}
	return catalogue{domain: "cluster.local", services: corelisters.NewServiceLister(services), slices: discoverylisters.NewEndpointSliceLister(slices)}
}

func TestAnswer(t *testing.T) {
	c := testCatalogue(t)
	for _, test := range []struct {
		name  string
		query string
		kind  dnsmessage.Type
		code  dnsmessage.RCode
		want  []string
	}{
		{"a Service is its cluster IP", "web.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"10.251.240.7"}},
		{"case does not matter", "WEB.shop.svc.Cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"10.251.240.7"}},
		{"a headless Service is its ready endpoints", "db.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, []string{"10.251.65.2", "10.251.65.4"}},
		{"an ExternalName is known and has no address", "elsewhere.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, nil},
		{"there are no IPv6 addresses, which is no error", "web.shop.svc.cluster.local.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, nil},
		{"an unknown Service does not exist", "nobody.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"a name that a search list made does not exist", "web.shop.svc.cluster.local.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"other zones do not exist", "example.com.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			query := dnsmessage.Message{
				Header:    dnsmessage.Header{ID: 77, RecursionDesired: true},
				Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(test.query), Type: test.kind, Class: dnsmessage.ClassINET}},
			}
			packed, err := query.Pack()
			if err != nil {
				t.Fatal(err)
			}
			reply, err := answer(packed, c.addresses)
			if err != nil {
				t.Fatal(err)
			}
			var got dnsmessage.Message
			if err := got.Unpack(reply); err != nil {
				t.Fatal(err)
			}
			if !got.Response || got.ID != 77 || got.RCode != test.code {
				t.Errorf("header = %+v, want a response to 77 with %v", got.Header, test.code)
			}
			var addrs []string
			for _, a := range got.Answers {
				addrs = append(addrs, netip.AddrFrom4(a.Body.(*dnsmessage.AResource).A).String())
			}
			if diff := cmp.Diff(test.want, addrs); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("what is no query is an error, not a panic", func(t *testing.T) {
		for _, garbage := range []string{"", "x", "0123456789ab"} {
			if _, err := answer([]byte(garbage), c.addresses); err == nil {
				t.Errorf("%q was answered", garbage)
			}
		}
	})
}
