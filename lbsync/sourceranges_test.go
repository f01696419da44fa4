// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/lbsync/annotation"
)

func TestSourceRangesAreTheFieldsOrTheAnnotations(t *testing.T) {
	for name, test := range map[string]struct {
		field, annotation []string
		want              string
		wrong             []string
	}{
		"none":                               {},
		"everybody is none":                  {field: []string{"0.0.0.0/0"}},
		"everybody in both families is none": {field: []string{"0.0.0.0/0", "::/0"}},
		"everybody of one family and some others": {field: []string{"::/0", "10.0.0.0/8"}, want: "10.0.0.0/8 ::/0"},
		"they are masked and sorted":              {field: []string{"10.9.0.1/16", " 2001:db8::1/32", "10.1.2.3/32"}, want: "10.1.2.3/32 10.9.0.0/16 2001:db8::/32"},
		"what lies within another goes":           {field: []string{"10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "10.255.255.255/32", "11.0.0.0/32"}, want: "10.0.0.0/8 11.0.0.0/32"},
		"IPv4 in the dress of IPv6 is IPv4":       {field: []string{"::ffff:10.0.0.0/104"}, want: "10.0.0.0/8"},
		"the annotation, if there is no field":    {annotation: []string{"10.0.0.0/8"}, want: "10.0.0.0/8"},
		"the field counts over the annotation":    {field: []string{"0.0.0.0/0"}, annotation: []string{"10.0.0.0/8"}},
		"what is none is named, and no hole":      {field: []string{"10.0.0.0/8", "everybody"}, want: "10.0.0.0/8", wrong: []string{"everybody"}},
	} {
		t.Run(name, func(t *testing.T) {
			ranges, wrong := SourceRanges(Service{Service: &corev1.Service{Spec: corev1.ServiceSpec{LoadBalancerSourceRanges: test.field}}, Options: annotation.Options{SourceRanges: test.annotation}})
			if got := strings.Trim(fmt.Sprint(ranges), "[]"); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if diff := cmp.Diff(test.wrong, wrong); diff != "" {
				t.Errorf("what is wrong (-want +got):\n%s", diff)
			}
		})
	}
}

func listenersAt(keys ...ListenerKey) map[ListenerKey]Listener {
	out := map[ListenerKey]Listener{}
	for _, k := range keys {
		out[k] = Listener{ListenerKey: k}
	}
	return out
}

func rangesOf(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("10.%d.%d.0/32", i/200, i%200))
	}
	return out
}

func TestAccessIsEachRangeToEachListener(t *testing.T) {
	for name, test := range map[string]struct {
		ranges    []string
		listeners map[ListenerKey]Listener
		want      string
	}{
		"no ranges keep nobody out": {listeners: listenersAt(ListenerKey{Protocol: TCP, Port: 80}), want: "none"},
		"two ranges, three listeners, of which two share a port": {
			[]string{"10.0.0.0/8", "2001:db8::/32"}, listenersAt(ListenerKey{Protocol: TCP, Port: 80}, ListenerKey{Protocol: UDP, Port: 80}, ListenerKey{Protocol: TCP, Port: 443}),
			"10.0.0.0/8 2001:db8::/32 to TCP:80 UDP:80 TCP:443"},
		"what a listener makes of packets is no matter": {
			[]string{"10.0.0.0/8"}, listenersAt(ListenerKey{Protocol: "HTTPS", Port: 443}, ListenerKey{Protocol: "TCP_SSL", Port: 8443}, ListenerKey{Protocol: "QUIC", Port: 443}), "10.0.0.0/8 to TCP:443 UDP:443 TCP:8443"},
		"no listeners let nobody in": {[]string{"10.0.0.0/8"}, nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			ranges, _ := SourceRanges(Service{Service: &corev1.Service{Spec: corev1.ServiceSpec{LoadBalancerSourceRanges: test.ranges}}})
			if got := AccessText(access(ranges, test.listeners, nil)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("where each port by itself has no room, a range reaches all", func(t *testing.T) {
		ranges, _ := SourceRanges(Service{Service: &corev1.Service{Spec: corev1.ServiceSpec{LoadBalancerSourceRanges: rangesOf(60)}}})
		for ports, want := range map[int]int{1: 60, 2: 60} {
			keys := []ListenerKey{{Protocol: TCP, Port: 80}, {Protocol: TCP, Port: 443}}[:ports]
			rules := access(ranges, listenersAt(keys...), nil)
			if len(rules) != want || (rules[0].Port == 0) != (ports == 2) {
				t.Errorf("%d rules for %d ports, the first to %s", len(rules), ports, rules[0].door())
			}
		}
	})
}

func TestRangesThatCannotBeKeptStopTheService(t *testing.T) {
	for name, test := range map[string]struct {
		ranges  []string
		options annotation.Options
		want    string // "": they can be kept
	}{
		"they can be kept":                          {ranges: []string{"10.0.0.0/8"}},
		"everybody, on an existing CLB":             {[]string{"0.0.0.0/0"}, annotation.Options{ExistingID: "lb-1"}, ""},
		"on an existing CLB":                        {[]string{"10.0.0.0/8"}, annotation.Options{ExistingID: "lb-1"}, "CLB lb-1 was made by somebody else"},
		"beside security groups that somebody made": {[]string{"10.0.0.0/8"}, annotation.Options{SecurityGroups: []string{"sg-1"}}, annotation.SecurityGroups},
		"as many as a group takes":                  {rangesOf(AccessMax), annotation.Options{}, ""},
		"more than a group takes":                   {rangesOf(AccessMax + 1), annotation.Options{}, "has 101 ranges"},
		"a text that is no range":                   {[]string{"10.0.0.0/33"}, annotation.Options{}, `"10.0.0.0/33"`},
	} {
		t.Run(name, func(t *testing.T) {
			svc := Service{Service: &corev1.Service{Spec: corev1.ServiceSpec{LoadBalancerSourceRanges: test.ranges}}, Options: test.options}
			ranges, wrong := SourceRanges(svc)
			skips := rangeSkips(svc, ranges, wrong, false, test.options.ExistingID != "")
			if test.want == "" && len(skips) == 0 {
				return
			}
			if len(skips) != 1 || !skips[0].Blocking || !skips[0].Warning || skips[0].Reason != RangesRefused || !strings.Contains(skips[0].Message, test.want) || test.want == "" {
				t.Errorf("got %+v, want %q", skips, test.want)
			}
		})
	}
}
