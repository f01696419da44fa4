// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clbsync/clbsync/internal/golden"
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		in       map[string]string
		want     Options
		problems []string // parts of the problems, in order
		blocking bool
	}{
		"nothing": {},
		"everything": {
			in:   map[string]string{InternalSubnet: "subnet-2ab3c4d5", BindNodesOfPods: "true", WeightByPods: "true", LoadBalancerID: "lb-1", ClientToken: "t"},
			want: Options{SubnetID: "subnet-2ab3c4d5", BindNodesOfPods: true, WeightByPods: true, LoadBalancerID: "lb-1"}},
		"a boolean is true or false and nothing else": {
			in:       map[string]string{BindNodesOfPods: "True", WeightByPods: "1"},
			problems: []string{WeightByPods + `="1": want "true" or "false"`, BindNodesOfPods + `="True": want "true" or "false"`}},
		"a word is one of those that there are": {
			in: map[string]string{Drift: "reports"}, problems: []string{Drift + `="reports": want "repair" or "report"`}},
		"a mode that there is not stops the Service": {
			in: map[string]string{Mode: "planned"}, problems: []string{Mode + `="planned": want "plan"`}, blocking: true},
		"a mode": {
			in: map[string]string{Mode: "plan", Plan: "- clb lb-1"}, want: Options{PlanOnly: true}},
		"a word": {
			in: map[string]string{Drift: "report"}, want: Options{Drift: "report"}},
		"a subnet that is none stops the Service": {
			in: map[string]string{InternalSubnet: "subnet"}, problems: []string{"want a subnet ID like subnet-2ab3c4d5"}, blocking: true},
		"a near miss is named": {
			in: map[string]string{"service.kubernetes.io/local-svc-only-bind-nodes-with-pod": "true"}, problems: []string{"did you mean " + BindNodesOfPods}},
		"the right name under TKE's other prefix is named": {
			in: map[string]string{"service.cloud.tencent.com/local-svc-only-bind-node-with-pod": "true"}, problems: []string{"did you mean " + BindNodesOfPods}},
		"an unknown name under our prefix is an error": {
			in: map[string]string{Prefix + "xyz": "1"}, problems: []string{"no such annotation"}},
		"names of others are not ours to judge": {
			in: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "service.kubernetes.io/topology-mode": "Auto", "service.cloud.tencent.com/sync-begin-time": "x"}},
		"what cannot be done is said": {
			in: map[string]string{TargetGroups: "[]"}, problems: []string{"target groups are not bound"}},
		"what cannot be done and is not asked for needs no word": {
			in: map[string]string{TargetGroups: "", GraceDeletion: "false", tkePrefix + "modification-protection": "false", k8sPrefix + "loadbalance-type": "yunapiv3_forward_clb"}},
		"what would be harmful to ignore stops the Service": {
			in: map[string]string{k8sPrefix + "qcloud-loadbalancer-internal": "4711"}, problems: []string{"numbers of subnets"}, blocking: true},
		"source ranges, in the old spelling": {
			in: map[string]string{SourceRanges: "10.0.0.0/8, 2001:db8::/32"}, want: Options{SourceRanges: []string{"10.0.0.0/8", "2001:db8::/32"}}},
		"no source ranges": {in: map[string]string{SourceRanges: " "}},
		"a source range that is none stops the Service, which would be open otherwise": {
			in: map[string]string{SourceRanges: "10.0.0.0/8,10.0.0.1"}, problems: []string{`"10.0.0.1" is none; want ranges of addresses`}, blocking: true},
		"security groups": {
			in: map[string]string{SecurityGroups: "sg-b, sg-a"}, want: Options{SecurityGroups: []string{"sg-b", "sg-a"}}},
		"security groups that are none stop the Service": {
			in: map[string]string{SecurityGroups: "sg-a,web"}, problems: []string{`"web" is none; want IDs of security groups`}, blocking: true},
		"an existing CLB has its own network": {
			in:       map[string]string{ExistingID: "lb-1", InternalSubnet: "subnet-2ab3c4d5", Bandwidth: "10"},
			want:     Options{ExistingID: "lb-1"},
			problems: []string{"does not go together with " + ExistingID + ", which is set too and counts", "does not go together with " + ExistingID}},
		"and its own parameters, even bad ones": {
			in: map[string]string{ExistingID: "lb-1", CreateParams: `{"Number":2}`}, want: Options{ExistingID: "lb-1"}, problems: []string{"does not go together with " + ExistingID + ", which is set too and counts"}},
		"an existing CLB that is none leaves no room for another": {
			in: map[string]string{ExistingID: "my-lb", InternalSubnet: "subnet-2ab3c4d5"}, problems: []string{"does not go together with " + ExistingID, "want the ID of a CLB"}, blocking: true},
		"the old spelling gives way to the new one": {
			in:   map[string]string{Bandwidth: "10", oldPrefix + "service.internetMaxBandwidthOut": "20"},
			want: Options{Bandwidth: 10}, problems: []string{"an old spelling of " + Bandwidth}},
		"the old spelling alone counts": {
			in: map[string]string{oldPrefix + "service.internetMaxBandwidthOut": "20"}, want: Options{Bandwidth: 20}},
		"a number out of bounds": {
			in: map[string]string{Bandwidth: "2049"}, problems: []string{"want a whole number, 1 to 2048 Mbps"}},
		"parameters of a creation": {
			in:   map[string]string{CreateParams: `{"AddressIPVersion":"IPv6FullChain","SubnetId":"subnet-2ab3c4d5","InternetAccessible":{"InternetMaxBandwidthOut":5}}`},
			want: Options{Create: &CreateParameters{AddressIPVersion: "IPv6FullChain", SubnetID: "subnet-2ab3c4d5", InternetAccessible: &InternetAccessible{InternetMaxBandwidthOut: new(5)}}}},
		"a parameter that is the controller's own": {
			in: map[string]string{CreateParams: `{"ClientToken":"x"}`}, problems: []string{`unknown field "ClientToken"`}, blocking: true},
		"all that is wrong with parameters is said at once": {
			in:       map[string]string{CreateParams: `{"VipIsp":"X","InternetAccessible":{"InternetMaxBandwidthOut":0},"Tags":[{"TagKey":"tke-clusterId","TagValue":"x"}]}`},
			problems: []string{"VipIsp is \"X\", not BGP, CMCC, CUCC, CTCC\nInternetAccessible.InternetMaxBandwidthOut is 0, not 1 to 2048\nTags[0]: the key \"tke-clusterId\" says whose"}, blocking: true},
		"addresses that CLB has to have, and must not": {
			in: map[string]string{CreateParams: `{"SnatPro":false,"SnatIps":[{"SubnetId":"subnet-2ab3c4d5"}]}`}, problems: []string{"SnatPro is false, and SnatIps needs it"}, blocking: true},
		"an annotation of pods on a Service": {
			in: map[string]string{CustomWeight: "5"}, problems: []string{"an annotation of Pods"}},
		"protocols": {
			in:   map[string]string{SpecifyProtocol: `{"443":{"protocol":["HTTPS"],"hosts":{"*.example.com":{"tls":"cert"}}},"53":{"protocol":["TCP","UDP"]}}`},
			want: Options{Protocols: map[int32]PortProtocol{443: {Protocols: []string{"HTTPS"}, Hosts: map[string]Host{"*.example.com": {TLS: "cert"}}}, 53: {Protocols: []string{"TCP", "UDP"}}}}},
		"protocols that one port cannot have": {
			in:       map[string]string{SpecifyProtocol: `{"0443":{"protocol":["TCP"]},"80":{"protocol":["TCP","HTTP"]},"81":{"protocol":["TCP_SSL"]},"82":{"protocol":["SCTP"]}}`},
			want:     Options{BadProtocols: map[int32]bool{80: true, 81: true, 82: true}, BadProtocol: true},
			problems: []string{`"0443" is no port of the Service, 1 to 65535` + "\n" + `port 80: protocol is ["TCP" "HTTP"], but a port has one listener over TCP`}},
		"a name that stands twice": {
			in: map[string]string{SpecifyProtocol: `{"80":{"protocol":["TCP"]},"80":{"protocol":["UDP"]}}`}, want: Options{BadProtocol: true}, problems: []string{`"80" stands twice`}},
		"one port that is wrong beside one that is right": {
			in:       map[string]string{SpecifyProtocol: `{"443":{"protocol":["TCP_SSL"],"tls":"cert"},"80":{"protocol":["SCTP"]}}`},
			want:     Options{Protocols: map[int32]PortProtocol{443: {Protocols: []string{"TCP_SSL"}, TLS: "cert"}}, BadProtocols: map[int32]bool{80: true}},
			problems: []string{`port 80: protocol "SCTP" is not TCP`}},
		"protocols that are no JSON": {
			in: map[string]string{SpecifyProtocol: `{"443":`}, want: Options{BadProtocol: true}, problems: []string{"it ends too early"}},
		"weights of pods": {
			in:   map[string]string{RSWeight: `{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":0,"podIndexes":[0]}]}]}]}`},
			want: Options{PodWeights: &PodWeights{Groups: []WeightGroup{{Key: WeightKey{"TCP", 80}, StatefulSets: []WeightedPodSet{{Name: "web", Weights: []PodWeight{{Weight: new(0), PodIndexes: []int{0}}}}}}}}}},
		"weights of pods out of bounds": {
			in:       map[string]string{RSWeight: `{"defaultWeight":101,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"podIndexes":[-1]}]}]}]}`},
			problems: []string{"defaultWeight is 101, not 0 to 100\ngroups[0].statefulSets[0].weights[0].weight is missing\n"}},
		"settings of listeners": {
			in: map[string]string{ListenerParams: `{"Scheduler":"LEAST_CONN","IdleConnectTimeout":9}`}, problems: []string{"IdleConnectTimeout is 9, not 10 to 1980; want a JSON object"}},
		"two ways to name a TkeServiceConfig": {
			in: map[string]string{ServiceConfig: "a", ServiceConfigNew: "true"}, problems: []string{"does not go together", "does not go together"}},
		"a way that is switched off is none": {
			in: map[string]string{ServiceConfig: "a", ServiceConfigNew: "false"}, want: Options{ConfigName: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := Parse(test.in)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if len(problems) != len(test.problems) {
				t.Fatalf("problems %v, want %d", problems, len(test.problems))
			}
			blocking := false
			for i, p := range problems {
				if blocking = blocking || p.Blocking; !strings.Contains(p.Error(), test.problems[i]) {
					t.Errorf("problem %q does not say %q", p.Error(), test.problems[i])
				}
			}
			if blocking != test.blocking {
				t.Errorf("blocking is %v, want %v", blocking, test.blocking)
			}
		})
	}
}

func TestNearMisses(t *testing.T) {
	for name, want := range map[string]string{
		"service.beta.kubernetes.io/load-balancer-source-range": SourceRanges,
		"service.kubernetes.io/load-balancer-source-ranges":     SourceRanges,
		"service.beta.kubernetes.io/tke-existed-lbid":           ExistingID,
		"services.cloud.tencent.com/security-groups":            SecurityGroups,
		"service.kubernets.io/tke-existed-lbid":                 ExistingID,
		"service.cloud.tencent.com/custom-weigth":               CustomWeight,
		"clb-sync.io/mode": Mode,
		"kubernetes.io/service.internetMaxBandwithOut":                     oldPrefix + "service.internetMaxBandwidthOut",
		"service.cloud.tencent.com/specify-protocols":                      SpecifyProtocol,
		"service.cloud.tencent.com/local-svc-only-bind-node-with-pod":      BindNodesOfPods,
		"service.kubernetes.io/qcloud-loadbalancer-internal-subnetids":     InternalSubnet,
		"service.kubernetes.io/service.extensiveParameter":                 CreateParams,
		"service.kubernetes.io/qcloud-loadbalancer-internet-charges-types": ChargeType,
	} {
		if _, problems := Parse(map[string]string{name: "x"}); len(problems) != 1 || !strings.Contains(problems[0].Reason, "did you mean "+want+"?") {
			t.Errorf("%s: %v, want %s", name, problems, want)
		}
	}
}

// What Services of other clouds, and of other programs, carry is none of ours.
func TestNamesOfOthersAreNoNearMisses(t *testing.T) {
	for _, list := range []struct{ prefix, names string }{
		{"kubectl.kubernetes.io/", "last-applied-configuration restartedAt default-container"},
		{"meta.helm.sh/", "release-name release-namespace"},
		{"kubernetes.io/", "ingress.class description change-cause elb.id elb.class elb.mark elb.autocreate elb.health-check-flag elb.session-affinity-mode elb.pass-through service-account.name"},
		{k8sPrefix, "topology-mode topology-aware-hints headless service-proxy-name traffic-policy"},
		{"service.alpha.kubernetes.io/", "tolerate-unready-endpoints app-protocols"},
		{"endpoints.kubernetes.io/", "last-change-trigger-time over-capacity"},
		{"external-dns.alpha.kubernetes.io/", "hostname ttl target internal-hostname"},
		{"prometheus.io/", "scrape port path scheme"},
		{"metallb.universe.tf/", "address-pool allow-shared-ip loadBalancerIPs"},
		{"metallb.io/", "address-pool allow-shared-ip loadBalancerIPs ip-allocated-from-pool"},
		{"networking.gke.io/", "load-balancer-type internal-load-balancer-subnet load-balancer-ip-addresses weighted-load-balancing"},
		{"cloud.google.com/", "load-balancer-type neg neg-status backend-config l4-rbs"},
		{"load-balancer.hetzner.cloud/", "name type location network-zone use-private-ip protocol health-check-interval id"},
		{"loadbalancer.openstack.org/", "keep-floatingip proxy-protocol timeout-client-data class load-balancer-id"},
		{"argocd.argoproj.io/", "sync-wave sync-options tracking-id hook"},
		{"ingress.cloud.tencent.com/", "direct-access tke-service-config tke-service-config-auto pass-to-target security-groups status.conditions custom-weight"},
		{betaPrefix, "external-traffic healthcheck-nodeport app-protocols " +
			"aws-load-balancer-type aws-load-balancer-internal aws-load-balancer-security-groups aws-load-balancer-extra-security-groups aws-load-balancer-source-ranges aws-load-balancer-ssl-cert aws-load-balancer-ssl-ports aws-load-balancer-scheme " +
			"aws-load-balancer-subnets aws-load-balancer-name aws-load-balancer-backend-protocol aws-load-balancer-proxy-protocol aws-load-balancer-nlb-target-type aws-load-balancer-ip-address-type aws-load-balancer-attributes " +
			"aws-load-balancer-cross-zone-load-balancing-enabled aws-load-balancer-eip-allocations aws-load-balancer-target-group-attributes aws-load-balancer-access-log-enabled aws-load-balancer-connection-idle-timeout " +
			"azure-load-balancer-internal azure-load-balancer-internal-subnet azure-load-balancer-resource-group azure-allowed-ip-ranges azure-allowed-service-tags azure-dns-label-name azure-pip-name azure-load-balancer-ipv4 azure-load-balancer-mode " +
			"alibaba-cloud-loadbalancer-id alibaba-cloud-loadbalancer-address-type alibaba-cloud-loadbalancer-spec alibaba-cloud-loadbalancer-force-override-listeners alibaba-cloud-loadbalancer-backend-label alibaba-cloud-loadbalancer-bandwidth " +
			"alibaba-cloud-loadbalancer-charge-type alibaba-cloud-loadbalancer-protocol-port alibaba-cloud-loadbalancer-scheduler alibaba-cloud-loadbalancer-delete-protection alibaba-cloud-loadbalancer-modification-protection " +
			"do-loadbalancer-protocol do-loadbalancer-name do-loadbalancer-id do-loadbalancer-allow-rules oci-load-balancer-shape oci-load-balancer-internal oci-load-balancer-subnet1 oci-load-balancer-security-list-management-mode " +
			"linode-loadbalancer-throttle scw-loadbalancer-id scw-loadbalancer-type exoscale-loadbalancer-id vultr-loadbalancer-protocol ibm-load-balancer-cloud-provider-ip-type cce-load-balancer-internal-vpc brightbox-load-balancer-healthcheck-request openstack-internal-load-balancer"},
	} {
		for name := range strings.FieldsSeq(list.names) {
			if _, problems := Parse(map[string]string{list.prefix + name: "x"}); problems != nil {
				t.Errorf("%s%s: %v", list.prefix, name, problems)
			}
		}
	}
}

// The table itself: every row can be read by people, in both languages, and its default by the parser.
func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys {
		if seen[k.Name] {
			t.Errorf("%s stands twice", k.Name)
		}
		seen[k.Name] = true
		if k.Doc == "" || k.DocZH == "" {
			t.Errorf("%s has no documentation in one of the languages", k.Name)
		}
		if k.Refused != "" {
			if k.RefusedZH == "" {
				t.Errorf("%s does not say in Chinese why it is refused", k.Name)
			}
			continue
		}
		if k.Value.Type == "" || k.Value.set == nil {
			t.Errorf("%s has no type", k.Name)
		} else if k.Default != "" {
			if o, problems := Parse(map[string]string{k.Name: k.Default}); problems != nil || !reflect.DeepEqual(o, Options{}) {
				t.Errorf("%s: its default %q gives %+v, %v: want no options and no problem", k.Name, k.Default, o, problems)
			}
		}
	}
}

// Every annotation that TKE's documentation, or its controller, has is in the table, so that nobody who brings one is left
// without a word about it.
func TestEveryAnnotationOfTKEHasARow(t *testing.T) {
	for _, list := range []struct{ prefix, names string }{
		{tkePrefix, "mode client-token status.conditions sync-begin-time sync-end-time loadbalancer-source-endpoints modification-protection security-groups pass-to-target cross-region-id cross-vpc-id hybrid-type snat-pro-info prevent-loopback " +
			"local-svc-weighted-balance direct-access lb-rs-weight custom-weight target-groups tke-service-config tke-service-config-auto specify-protocol enable-grace-shutdown enable-grace-shutdown-tkex enable-grace-deletion"},
		{k8sPrefix, "loadbalance-id tke-existed-lbid qcloud-loadbalancer-internal-subnetid qcloud-loadbalancer-internal qcloud-loadbalancer-clusterid loadbalance-type loadbalance-nat-ipv6 qcloud-share-existed-lb " +
			"qcloud-loadbalancer-internet-charge-type qcloud-loadbalancer-internet-max-bandwidth-out service.extensiveParameters service.listenerParameters local-svc-only-bind-node-with-pod qcloud-loadbalancer-backends-label"},
		{oldPrefix, "service.internetChargeType service.internetMaxBandwidthOut"},
	} {
		for name := range strings.FieldsSeq(list.names) {
			row := "| `" + list.prefix + name + "` |"
			for _, page := range []string{Markdown(), MarkdownZH()} {
				if strings.Count(page, row) != 1 {
					t.Errorf("%s%s has %d rows, want one", list.prefix, name, strings.Count(page, row))
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, k := range Keys {
		f.Add(k.Name, "true")
	}
	for name, value := range map[string]string{
		ExistingID: "lb-2ab3c4d5", InternalSubnet: "subnet-2ab3c4d5\n", Bandwidth: "+5", SecurityGroups: "sg-a,sg-b, sg-a", SourceRanges: "10.0.0.0/8,::/0", CrossRegion: "ap-shanghai", CrossVPC: "vpc-2ab3c4d5", Backends: "a in (b),!c",
		ServiceConfig: "a-auto-service-config", SpecifyProtocol: `{"80":{"protocol":["HTTP"],"hosts":{"a.b":{}}}}`, RSWeight: `{"defaultWeight":100}`, CreateParams: `{"SlaType":"clb.c2.medium"}`, SnatProInfo: `{"snatIps":[{"subnetId":"subnet-2ab3c4d5"}]}`,
		Applied: "clbsync.io/applied", Region: "ap-a-1", Ordered: `{"Vip":"::1"}`,
	} {
		f.Add(name, value)
	}
	f.Add(Prefix, "")
	f.Add("/", "x")
	f.Fuzz(func(t *testing.T, name, value string) {
		o, accepted := parsed(t, name, value)
		inBounds(t, o)
		if name == SpecifyProtocol { // It is the only one that may be wrong in part.
			o.Protocols, o.BadProtocols, o.BadProtocol = nil, nil, false
		}
		if !accepted && !reflect.DeepEqual(o, Options{}) {
			t.Errorf("%q=%q has a problem, and says %+v all the same", name, value, o)
		}
	})
}

func TestDocumentation(t *testing.T) {
	golden.File(t, "../../docs/annotations.md", Markdown())
	golden.File(t, "../../docs/annotations.zh-CN.md", MarkdownZH())
}
