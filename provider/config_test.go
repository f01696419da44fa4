// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/lbsync"
)

const head = "apiVersion: clbsync.io/v1alpha1\nkind: CloudConfig\nregion: ap-guangzhou\nvpcID: vpc-2ab3c4d5\nclusterID: cls-demo\n"

// marked stands where secrets stand; no error may contain it.
const marked = "MARKEDsecretMARKED0123456789abcd"

func TestReadConfigFillsInDefaults(t *testing.T) {
	got, err := ReadConfig(strings.NewReader(head))
	if err != nil {
		t.Fatal(err)
	}
	want := CloudConfig{Region: "ap-guangzhou", Settings: lbsync.DefaultSettings()}
	want.Settings.ClusterID, want.Settings.VPCID = "cls-demo", "vpc-2ab3c4d5"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadConfigTakesEveryKey(t *testing.T) {
	text := head + `credentials: {secretID: AKIDx, secretKey: keyx, token: tokenx}
endpoints: {clb: "http://127.0.0.1:8090", cvm: https://cvm.internal.tencentcloudapi.com, vpc: http://vpc, tag: "http://[::1]:1/tag", sts: http://sts, metadata: http://md}
rateLimits: {default: 15, actions: {DescribeTargets: 2.5}}
healthCheck: {interval: 10s, timeout: 4s, healthy: 2, unhealthy: 10}
handover: {healthDeadline: 5m, drain: 0s, poll: 500ms, removalHold: 0s, programming: 3s, damping: 1s}
readinessGate: {enabled: false, nodeAgent: true, deadline: 90s}
notReadyNodes: keep
otherRegions: ap-shanghai,na-siliconvalley
drift: report
udpHealthCheck: false
controlPlaneNodes: true
directAccess: true
gather: 20ms
verifyInterval: 1h
`
	got, err := ReadConfig(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := CloudConfig{
		Region: "ap-guangzhou",
		Settings: lbsync.Settings{
			ClusterID: "cls-demo", VPCID: "vpc-2ab3c4d5", ControlPlaneNodes: true, OtherRegions: []string{"ap-shanghai", "na-siliconvalley"},
			Check:    lbsync.HealthCheck{On: true, Interval: 10 * time.Second, Timeout: 4 * time.Second, Healthy: 2, Unhealthy: 10},
			NotReady: lbsync.KeepNotReady, Drift: lbsync.ReportDrift,
			DirectAccess: true, Timing: lbsync.Timing{HealthDeadline: 5 * time.Minute, Programming: 3 * time.Second, Poll: 500 * time.Millisecond, Damping: time.Second},
			Gate: lbsync.GateSettings{NodeAgent: true, Deadline: 90 * time.Second},
		},
		Credentials: Credentials{SecretID: "AKIDx", SecretKey: "keyx", Token: "tokenx"},
		Endpoints:   Endpoints{"http://127.0.0.1:8090", "https://cvm.internal.tencentcloudapi.com", "http://vpc", "http://[::1]:1/tag", "http://sts", "http://md"},
		RateLimits:  RateLimits{15, map[string]float64{"DescribeTargets": 2.5}},
		Gather:      20 * time.Millisecond, VerifyInterval: time.Hour,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, f := range Fields {
		if name, _, _ := strings.Cut(f.Key, "."); !strings.Contains(text, name+":") {
			t.Errorf("%s is in the table but not in this test", f.Key)
		}
	}
}

func TestReadConfigRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string // the problems, in order
	}{
		"an empty file":     {"", []string{"the file is empty; it has to begin with apiVersion: clbsync.io/v1alpha1 and kind: CloudConfig"}},
		"only a comment":    {"# nothing\n", []string{"the file is empty; it has to begin with apiVersion: clbsync.io/v1alpha1 and kind: CloudConfig"}},
		"a list":            {"- a\n", []string{"line 1: the file holds a list, want keys and values such as region: ap-guangzhou"}},
		"a text":            {"hello\n", []string{"line 1: the file holds a text that is not shown here, want keys and values such as region: ap-guangzhou"}},
		"no YAML":           {"region: [\n", []string{"the file is not YAML: line 1: did not find expected node content"}},
		"a second document": {head + "---\nkind: Other\n", []string{"line 6: the file has a second document; it may have only one"}},
		"an empty mapping, with everything that is missing": {"{}\n", []string{
			"apiVersion is missing, want clbsync.io/v1alpha1", "kind is missing, want CloudConfig", "region is missing, want a region, such as ap-guangzhou",
			"vpcID is missing, want the ID of a VPC, such as vpc-2ab3c4d5", "clusterID is missing, want an ID of up to 63 lower-case letters, digits, '-' and '.', such as cls-2ab3c4d5"}},
		"several things at once, in the order of the file": {"apiVersion: v1\nkind: CloudConfig\nregion: ap-guangzhou-3\nvpcId: vpc-2ab3c4d5\nhealthCheck: {interval: 5}\n", []string{
			`line 1: apiVersion is "v1", want clbsync.io/v1alpha1`,
			`line 3: region is "ap-guangzhou-3": that is a zone; its region is ap-guangzhou; want a region, such as ap-guangzhou`,
			"line 4: vpcId is no key of a cloud config; did you mean vpcID?",
			"line 5: healthCheck.interval is 5, want a duration of 2s to 5m in whole seconds; if that is a text, put it in quotes",
			"vpcID is missing, want the ID of a VPC, such as vpc-2ab3c4d5",
			"clusterID is missing, want an ID of up to 63 lower-case letters, digits, '-' and '.', such as cls-2ab3c4d5"}},
		"a region that is none":          {strings.Replace(head, "ap-guangzhou", "Guangzhou", 1), []string{`line 3: region is "Guangzhou", want a region, such as ap-guangzhou`}},
		"a zone among regions":           {head + "otherRegions: ap-shanghai,ap-beijing-3\n", []string{`line 6: otherRegions is "ap-shanghai,ap-beijing-3": ap-beijing-3 is a zone; its region is ap-beijing; want regions, separated by commas, such as ap-shanghai,ap-beijing`}},
		"blanks among regions":           {head + "otherRegions: ap-shanghai, ap-beijing\n", []string{`line 6: otherRegions is "ap-shanghai, ap-beijing", want regions, separated by commas, such as ap-shanghai,ap-beijing`}},
		"a VPC that is none":             {strings.Replace(head, "vpc-2ab3c4d5", "vpc-1", 1), []string{`line 4: vpcID is "vpc-1", want the ID of a VPC, such as vpc-2ab3c4d5`}},
		"a cluster with capitals":        {strings.Replace(head, "cls-demo", "CLS_demo", 1), []string{`line 5: clusterID is "CLS_demo", want an ID of up to 63 lower-case letters, digits, '-' and '.', such as cls-2ab3c4d5`}},
		"a number where a text belongs":  {strings.Replace(head, "cls-demo", "1234", 1), []string{`line 5: clusterID is 1234, want an ID of up to 63 lower-case letters, digits, '-' and '.', such as cls-2ab3c4d5; if that is a text, put it in quotes`}},
		"a key without a value":          {strings.Replace(head, "cls-demo", "", 1), []string{`line 5: clusterID is empty, want an ID of up to 63 lower-case letters, digits, '-' and '.', such as cls-2ab3c4d5`}},
		"a key twice":                    {head + "region: ap-beijing\n", []string{"line 6: region is there twice; it is in line 3 already"}},
		"a key that nothing resembles":   {head + "colour: red\n", []string{"line 6: colour is no key of a cloud config; the keys here are " + members("")}},
		"other separators":               {head + "udp_health_check: true\n", []string{"line 6: udp_health_check is no key of a cloud config; did you mean udpHealthCheck?"}},
		"a letter wrong in a group":      {head + "handover: {drein: 1s}\n", []string{"line 6: handover.drein is no key of a cloud config; did you mean handover.drain?"}},
		"a lost indentation":             {head + "handover:\ndrain: 1s\n", []string{"line 6: handover is empty, want its keys (healthDeadline, drain, poll, removalHold, programming, damping) below it, indented, or no handover at all", "line 7: drain is no key of a cloud config; did you mean handover.drain?"}},
		"a dotted key":                   {head + "handover.drain: 1s\n", []string{"line 6: handover.drain has a dot in it; write the part behind each dot in a line of its own, indented"}},
		"a list for a key":               {head + "[region]: x\n", []string{"line 6: has a list for a key, want one of: " + members("")}},
		"a group that is a text":         {head + "endpoints: http://127.0.0.1:1\n", []string{`line 6: endpoints is "http://127.0.0.1:1", want its keys (clb, cvm, vpc, tag, sts, metadata) below it, indented, or no endpoints at all`}},
		"a group that is a list":         {head + "healthCheck: [interval]\n", []string{"line 6: healthCheck is a list, want its keys (interval, timeout, healthy, unhealthy) below it, indented, or no healthCheck at all"}},
		"an endpoint without a scheme":   {head + "endpoints: {clb: \"127.0.0.1:8090\"}\n", []string{`line 6: endpoints.clb is "127.0.0.1:8090", want a URL with http:// or https:// and a host, such as http://127.0.0.1:8090`}},
		"an endpoint with a query":       {head + "endpoints: {clb: \"http://h/?a=b\"}\n", []string{`line 6: endpoints.clb is "http://h/?a=b": it has more than scheme, host, port and path; want a URL with http:// or https:// and a host, such as http://127.0.0.1:8090`}},
		"an endpoint without a host":     {head + "endpoints: {clb: \"http://:80\"}\n", []string{`line 6: endpoints.clb is "http://:80", want a URL with http:// or https:// and a host, such as http://127.0.0.1:8090`}},
		"a duration without a unit":      {head + "gather: \"50\"\n", []string{`line 6: gather is "50", want a duration of 1ms to 1m`}},
		"a duration out of bounds":       {head + "verifyInterval: 10ms\n", []string{`line 6: verifyInterval is "10ms", want a duration of 1s to 24h`}},
		"half seconds in a health check": {head + "healthCheck: {interval: 2500ms}\n", []string{`line 6: healthCheck.interval is "2500ms", want a duration of 2s to 5m in whole seconds`}},
		"a timeout beyond the interval":  {head + "healthCheck: {interval: 5s, timeout: 10s}\n", []string{"healthCheck.timeout is 10s, want less than the interval, 5s"}},
		"too few probes":                 {head + "healthCheck: {healthy: 1}\n", []string{"line 6: healthCheck.healthy is 1, want a number, 2 to 10"}},
		"a fraction for a whole number":  {head + "healthCheck: {healthy: 2.5}\n", []string{"line 6: healthCheck.healthy is 2.5, want a number, 2 to 10"}},
		"a text for a boolean":           {head + "udpHealthCheck: \"no\"\n", []string{`line 6: udpHealthCheck is "no", want true or false`}},
		"another spelling of a boolean":  {head + "udpHealthCheck: TRUE\n", []string{`line 6: udpHealthCheck is TRUE, want true or false`}},
		"no requests at all":             {head + "rateLimits: {default: 0}\n", []string{"line 6: rateLimits.default is 0, want a number, 0.1 to 1000"}},
		"a word that is no policy":       {head + "notReadyNodes: ignore\n", []string{`line 6: notReadyNodes is "ignore", want drain, keep or remove`}},
		"an infinite rate":               {head + "rateLimits: {default: .inf}\n", []string{"line 6: rateLimits.default is .inf, want a number, 0.1 to 1000"}},
		"an action that is no name":      {head + "rateLimits: {actions: {describe-targets: 5}}\n", []string{"line 6: rateLimits.actions.describe-targets is 5: the name of an action looks like DescribeTargets; want a number, 0.1 to 1000"}},
		"a star for an action":           {head + "rateLimits: {actions: {\"*\": 5}}\n", []string{"line 6: rateLimits.actions has a key that is not known (it is not shown, as it could be a secret); the keys are names of API actions, such as DescribeTargets"}},
		"an ID without its key":          {head + "credentials: {secretID: AKIDx}\n", []string{"line 6: credentials.secretKey is missing: it belongs to the credentials.secretID that is there"}},
		"a key without its ID":           {head + "credentials: {secretKey: x}\n", []string{"line 6: credentials.secretID is missing: it belongs to the credentials.secretKey that is there"}},
		"a directory and a key":          {head + "credentials: {directory: /etc/x, secretID: AKIDx, secretKey: x}\n", []string{"line 6: credentials.directory and credentials.secretID, credentials.secretKey or credentials.token are both there; want one or the other"}},
		"a directory that is no path":    {head + "credentials: {directory: keys}\n", []string{`line 6: credentials.directory is "keys", want the path of a directory, such as /etc/clbsync/credentials`}},
		"a token alone":                  {head + "credentials: {token: x}\n", []string{"line 6: credentials.secretID and credentials.secretKey are missing: they belong to the credentials.token that is there"}},
		"a merge key":                    {head + "<<: {gather: 1s}\n", []string{"line 6: has a key that is not known (it is not shown, as it could be a secret); the keys are " + members("")}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadConfig(strings.NewReader(c.text))
			problems, ok := errors.AsType[ConfigError](err)
			if !ok {
				t.Fatalf("got %v, want a ConfigError", err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAConfigLargerThanAMebibyteIsRefused(t *testing.T) {
	if _, err := ReadConfig(strings.NewReader(strings.Repeat("#\n", configMax))); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("got %v", err)
	}
}

// Wherever a secret stands, right or wrong, no error shows it.
func TestErrorsShowNoSecret(t *testing.T) {
	for _, text := range []string{
		"credentials: {secretID: AKIDx, secretKey: " + marked + "}\nregion: wrong wrong",
		"credentials: {secretID: " + marked + ", secretKey: " + marked + " , tokn: " + marked + "}",
		"credentials: {secretKey: [" + marked + "]}",
		"credentials: {secretKey: {" + marked + ": x}}",
		"credentials: {secretKey: \"" + marked + " with a blank\"}",
		"credentials: {secretKey=" + marked + "}",
		"credentials: {" + marked + "}",
		"credentials: " + marked,
		"credentials: [" + marked + "]",
		"credentials:\nsecretID: x\nsecretKey: " + marked,
		"secretKey=" + marked,
		marked,
		"credentials: {secretID: x, secretKey: *" + marked + "}",
		"credentials: {secretID: x, secretKey: @" + marked + "}",
		"credentials: {secretID: x, secretKey: %" + marked + "}",
		"credentials: {secretID: x, secretKey: !" + marked + " }",
		"credentials: {secretID: x, secretKey: !!int " + marked + " }",
		"credentials: {secretID: x, secretKey: \"\\" + marked + "\"}",
		"credentials: {secretID: x, secretKey: '" + marked,
		"credentials: {secretID: x, secretKey: " + marked + ": y: z}",
		"credentials:\n  secretID: x\n  secretKey: |\n    " + marked,
		"endpoints: {clb: \"https://user:" + marked + "@host\"}",
		"endpoints: {clb: \"https://user:" + marked + "@ho st\"}",
		"endpoints: {" + marked + ": x}",
	} {
		_, err := ReadConfig(strings.NewReader(text + "\n"))
		if err == nil {
			t.Errorf("accepted: %s", text)
			continue
		}
		if strings.Contains(err.Error(), "MARKED") {
			t.Errorf("the error shows the secret:\n%v", err)
		}
	}
}

func TestAConfigPrintsNoSecret(t *testing.T) {
	c, err := ReadConfig(strings.NewReader(head + "credentials: {secretID: AKIDx, secretKey: " + marked + ", token: " + marked + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%+v", &c), string(asJSON), fmt.Sprint(c.Credentials)} {
		if strings.Contains(s, "MARKED") || !strings.Contains(s, "AKIDx") {
			t.Errorf("got %s", s)
		}
	}
	if c.Credentials.SecretKey != marked || c.Credentials.Token != marked {
		t.Error("the credentials are not those of the file")
	}
}

// The table's bounds and lbsync's say the same, so that what the page promises is what is accepted.
func TestBoundsAgreeWithSettings(t *testing.T) {
	try := func(group, key, value string) error {
		rest := "" // the other half of a pair that depends on it
		switch key {
		case "interval":
			rest = ", timeout: 2s"
		case "timeout":
			rest = ", interval: 300s"
		}
		_, err := ReadConfig(strings.NewReader(head + fmt.Sprintf("%s: {%s: %s%s}\n", group, key, value, rest)))
		return err
	}
	settings := func(set func(*lbsync.Settings)) error {
		s := lbsync.DefaultSettings()
		s.Check.Interval, s.Check.Timeout = 300*time.Second, 2*time.Second
		set(&s)
		return s.Validate()
	}
	for _, c := range []struct {
		group, key, value string
		set               func(*lbsync.Settings)
	}{
		{"healthCheck", "interval", "2s", func(s *lbsync.Settings) { s.Check.Interval = 2 * time.Second }},
		{"healthCheck", "interval", "1s", func(s *lbsync.Settings) { s.Check.Interval = time.Second }},
		{"healthCheck", "interval", "300s", func(s *lbsync.Settings) { s.Check.Interval = 300 * time.Second }},
		{"healthCheck", "interval", "301s", func(s *lbsync.Settings) { s.Check.Interval = 301 * time.Second }},
		{"healthCheck", "timeout", "60s", func(s *lbsync.Settings) { s.Check.Timeout = 60 * time.Second }},
		{"healthCheck", "timeout", "61s", func(s *lbsync.Settings) { s.Check.Timeout = 61 * time.Second }},
		{"healthCheck", "healthy", "10", func(s *lbsync.Settings) { s.Check.Healthy = 10 }},
		{"healthCheck", "healthy", "11", func(s *lbsync.Settings) { s.Check.Healthy = 11 }},
		{"healthCheck", "unhealthy", "2", func(s *lbsync.Settings) { s.Check.Unhealthy = 2 }},
		{"healthCheck", "unhealthy", "1", func(s *lbsync.Settings) { s.Check.Unhealthy = 1 }},
		{"handover", "healthDeadline", "1s", func(s *lbsync.Settings) { s.Timing.HealthDeadline = time.Second }},
		{"handover", "healthDeadline", "999ms", func(s *lbsync.Settings) { s.Timing.HealthDeadline = 999 * time.Millisecond }},
		{"handover", "healthDeadline", "61m", func(s *lbsync.Settings) { s.Timing.HealthDeadline = 61 * time.Minute }},
		{"handover", "drain", "0s", func(s *lbsync.Settings) { s.Timing.Drain = 0 }},
		{"handover", "drain", "1h1s", func(s *lbsync.Settings) { s.Timing.Drain = time.Hour + time.Second }},
		{"handover", "removalHold", "24h", func(s *lbsync.Settings) { s.Timing.RemovalHold = 24 * time.Hour }},
		{"handover", "removalHold", "25h", func(s *lbsync.Settings) { s.Timing.RemovalHold = 25 * time.Hour }},
		{"handover", "programming", "1m", func(s *lbsync.Settings) { s.Timing.Programming = time.Minute }},
		{"handover", "programming", "61s", func(s *lbsync.Settings) { s.Timing.Programming = 61 * time.Second }},
		{"handover", "damping", "1m", func(s *lbsync.Settings) { s.Timing.Damping = time.Minute }},
		{"handover", "damping", "61s", func(s *lbsync.Settings) { s.Timing.Damping = 61 * time.Second }},
		{"handover", "poll", "100ms", func(s *lbsync.Settings) { s.Timing.Poll = 100 * time.Millisecond }},
		{"handover", "poll", "99ms", func(s *lbsync.Settings) { s.Timing.Poll = 99 * time.Millisecond }},
		{"handover", "poll", "61s", func(s *lbsync.Settings) { s.Timing.Poll = 61 * time.Second }},
	} {
		got, want := try(c.group, c.key, c.value), settings(c.set)
		if (got == nil) != (want == nil) {
			t.Errorf("%s.%s: %s: the table says %v, Settings.Validate says %v", c.group, c.key, c.value, got, want)
		}
	}
}

// What the page calls the default is what a config that leaves the key out gets.
func TestDefaultsOfTheTable(t *testing.T) {
	text := head
	groups := map[string][]string{}
	for _, f := range Fields {
		if group, key, nested := strings.Cut(f.Key, "."); f.Default == "" || f.Key == "gather" || f.Key == "verifyInterval" || group == "rateLimits" {
			continue // those are 0 here: the packages that use them have the default
		} else if nested {
			groups[group] = append(groups[group], key+": "+f.Default)
		} else {
			text += f.Key + ": " + f.Default + "\n"
		}
	}
	for group, keys := range groups {
		text += group + ": {" + strings.Join(keys, ", ") + "}\n"
	}
	bare, err := ReadConfig(strings.NewReader(head))
	if err != nil {
		t.Fatal(err)
	}
	spelt, err := ReadConfig(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	bare.Settings.NotReady, bare.Settings.Drift = lbsync.DrainNotReady, lbsync.RepairDrift // which is what the zero values mean
	if diff := cmp.Diff(bare, spelt); diff != "" {
		t.Error(diff)
	}
}

func TestReferencePagesAreUpToDate(t *testing.T) {
	for path, l := range map[string]Language{"../docs/cloud-config.md": English, "../docs/cloud-config.zh-CN.md": Chinese} {
		golden.File(t, path, ConfigMarkdown(l))
	}
}

// Whatever the file holds: no panic, and either a config that CLB would take or a list of problems.
func FuzzReadConfig(f *testing.F) {
	f.Add(head)
	f.Add(head + "credentials: {secretID: a, secretKey: b}\nhandover: {drain: 1s}\n")
	f.Add("a: &a [*a]\n")
	f.Add("? {a: b}\n: c\n")
	f.Add("- - -\n---\n...\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ReadConfig(strings.NewReader(text))
		if err != nil {
			if problems, ok := errors.AsType[ConfigError](err); !ok || len(problems) == 0 {
				t.Fatalf("%q: got %#v, want problems", text, err)
			}
			return
		}
		if c.Region == "" || c.Settings.VPCID == "" || c.Settings.ClusterID == "" {
			t.Fatalf("%q: accepted without a required key: %v", text, c)
		}
		if err := c.Settings.Validate(); err != nil {
			t.Fatalf("%q: accepted, but %v", text, err)
		}
	})
}
