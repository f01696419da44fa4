// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

const (
	containerdSocket = "/run/containerd/containerd.sock" // each node has its own /run

	// PauseImage is what holds a pod's namespaces; it is on every node.
	PauseImage = "lab.clbsync.io/pause:dev"
)

// nodeFile is one configuration file of a node.
type nodeFile struct {
	name string
	text *template.Template
}

// nodeFiles are the configurations of a node's programs; nodeValues fills them in.
var nodeFiles = []nodeFile{
	{"containerd.toml", template.Must(template.New("").Parse(containerdConfig))},
	{"cni/10-lab.conflist", template.Must(template.New("").Parse(cniConfig))},
	{"kubelet.yaml", template.Must(template.New("").Parse(kubeletConfig))},
	{"kube-proxy.yaml", template.Must(template.New("").Parse(proxyConfig))},
}

type nodeValues struct {
	Node
	Dir             string // of the node, on disk
	Snapshotter     string
	Socket          string
	PauseImage      string
	Cgroup          string // of the pods
	CA              string
	Certificate     string
	Key             string
	DNS             netip.Addr
	Domain          string
	GivenProviderID string // empty if it is left to the cloud controller
	PodRange        netip.Prefix
	ProxyKubeconfig string
	HealthPort      int

	NodePortAddresses string // those that kube-proxy serves
}

// containerd, as Debian has it (configuration version 2). Lowering OOM scores and AppArmor both fail on machines that
// give root less than everything, and the lab needs neither.
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{{.Socket}}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.PauseImage}}"
  restrict_oom_score_adj = true
  disable_apparmor = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{{.Snapshotter}}"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{{.Dir}}/cni"
`

// Pods keep their addresses on the way to other pods and nodes, as in a VPC: no masquerading.
const cniConfig = `{
  "cniVersion": "0.4.0",
  "name": "lab",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "hairpinMode": true,
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "{{.PodCIDR}}"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// The kubelet never evicts and never deletes images: the disk is the host's, and an image that is gone cannot be
// pulled again.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: {{.CA}}}
authorization: {mode: Webhook}
tlsCertFile: {{.Certificate}}
tlsPrivateKeyFile: {{.Key}}
containerRuntimeEndpoint: unix://{{.Socket}}
{{- if .GivenProviderID}}
providerID: {{.GivenProviderID}}
{{- end}}
clusterDomain: {{.Domain}}
clusterDNS: [{{.DNS}}]
resolvConf: ""
cgroupDriver: cgroupfs
cgroupRoot: /{{.Cgroup}}
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
protectKernelDefaults: true
volumePluginDir: /var/lib/kubelet/volume-plugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard:
  memory.available: 10Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
`

// kube-proxy tunes connection tracking for the whole host unless told not to.
const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {{.PodRange}}
hostnameOverride: {{.Name}}
clientConnection: {kubeconfig: {{.ProxyKubeconfig}}}
nodePortAddresses: {{.NodePortAddresses}}
healthzBindAddress: 0.0.0.0:{{.HealthPort}}
conntrack:
  maxPerCore: 0
  min: 0
  tcpEstablishedTimeout: 0s
  tcpCloseWaitTimeout: 0s
`

// writeNodeFiles writes the node's configurations and makes its identities.
func (c *Cluster) writeNodeFiles(n Node) error {
	user, groups := "system:node:"+n.Name, []string{"system:nodes"}
	if _, err := c.UserKubeconfig(user, groups...); err != nil {
		return err
	}
	serving := "kubelet-" + n.Name
	err := c.pki.issue(serving, subject{user: user, groups: groups, names: []string{n.Name}, addrs: []netip.Addr{n.IP}})
	if err != nil {
		return err
	}
	m, err := c.machine(n.Name)
	if err != nil {
		return err
	}
	snapshotter := "overlayfs"
	if works, err := overlayWorks(m.Dir()); err != nil {
		return err
	} else if !works {
		snapshotter = "native"
	}
	values := nodeValues{
		Node: n, Dir: m.Dir(), Snapshotter: snapshotter, Socket: containerdSocket, PauseImage: PauseImage,
		Cgroup: filepath.Join(m.Cgroup(), podsCgroup),
		CA:     c.pki.certFile("ca"), Certificate: c.pki.certFile(serving), Key: c.pki.keyFile(serving),
		DNS: dnsServiceIP, Domain: clusterDomain,
		PodRange: podRange, ProxyKubeconfig: c.kubeconfigFile("system-kube-proxy"), HealthPort: proxyHealthPort,
		NodePortAddresses: n.kubeProxyAddresses(),
	}
	if !c.config.OmitProviderID {
		values.GivenProviderID = n.ProviderID()
	}
	for _, file := range nodeFiles {
		var text bytes.Buffer
		if err := file.text.Execute(&text, values); err != nil {
			return err
		}
		path := c.nodeFile(n, file.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// labelFlag writes labels as the kubelet's --node-labels wants them.
func labelFlag(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for key, value := range labels {
		pairs = append(pairs, fmt.Sprintf("%s=%s", key, value))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}
