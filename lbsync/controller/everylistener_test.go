// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/clbsim"
	"github.com/clbsync/clbsync/internal/kubetest"
	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// listenersOf are the listeners and rules of a Service's CLB, as the SDK reads them, in the words of a plan.
func (l *tried) listenersOf(service string) string {
	one := l.of(service)
	if one == nil {
		return "no CLB"
	}
	lb, err := l.config.Cloud.Observe(l.Context(), one.ID)
	if err != nil {
		l.Fatal(err)
	}
	lb.Targets = nil
	text := lbsync.Diff(lbsync.LoadBalancer{Present: true}, lb).String()
	return strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(text, "+ ", "")), "\n", "; ")
}

// withConfigs lets the cluster know TkeServiceConfigs, and Secrets with certificates.
func withConfigs(l *tried) {
	l.configure(
		serviceConfig(l, "slow", `{internetMaxBandwidthOut: 77, l4Listeners: [{protocol: TCP, port: 80, scheduler: LEAST_CONN, session: {enable: true, sessionExpireTime: 100}, healthCheck: {enable: true, intervalTime: 30, healthNum: 2, unHealthNum: 10, timeout: 20}}]}`),
		serviceConfig(l, "off", `{l4Listeners: [{protocol: TCP, port: 80, healthCheck: {enable: false}}]}`),
		serviceConfig(l, "vip", `{l4Listeners: [{protocol: TCP, port: 80, healthCheck: {enable: true, sourceIpType: 0}}]}`))
	l.put(secret("cert", map[string]string{"qcloud_cert_id": "certRSA1"}))
	l.put(secret("other", map[string]string{"qcloud_cert_id": "certRSA2"}))
}

func certificates(c *clbsim.Config) {
	c.Certificates = []clbsim.Certificate{{ID: "certRSA1"}, {ID: "certRSA2"}}
}

const plain = "listener TCP:80 check TCP 5s×3/3"

func ofListeners() []every {
	protocol := func(part, value, other, with, changed string) every {
		return every{name: annotation.SpecifyProtocol, part: part, account: certificates, setup: withConfigs, value: value, other: other, bad: `{"80":{"protocol":["SCTP"]}}`, right: `"SCTP" is not TCP, UDP, TCP_SSL, QUIC, HTTP or HTTPS`,
			reads: (*tried).listenersOf, without: plain, with: with, changed: changed, fresh: "no CLB", spoilt: with}
	}
	overUDP := protocol("over UDP", `{"80":{"protocol":["QUIC"],"tls":"cert"}}`, `{"80":{"protocol":["UDP"]}}`, "listener QUIC:80 check none certificate certRSA1", "listener UDP:80 check PING 5s×3/3")
	overUDP.without, overUDP.mods = "listener UDP:80 check PING 5s×3/3", []func(*corev1.Service){func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }}
	return []every{
		protocol("with TLS", `{"80":{"protocol":["TCP_SSL"],"tls":"cert"}}`, `{"80":{"protocol":["TCP_SSL"],"tls":"other"}}`, plain[:9]+"TCP_SSL:80 check TCP 5s×3/3 certificate certRSA1", plain[:9]+"TCP_SSL:80 check TCP 5s×3/3 certificate certRSA2"),
		protocol("with hosts", `{"80":{"protocol":["HTTP"],"hosts":{"a.example.com":{}}}}`, `{"80":{"protocol":["HTTPS"],"hosts":{"a.example.com":{"tls":"cert"},"b.example.com":{"tls":"other"}}}}`,
			"listener HTTP:80; rule HTTP:80 a.example.com/ check HTTP/ 5s×3/3 codes 15 default",
			"listener HTTPS:80 SNI; rule HTTPS:80 a.example.com/ check HTTP/ 5s×3/3 codes 15 certificate certRSA1 default; rule HTTPS:80 b.example.com/ check HTTP/ 5s×3/3 codes 15 certificate certRSA2"),
		overUDP,
		{name: annotation.ListenerParams, value: `{"Scheduler":"LEAST_CONN","SessionExpireTime":60,"IdleConnectTimeout":600}`, other: `{"SessionExpireTime":90}`, bad: `{"SessionExpireTime":9}`, right: "not 0 or 30 to 3600",
			reads: (*tried).listenersOf, without: plain, with: plain + " session 1m0s LEAST_CONN idle 10m0s", changed: plain + " session 1m30s"},
		{name: annotation.PreventLoopback, setup: withConfigs, mods: []func(*corev1.Service){kubetest.Annotation(annotation.ServiceConfig, "vip")}, value: "true", other: "false", bad: "yes", right: trueOrFalse,
			reads: (*tried).listenersOf, without: plain + " from the VIP", with: plain, changed: plain + " from the VIP"},
		{name: annotation.ServiceConfig, setup: withConfigs, value: "slow", other: "off", bad: "slow-auto-service-config", right: "reserved", reads: (*tried).listenersOf,
			without: plain, with: "listener TCP:80 check TCP 30s×2/10 session 1m40s LEAST_CONN", changed: "listener TCP:80 check none", after: func(l *tried) {
				l.want("its bandwidth", api(bandwidth)(l, late), "77 Mbps")
				l.edit(early, annotate(annotation.ServiceConfig, "absent"))
				l.becomes("one that does not exist", early, plain)
				l.says("one that does not exist", early, "ServiceConfigNotFound", "absent", "E4026")
			}},
		{name: annotation.ServiceConfigNew, setup: withConfigs, value: "true", other: "false", bad: "yes", right: trueOrFalse, reads: configMade, without: "none", with: "one of its own for TCP:80", changed: "none", spoilt: "one of its own for TCP:80"},
	}
}

// configMade says what TkeServiceConfig there is that was made for a Service.
func configMade(l *tried, service string) string {
	o, err := l.config.Dynamic.Resource(configResource).Namespace("default").Get(l.Context(), service+annotation.AutoConfigSuffix, metav1.GetOptions{})
	if err != nil {
		return "none"
	}
	lb, _ := o.Object["spec"].(map[string]any)["loadBalancer"].(map[string]any)
	sections, _ := lb["l4Listeners"].([]any)
	var out []string
	for _, s := range sections {
		section, _ := s.(map[string]any)
		out = append(out, section["protocol"].(string)+":80")
	}
	whose := "one of its own for "
	if !metav1.IsControlledBy(o, l.service(service)) {
		whose = "one of nobody for "
	}
	return whose + strings.Join(out, " ")
}
