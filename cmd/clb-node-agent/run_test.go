// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestPodTraffic(t *testing.T) {
	for text, want := range map[string]string{
		"node-cidr":                        "{[]  }",
		"unknown":                          "{[]  }",
		"bridge:cni0":                      "{[] cni0 }",
		"bridge:exactly-15-long":           "{[] exactly-15-long }",
		"interface-prefix:veth":            "{[]  veth}",
		"cidr:10.1.2.3/14, fd00::1/8":      "{[10.0.0.0/14 fd00::/8]  }", // as iptables-save prints them
		"bridge:more-than-15-lon":          "error: --pods: \"more-than-15-lon\" is no name",
		"bridge:with space":                "error: --pods: \"with space\" is no name",
		"interface-prefix:exactly-15-long": "error: --pods: \"exactly-15-long\" begins no name",
		"interface-prefix:veth+":           "error: --pods: \"veth+\" begins no name",
		"cidr:10.0.0.0":                    "error: --pods: netip.ParsePrefix(\"10.0.0.0\")",
		"bridge:":                          "error: --pods is \"bridge:\", want node-cidr",
		"":                                 "error: --pods is \"\", want node-cidr",
	} {
		p, err := podTraffic(text)
		got := fmt.Sprint(p)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want && (err == nil || !strings.HasPrefix(got, want)) {
			t.Errorf("--pods=%s: got %s, want %s", text, got, want)
		}
	}
}
