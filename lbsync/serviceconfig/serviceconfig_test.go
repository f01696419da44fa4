// SPDX-License-Identifier: Apache-2.0

package serviceconfig

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/internal/golden"
)

func TestPagesAndResource(t *testing.T) {
	golden.File(t, "../../docs/tke-service-config.md", Markdown())
	golden.File(t, "../../docs/tke-service-config.zh-CN.md", MarkdownZH())
	golden.File(t, "../../charts/clbsync/files/crds/tkeserviceconfigs.yaml", CRD())
	golden.File(t, "../../deploy/tkeserviceconfig-crd.yaml", CRD())
}

func parse(t *testing.T, text string) (Config, []Problem) {
	t.Helper()
	var spec map[string]any
	if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	return Parse(spec)
}

func TestParse(t *testing.T) {
	web := Key{"TCP", 80}
	for name, test := range map[string]struct {
		spec     string
		want     Config
		problems []string
	}{
		"nothing":               {spec: `{}`},
		"nothing, as null":      {spec: `{loadBalancer: null}`},
		"no object":             {spec: `{loadBalancer: 7}`, problems: []string{"loadBalancer is not an object; the section loadBalancer is left out"}},
		"a list that is none":   {spec: `{loadBalancer: {l4Listeners: TCP}}`, problems: []string{"loadBalancer.l4Listeners is not a list; the section loadBalancer.l4Listeners is left out"}},
		"bandwidth":             {spec: `{loadBalancer: {internetMaxBandwidthOut: 2048}}`, want: Config{Bandwidth: 2048}},
		"too much of it":        {spec: `{loadBalancer: {internetMaxBandwidthOut: 2049}}`, problems: []string{"loadBalancer.internetMaxBandwidthOut is 2049, not a whole number from 0 to 2048"}},
		"a field that is none":  {spec: `{loadBalancer: {bandwidth: 1, l4Listeners: [{protocol: TCP, port: 80, weight: 1}]}}`, want: Config{Layer4: map[Key]Layer4{web: {Key: web}}}, problems: []string{"bandwidth is no field", "l4Listeners[0].weight is no field of a TkeServiceConfig; it is ignored"}},
		"a section without key": {spec: `{loadBalancer: {l4Listeners: [{protocol: TCP}, {protocol: TCP, port: 80}]}}`, want: Config{Layer4: map[Key]Layer4{web: {Key: web}}}, problems: []string{"l4Listeners[0].port is missing; the section loadBalancer.l4Listeners[0] is left out"}},
		"a wrong section costs itself": {spec: `{loadBalancer: {internetMaxBandwidthOut: 5, l4Listeners: [{protocol: UDP, port: 53, scheduler: IP_HASH}, {protocol: TCP, port: 80, scheduler: LEAST_CONN}]}}`,
			want:     Config{Bandwidth: 5, Layer4: map[Key]Layer4{web: {Key: web, Scheduler: "LEAST_CONN"}}},
			problems: []string{`l4Listeners[0].scheduler is "IP_HASH", not WRR, LEAST_CONN; the section loadBalancer.l4Listeners[0] (UDP:53) is left out`}},
		"two sections for one listener": {spec: `{loadBalancer: {l4Listeners: [{protocol: TCP, port: 80, scheduler: WRR}, {protocol: TCP, port: 80}]}}`,
			want: Config{Layer4: map[Key]Layer4{web: {Key: web, Scheduler: "WRR"}}}, problems: []string{"is the second section for the listener TCP:80"}},
		"a timeout that is no less than the interval": {spec: `{loadBalancer: {l4Listeners: [{protocol: TCP, port: 80, healthCheck: {enable: true, timeout: 5}}]}}`,
			problems: []string{"healthCheck.timeout is 5, not less than intervalTime, 5"}},
		"all of layer 4": {spec: `{loadBalancer: {l4Listeners: [{protocol: TCP, port: 80, scheduler: WRR, idleConnectTimeout: 60, session: {enable: true, sessionExpireTime: 3600},
			healthCheck: {enable: true, intervalTime: 300, timeout: 60, healthNum: 2, unHealthNum: 10, checkType: HTTP, checkPort: 8080, httpCheckPath: /up, httpCheckDomain: a.example.com, httpCheckMethod: HEAD, httpCode: 31, httpVersion: HTTP/1.0, sourceIpType: 0}}]}}`,
			want: Config{Layer4: map[Key]Layer4{web: {Key: web, Scheduler: "WRR", IdleTimeout: 60, Session: &Session{true, 3600},
				HealthCheck: &HealthCheck{true, 300, 2, 10, 60, "HTTP", 8080, "/up", "a.example.com", "HEAD", 31, "HTTP/1.0", new(0)}}}}},
		"all of layer 7": {spec: `{loadBalancer: {l7Listeners: [{protocol: HTTPS, port: 443, defaultServer: a.example.com, keepaliveEnable: 1, domains: [{domain: a.example.com, rules: [{url: /, forwardType: GRPC, scheduler: IP_HASH, session: {enable: false}, healthCheck: {enable: false}}]}]}]}}`,
			want: Config{Layer7: map[Key]Layer7{{"HTTPS", 443}: {Key: Key{"HTTPS", 443}, DefaultServer: "a.example.com", KeepaliveEnable: 1,
				Domains: []Domain{{"a.example.com", []Rule{{URL: "/", ForwardType: "GRPC", Scheduler: "IP_HASH", Session: &Session{}, HealthCheck: &HealthCheck{}}}}}}}}},
		"deep inside": {spec: `{loadBalancer: {l7Listeners: [{protocol: HTTP, port: 80, domains: [{domain: "a b", rules: [{url: x}]}, 7]}]}}`,
			problems: []string{"domains[0].domain is", "domains[0].rules[0].url is", "domains[1] is not an object"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := parse(t, test.spec)
			if test.want.Layer4 == nil {
				test.want.Layer4 = map[Key]Layer4{}
			}
			if test.want.Layer7 == nil {
				test.want.Layer7 = map[Key]Layer7{}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if len(problems) != len(test.problems) {
				t.Fatalf("problems %v, want %q", problems, test.problems)
			}
			for i, p := range problems {
				if !strings.Contains(p.Error(), test.problems[i]) {
					t.Errorf("problem %q, want %q", p, test.problems[i])
				}
			}
		})
	}
}

// The table itself: each field has both texts, bounds that a value can keep, and a default that the parser takes.
func TestTable(t *testing.T) {
	var walk func(path string, f Field)
	walk = func(path string, f Field) {
		path += "." + f.Name
		if f.Doc == "" || f.DocZH == "" || !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%s lacks a text", path)
		}
		if f.Default != "" {
			var v any
			if err := json.Unmarshal([]byte(f.Default), &v); err != nil || f.check(path, path, v) != nil {
				t.Errorf("%s does not take its own default: %v, %v", path, err, f.check(path, path, v))
			}
		}
		if f.Pattern != "" {
			regexp.MustCompile(f.Pattern)
		}
		if f.Kind == integer && f.Low >= f.High || (f.Kind == list) != (f.Most > 0 && f.Fields != nil) {
			t.Errorf("%s has no bounds", path)
		}
		for _, one := range f.Fields {
			walk(path, one)
		}
	}
	walk("", schema)
}

func TestAuto(t *testing.T) {
	check := &HealthCheck{Enable: true, Interval: 5, Timeout: 2, Healthy: 3, Unhealthy: 3}
	listeners := []Listener{{Key: Key{"TCP", 80}, Check: check}, {Key: Key{"UDP", 53}}, {Key: Key{"HTTPS", 443}, Domains: []string{"a.example.com", "b.example.com"}, URL: "/", Check: check}}
	made := Auto(nil, listeners)
	if again := Auto(made, listeners); !Same(made, again) {
		t.Errorf("a second time something else:\n%s", cmp.Diff(made, again))
	}
	config, problems := Parse(made)
	if problems != nil || len(config.Layer4) != 2 || len(config.Layer7) != 1 || config.Layer7[Key{"HTTPS", 443}].Rule("b.example.com", "/").HealthCheck == nil {
		t.Errorf("made %v, which says %+v with the problems %v", made, config, problems)
	}
	// A person edits it, and the ports change.
	lb := made["loadBalancer"].(map[string]any)
	lb["internetMaxBandwidthOut"] = int64(10)
	lb["l4Listeners"].([]any)[0].(map[string]any)["scheduler"] = "LEAST_CONN"
	rules := lb["l7Listeners"].([]any)[0].(map[string]any)["domains"].([]any)[0].(map[string]any)["rules"].([]any)
	rules[0].(map[string]any)["scheduler"] = "IP_HASH"
	listeners = []Listener{{Key: Key{"TCP", 80}, Check: check}, {Key: Key{"TCP", 81}, Check: check}, {Key: Key{"HTTPS", 443}, Domains: []string{"a.example.com"}, URL: "/", Check: check}}
	config, problems = Parse(Auto(made, listeners))
	var keys []string
	for _, k := range []Key{{"TCP", 80}, {"TCP", 81}, {"UDP", 53}} {
		if _, there := config.Layer4[k]; there {
			keys = append(keys, k.String())
		}
	}
	site := config.Layer7[Key{"HTTPS", 443}]
	if diff := cmp.Diff([]string{"TCP:80", "TCP:81"}, keys); diff != "" || config.Layer4[Key{"TCP", 80}].Scheduler != "LEAST_CONN" || config.Bandwidth != 10 ||
		len(site.Domains) != 1 || site.Rule("a.example.com", "/").Scheduler != "IP_HASH" || problems != nil {
		t.Errorf("%+v, %v; keys -want +got\n%s", config, problems, diff)
	}
	if gone := Auto(made, nil); len(gone["loadBalancer"].(map[string]any)) != 1 {
		t.Errorf("without listeners: %v", gone)
	}
}

// FuzzTkeServiceConfig: whatever the spec is, nothing panics, and what is accepted is in bounds.
func FuzzTkeServiceConfig(f *testing.F) {
	for _, seed := range []string{
		`{"loadBalancer":{"internetMaxBandwidthOut":2048,"l4Listeners":[{"protocol":"TCP","port":80,"healthCheck":{"enable":true,"timeout":2,"intervalTime":5}}]}}`,
		`{"loadBalancer":{"l7Listeners":[{"protocol":"HTTP","port":80,"domains":[{"domain":"*.a.b","rules":[{"url":"/","session":{"enable":true,"sessionExpireTime":30}}]}]}]}}`,
		`{"loadBalancer":{"l7Listeners":[{"protocol":"HTTPS","port":443,"defaultServer":"a.b","keepaliveEnable":1,"domains":[{"domain":"a.b","rules":[{"url":"/","forwardType":"GRPC","scheduler":"IP_HASH","healthCheck":{"enable":true,"checkType":"GRPC","httpCheckMethod":"HEAD","httpVersion":"HTTP/1.0","httpCheckPath":"/ x"}}]}]}]}}`,
		`{"loadBalancer":{"l4Listeners":[{"protocol":"TCP","port":8e1,"session":null}]}}`,
		`{"loadBalancer":{"l4Listeners":[{"protocol":"TCP","port":80,"healthCheck":{"enable":true,"intervalTime":{},"timeout":[]}}]}}`,
		`{"loadBalancer":{"l4Listeners":[{"protocol":"TCP","port":80,"healthcheck":{"enable":true,"intervalTime":1}}]}}`,
		`{"loadBalancer":{"internetMaxBandwidthOut":1e300,"l4Listeners":[[]]}}`,
		`{"loadBalancer":{"l4Listeners":[{"PROTOCOL":"SCTP","protocol":"TCP","Port":0,"port":80}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var spec map[string]any
		if json.Unmarshal(text, &spec) != nil {
			return
		}
		c, problems := Parse(spec)
		for _, p := range problems {
			_ = p.Error()
		}
		in := func(what string, v, low, high int) {
			if v != 0 && (v < low || v > high) {
				t.Errorf("%s is %d", what, v)
			}
		}
		among := func(what, v string, words ...string) {
			if v != "" && !slices.Contains(words, v) {
				t.Errorf("%s is %q", what, v)
			}
		}
		check := func(h *HealthCheck) {
			if h == nil {
				return
			}
			among("type", h.CheckType, "TCP", "HTTP", "HTTPS", "GRPC", "PING")
			among("method", h.Method, "HEAD", "GET")
			among("version", h.HTTPVersion, "HTTP/1.0", "HTTP/1.1")
			if len(h.Path) > 200 || len(h.Domain) > 80 || strings.ContainsAny(h.Path+h.Domain, " \r\n") {
				t.Errorf("%+v", h)
			}
			in("interval", h.Interval, 5, 300)
			in("timeout", h.Timeout, 2, 60)
			in("healthy", h.Healthy, 2, 10)
			in("unhealthy", h.Unhealthy, 2, 10)
			in("code", h.Code, 1, 31)
			in("port", h.CheckPort, 1, 65535)
			if h.Interval != 0 && h.Timeout >= h.Interval || h.SourceIPType != nil && *h.SourceIPType&^1 != 0 || h.Path != "" && h.Path[0] != '/' {
				t.Errorf("%+v", h)
			}
		}
		session := func(s *Session) {
			if s != nil {
				in("session", s.Expire, 30, 3600)
			}
		}
		in("bandwidth", c.Bandwidth, 1, 2048)
		for k, l := range c.Layer4 {
			if k != l.Key || k.Port < 1 || k.Port > 65535 || !strings.Contains(" TCP UDP TCP_SSL QUIC ", " "+k.Protocol+" ") || !strings.Contains(" WRR LEAST_CONN  ", " "+l.Scheduler+" ") {
				t.Errorf("%+v", l)
			}
			in("idle", l.IdleTimeout, 10, 1980)
			check(l.HealthCheck)
			session(l.Session)
		}
		for k, l := range c.Layer7 {
			if k != l.Key || k.Port < 1 || k.Port > 65535 || !strings.Contains(" HTTP HTTPS ", " "+k.Protocol+" ") || l.KeepaliveEnable&^1 != 0 {
				t.Errorf("%+v", l)
			}
			if len(l.DefaultServer) > 80 || len(l.Domains) > 50 {
				t.Errorf("%+v", l)
			}
			for _, d := range l.Domains {
				for _, r := range d.Rules {
					among("scheduler", r.Scheduler, "WRR", "LEAST_CONN", "IP_HASH")
					among("forward type", r.ForwardType, "HTTP", "HTTPS", "GRPC")
					if d.Domain == "" || len(d.Domain) > 80 || r.URL == "" || r.URL[0] != '/' || len(r.URL) > 200 {
						t.Errorf("%+v", d)
					}
					check(r.HealthCheck)
					session(r.Session)
				}
			}
		}
		listeners := []Listener{{Key: Key{"TCP", 80}}, {Key: Key{"HTTP", 80}, Domains: []string{"a.b"}, URL: "/"}}
		once := Auto(spec, listeners)
		if !Same(once, Auto(once, listeners)) {
			t.Error("made for a Service, it does not settle")
		}
	})
}
