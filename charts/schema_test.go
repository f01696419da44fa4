// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/internal/golden"
	"github.com/clbsync/clbsync/internal/helm"
	"github.com/clbsync/clbsync/provider"
)

// The schema of cloudConfig is the code's own table: a key that the program learns is a value of the chart, and one that it does
// not know is refused.
func TestTheCloudConfigOfTheSchemaIsTheCodes(t *testing.T) {
	file := filepath.Join(helm.Chart(), "values.schema.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	schema["properties"].(map[string]any)["cloudConfig"] = provider.ConfigSchema(func(key string) bool {
		return key == "apiVersion" || key == "kind" || strings.HasPrefix(key, "credentials.")
	})
	golden.File(t, file, indented(t, schema))
}

func indented(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Bounds of durations are none of what a JSON schema can say; a template checks them against this table.
func TestTheBoundsOfDurationsAreTheCodes(t *testing.T) {
	b := strings.Builder{}
	b.WriteString("# Bounds of durations in cloudConfig, in microseconds, out of the code (go test ./charts/... -update).\n")
	for _, f := range provider.Fields {
		if d, is := f.Bounds(); is {
			fmt.Fprintf(&b, "- {key: %s, low: %d, high: %d, unit: %d, want: %q}\n", f.Key, d.Low.Microseconds(), d.High.Microseconds(), d.Unit.Microseconds(), f.Value.Want)
		}
	}
	golden.File(t, filepath.Join(helm.Chart(), "files", "durations.yaml"), b.String())
}

// What the chart lets pass, the program reads; and what the program takes in its usual spelling, the chart lets pass.
func TestTheChartAndTheProgramTakeTheSame(t *testing.T) {
	for value, good := range map[string]bool{
		`region="ap-guangzhou"`: true, `region="ap-guangzhou-3"`: false, `region="Guangzhou"`: false, `region=7`: false,
		`otherRegions="ap-shanghai,ap-beijing"`: true, `otherRegions="ap-shanghai, ap-beijing"`: false, `otherRegions="ap-beijing-3"`: false,
		`vpcID="vpc-2ab3c4d5"`: true, `vpcID="2ab3c4d5"`: false,
		`clusterID="cls-1.b"`: true, `clusterID="-x"`: false, `clusterID="A"`: false,
		`healthCheck={"interval":"2s"}`: false, `healthCheck={"interval":"2s","timeout":"2s"}`: false, `healthCheck={"interval":"3s"}`: true, `healthCheck={"interval":"1s"}`: false,
		`healthCheck={"interval":"1m30s"}`: true, `healthCheck={"interval":"5m"}`: true, `healthCheck={"interval":"5m1s"}`: false,
		`healthCheck={"interval":"2.5s"}`: false, `healthCheck={"interval":7}`: false, `healthCheck={"healthy":1}`: false,
		`healthCheck={"healthy":2}`: true, `healthCheck={"healthy":"3"}`: false, `healthCheck={"healthy":10,"unhealthy":10}`: true,
		`healthCheck={"every":"3s"}`: false,
		`udpHealthCheck=false`:       true, `udpHealthCheck="false"`: false,
		`handover={"poll":"100ms"}`: true, `handover={"poll":"99ms"}`: false, `handover={"drain":"0s"}`: true, `handover={"removalHold":"24h"}`: true, `handover={"removalHold":"25h"}`: false,
		`rateLimits={"default":0.5}`: true, `rateLimits={"default":0}`: false, `rateLimits={"actions":{"DescribeTargets":10}}`: true,
		`rateLimits={"actions":{"describe":10}}`: false, `rateLimits={"actions":{"DescribeTargets":"10"}}`: false,
		`notReadyNodes="keep"`: true, `notReadyNodes="Keep"`: false,
		`endpoints={"clb":"http://127.0.0.1:8090"}`: true, `endpoints={"clb":"127.0.0.1:8090"}`: false, `endpoints={"clb":"https://u:p@x"}`: false,
		`readinessGate={"enabled":true,"deadline":"90s"}`: true, `gather="1.5ms"`: true, `gather="soon"`: false,
		`credentials={"secretID":"a","secretKey":"b"}`: false, `apiVersion="clbsync.io/v1alpha1"`: false, `regoin="x"`: false,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			text, err := template(t, set("cloudConfig."+value)...)
			if (err == nil) != good {
				t.Errorf("the chart says %v, want it to be let pass: %v", err, good)
			}
			if err == nil {
				config := configOf(t, text)
				if _, err := provider.ReadConfig(strings.NewReader(config)); err != nil {
					t.Errorf("the program refuses what the chart let pass: %v\n%s", err, config)
				}
			} else if key, json, _ := strings.Cut(value, "="); key != "credentials" && key != "apiVersion" {
				var v any
				if err := yaml.Unmarshal([]byte(json), &v); err != nil {
					t.Fatal(err)
				}
				config := map[string]any{"apiVersion": "clbsync.io/v1alpha1", "kind": "CloudConfig", "region": "ap-guangzhou", "vpcID": "vpc-2ab3c4d5", "clusterID": "cls-demo"}
				config[key] = v
				text, err := yaml.Marshal(config)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := provider.ReadConfig(strings.NewReader(string(text))); err == nil {
					t.Errorf("the chart refuses what the program takes:\n%s", text)
				}
			}
		})
	}
}

// configOf returns the cloud config in what was rendered.
func configOf(t *testing.T, text string) string {
	t.Helper()
	all := split(t, text)
	data, _ := all["ConfigMap/clbsync-controller"].Object["data"].(map[string]any)
	config, _ := data["cloud-config.yaml"].(string)
	return config
}
