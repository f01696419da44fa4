// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Wrong values are refused before anything reaches the cluster, in words that name the value.
func TestWrongValuesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		values string // added to those that every installation needs, unless bare
		bare   bool
		want   []string
	}{
		"nothing at all":                           {"{}", true, []string{"at '/cloudConfig': missing properties 'region', 'vpcID', 'clusterID'"}},
		"no cluster ID":                            {"cloudConfig: {region: ap-guangzhou, vpcID: vpc-2ab3c4d5}", true, []string{"missing property 'clusterID'"}},
		"a null cloud config":                      {"cloudConfig: null", true, []string{"missing property 'cloudConfig'"}},
		"a misspelt value":                         {"contoller: {replicas: 3}", false, []string{"additional properties 'contoller' not allowed"}},
		"a misspelt value inside":                  {"controller: {replica: 3}", false, []string{"at '/controller'", "'replica' not allowed"}},
		"a misspelt key of the cloud config":       {"cloudConfig: {regoin: x}", false, []string{"at '/cloudConfig'", "'regoin' not allowed"}},
		"a zone for a region":                      {"cloudConfig: {region: ap-guangzhou-3}", false, []string{"at '/cloudConfig/region'", "'ap-guangzhou-3' does not match"}},
		"an ID of something else":                  {"cloudConfig: {vpcID: cls-2ab3c4d5}", false, []string{"at '/cloudConfig/vpcID'", "'cls-2ab3c4d5' does not match"}},
		"a number for a text":                      {"cloudConfig: {clusterID: 12345}", false, []string{"at '/cloudConfig/clusterID'", "got number, want string"}},
		"a text for a number":                      {"controller: {replicas: two}", false, []string{"at '/controller/replicas'", "got string, want integer"}},
		"null for a group of the cloud config":     {"cloudConfig: {healthCheck: null}", false, []string{"at '/cloudConfig/healthCheck': got null, want object"}},
		"a list for a text":                        {"agent: {mode: [override]}", false, []string{"at '/agent/mode'"}},
		"a text for a boolean":                     {"agent: {enabled: 'yes'}", false, []string{"at '/agent/enabled'", "got string, want boolean"}},
		"a map for a list":                         {"imagePullSecrets: {name: x}", false, []string{"at '/imagePullSecrets'", "got object, want null or array"}},
		"null for a group":                         {"agent: {image: null}", false, []string{"at '/agent'", "image"}},
		"an interval that is too short":            {"cloudConfig: {healthCheck: {interval: 1s}}", false, []string{`cloudConfig.healthCheck.interval is "1s", want a duration of 2s to 5m in whole seconds`}},
		"a timeout as long as the interval":        {"cloudConfig: {healthCheck: {interval: 3s, timeout: 3s}}", false, []string{"healthCheck.timeout", "not less than the interval"}},
		"a duration without a unit":                {"cloudConfig: {gather: '50'}", false, []string{"at '/cloudConfig/gather'", "'50' does not match"}},
		"an unknown controller":                    {"controller: {controllers: [service]}", false, []string{"at '/controller/controllers/0'", "must be one of 'service-lb-controller', 'cloud-node-controller', 'cloud-node-lifecycle-controller'"}},
		"no controllers":                           {"controller: {controllers: []}", false, []string{"at '/controller/controllers'", "minItems: got 0, want 1"}},
		"an unknown mode":                          {"agent: {mode: ipvs}", false, []string{"at '/agent/mode'", "must be one of '', 'standalone', 'companion', 'override'"}},
		"pods by something unknown":                {"agent: {pods: calico}", false, []string{"at '/agent/pods'", "'calico' does not match"}},
		"pods by a bridge that none can be":        {"agent: {pods: 'bridge:abcdefghijklmnop'}", false, []string{"at '/agent/pods'", "'bridge:abcdefghijklmnop' does not match"}}, // 16: iptables refuses every sync
		"pods by a prefix without room for more":   {"agent: {pods: 'interface-prefix:abcdefghijklmno'}", false, []string{"at '/agent/pods'", "does not match"}},
		"pods by a prefix as iptables writes it":   {"agent: {pods: 'interface-prefix:cali+'}", false, []string{"at '/agent/pods'", "does not match"}},
		"pods by a tab":                            {`agent: {pods: "bridge:\tcni0"}`, false, []string{"at '/agent/pods'", "does not match"}},
		"pods by an option of iptables":            {"agent: {pods: 'bridge:-j'}", false, []string{"at '/agent/pods'", "does not match"}},
		"a bit that no mark has":                   {"agent: {masqueradeBit: 32}", false, []string{"at '/agent/masqueradeBit'", "maximum: got 32, want 31"}},
		"a tag for a digest":                       {"controller: {image: {digest: v1}}", false, []string{"at '/controller/image/digest'", "'v1' does not match"}},
		"a tag in the repository":                  {"controller: {image: {repository: 'a/b:v1@sha256'}}", false, []string{"at '/controller/image/repository'"}},
		"an unknown source of credentials":         {"credentials: {source: role}", false, []string{"at '/credentials/source'", "must be one of 'cvmRole', 'oidc', 'existingSecret', 'values'"}},
		"an existing Secret without a name":        {"credentials: {source: existingSecret}", false, []string{"at '/credentials/existingSecret/name'", "minLength: got 0, want 1"}},
		"credentials of values without any":        {"credentials: {source: values}", false, []string{"at '/credentials/secretID'", "at '/credentials/secretKey'", "minLength"}},
		"OIDC without a role":                      {"credentials: {source: oidc}", false, []string{"at '/credentials/oidc/roleARN'"}},
		"a role that is no role":                   {"credentials: {source: oidc, oidc: {roleARN: clbsync}}", false, []string{"at '/credentials/oidc/roleARN'", "'clbsync' does not match"}},
		"credentials that nobody uses":             {"credentials: {secretID: a, secretKey: MARKEDsecret}", false, []string{"credentials.secretID, credentials.secretKey is given but credentials.source is cvmRole", "credentials.source=values"}},
		"an existing Secret that nobody uses":      {"credentials: {existingSecret: {name: x}}", false, []string{"credentials.existingSecret.name is given but credentials.source is cvmRole"}},
		"credentials in the cloud config":          {"cloudConfig: {credentials: {secretID: a, secretKey: MARKEDsecret}}", false, []string{"at '/cloudConfig'", "'credentials' not allowed"}},
		"credentials in the environment":           {"controller: {extraEnv: [{name: TENCENTCLOUD_SECRET_KEY, value: MARKEDsecret}]}", false, []string{"controller.extraEnv has TENCENTCLOUD_SECRET_KEY", "use credentials"}},
		"certificates of namespaces and none":      {"controller: {certificates: {access: namespaces}}", false, []string{"at '/controller/certificates/namespaces'", "minItems: got 0, want 1"}},
		"a namespace that is none":                 {"controller: {certificates: {access: namespaces, namespaces: ['*']}}", false, []string{"at '/controller/certificates/namespaces/0'"}},
		"a DNS policy that is none":                {"controller: {dnsPolicy: Cluster}", false, []string{"at '/controller/dnsPolicy'", "must be one of 'Default', 'ClusterFirst', 'ClusterFirstWithHostNet', 'None'"}},
		"nobody to ask for names":                  {"controller: {dnsPolicy: None}", false, []string{"controller.dnsPolicy is None but controller.dnsConfig.nameservers is empty"}},
		"a name for a name server":                 {"controller: {dnsConfig: {nameservers: [dns.example]}}", false, []string{"at '/controller/dnsConfig/nameservers/0'"}},
		"a flag that the chart sets":               {"controller: {extraArgs: [--cloud-config=/x]}", false, []string{"controller.extraArgs has --cloud-config, which the chart sets"}},
		"an argument that is no flag":              {"agent: {extraArgs: [cleanup]}", false, []string{"at '/agent/extraArgs/0'", "'cleanup' does not match"}},
		"nothing to install":                       {"controller: {enabled: false}\nagent: {enabled: false}", false, []string{"controller.enabled and agent.enabled are both false"}},
		"nodes of two masters":                     {"controller: {loadBalancerClassOnly: true}", false, []string{"controller.loadBalancerClassOnly is true", "controller.controllers=[service-lb-controller]"}},
		"a monitor of nothing":                     {"controller: {metrics: {enabled: false, serviceMonitor: {enabled: true}}}", false, []string{"serviceMonitor.enabled is true but controller.metrics.enabled is false"}},
		"a monitor that reaches nobody":            {"agent: {metrics: {loopbackOnly: true, podMonitor: {enabled: true}}}", false, []string{"Prometheus could not reach the agents"}},
		"a privileged port":                        {"agent: {metrics: {port: 80}}", false, []string{"at '/agent/metrics/port'", "minimum: got 80, want 1,024"}},
		"no port":                                  {"networkPolicy: {ports: [https]}", false, []string{"at '/networkPolicy/ports/0'", "got string, want integer"}},
		"another name of the cluster for deletion": {"uninstall: {deleteLoadBalancersOf: cls-other}", false, []string{`uninstall.deleteLoadBalancersOf is "cls-other", but cloudConfig.clusterID is "cls-demo"`}},
		"several at once":                          {"cloudConfig: {handover: {drain: 2h, poll: 1ms}}\nagent: {extraArgs: [--mode=override]}", false, []string{"cloudConfig.handover.drain", "cloudConfig.handover.poll", "agent.extraArgs has --mode"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(c.values), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"-f", file}
			if !c.bare {
				// What is wrong has to win over what is right.
				good := filepath.Join(t.TempDir(), "good.yaml")
				if err := os.WriteFile(good, []byte("cloudConfig: {region: ap-guangzhou, vpcID: vpc-2ab3c4d5, clusterID: cls-demo}"), 0o600); err != nil {
					t.Fatal(err)
				}
				args = []string{"-f", good, "-f", file}
			}
			_, err := template(t, args...)
			if err == nil {
				t.Fatal("the chart takes it")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in the answer:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "MARKED") {
				t.Errorf("the answer shows a secret:\n%v", err)
			}
		})
	}
}

// Values that look odd and are right: empty ones, null, lists in the place of others.
func TestOddValuesAreTaken(t *testing.T) {
	for _, value := range []string{
		`commonLabels=null`, `commonLabels={}`, `imagePullSecrets=null`, `controller.tolerations=null`, `controller.tolerations=[]`, `controller.resources=null`,
		`controller.resources={"limits":null}`, `controller.affinity=null`, `controller.nodeSelector={"a/b":"c"}`, `controller.extraArgs=null`,
		`controller.podAnnotations=null`, `controller.dnsConfig=null`, `agent.tolerations=[]`, `agent.pods="bridge:abcdefghijklmno"`, `agent.pods="interface-prefix:abcdefghijklmn"`, `agent.pods="interface-prefix:eni"`, `agent.pods="bridge:br-0.1_x"`, `agent.maxUnavailable="10%"`, `agent.priorityClassName=""`, `cloudConfig.rateLimits={}`,
		`controller.replicas=0`, `controller.replicas=1`, `networkPolicy={"enabled":true,"from":null,"ports":null,"extraEgress":null}`, `global={"imageRegistry":"x"}`,
		`controller.metrics.readers=null`, `fullnameOverride="x"`, `nameOverride="y"`, `controller.serviceAccount={"create":false}`,
		`agent.serviceAccount={"create":false,"name":"robot"}`, `controller.labels={"app.kubernetes.io/component":"mine"}`,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			if all := render(t, set(value)...); len(all) < 10 {
				t.Errorf("only %d objects", len(all))
			}
		})
	}
}
