// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

const (
	etcdURL       = "http://127.0.0.1:2379" // the control plane machine's own loopback
	clusterDomain = "cluster.local"
	issuer        = "https://kubernetes.default.svc." + clusterDomain
)

// issueCertificates makes the identities that every lab needs.
func (c *Cluster) issueCertificates() error {
	var err error
	if c.pki, err = newAuthority(filepath.Join(c.lab.Dir(), "pki")); err != nil {
		return err
	}
	if err := c.pki.issueKey("serviceaccount"); err != nil {
		return err
	}
	err = c.pki.issue("apiserver", subject{
		user:  "kube-apiserver",
		names: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain},
		addrs: []netip.Addr{ControlPlaneIP, apiServiceIP, netip.MustParseAddr("127.0.0.1")},
	})
	if err != nil {
		return err
	}
	if err := c.pki.issue("apiserver-kubelet", subject{user: "kube-apiserver", groups: []string{"system:masters"}}); err != nil {
		return err
	}
	admin := subject{user: "admin", groups: []string{"system:masters"}}
	if c.InClusterKubeconfig, err = c.userKubeconfig("admin-in-lab", inside, admin); err != nil {
		return err
	}
	for _, user := range []string{"system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"} {
		if _, err := c.UserKubeconfig(user); err != nil {
			return err
		}
	}
	return nil
}

// forwardAPI makes the API server reachable from the host and writes the administrator's kubeconfig for it.
func (c *Cluster) forwardAPI() error {
	m, err := c.machine(ControlPlane)
	if err != nil {
		return err
	}
	addr, err := m.Forward(inside)
	if err != nil {
		return err
	}
	c.Kubeconfig, err = c.userKubeconfig("admin", addr, subject{user: "admin", groups: []string{"system:masters"}})
	return err
}

// startControlPlane starts etcd, the API server, the controller manager and the scheduler, in the order in which they
// need each other.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if c.config.Audit {
		if err := os.WriteFile(c.auditPolicyFile(), []byte(auditPolicy), 0o644); err != nil {
			return err
		}
	}
	if err := c.essential(ctx, ControlPlane, "etcd", c.etcd()); err != nil {
		return err
	}
	m, err := c.machine(ControlPlane)
	if err != nil {
		return err
	}
	client := m.HTTPClient()
	if err := c.until(ctx, "etcd is healthy", func(ctx context.Context) error { return ok(ctx, client, etcdURL+"/health") }); err != nil {
		return err
	}
	if err := c.essential(ctx, ControlPlane, "kube-apiserver", c.apiServer()); err != nil {
		return err
	}
	err = c.until(ctx, "the API server is ready", func(ctx context.Context) error {
		return c.Clientset().Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return err
	}
	if err := c.essential(ctx, ControlPlane, "kube-controller-manager", c.controllerManager()); err != nil {
		return err
	}
	return c.essential(ctx, ControlPlane, "kube-scheduler", c.scheduler())
}

func (c *Cluster) etcd() []string {
	const peerURL = "http://127.0.0.1:2380"
	return []string{
		"etcd",
		"--name=lab",
		"--data-dir=" + filepath.Join(c.lab.Dir(), ControlPlane, "etcd"),
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=lab=" + peerURL,
		// The data does not outlive the lab, and waiting for the disk is most of an API server's time.
		"--unsafe-no-fsync",
	}
}

func (c *Cluster) apiServer() []string {
	argv := []string{
		c.bin("kube-apiserver"),
		"--advertise-address=" + ControlPlaneIP.String(),
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--etcd-servers=" + etcdURL,
		"--service-cluster-ip-range=" + serviceRange.String(),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--client-ca-file=" + c.pki.certFile("ca"),
		"--tls-cert-file=" + c.pki.certFile("apiserver"),
		"--tls-private-key-file=" + c.pki.keyFile("apiserver"),
		"--kubelet-certificate-authority=" + c.pki.certFile("ca"),
		"--kubelet-client-certificate=" + c.pki.certFile("apiserver-kubelet"),
		"--kubelet-client-key=" + c.pki.keyFile("apiserver-kubelet"),
		"--kubelet-preferred-address-types=InternalIP",
		// Nobody stands in front of this API server, but all controllers ask who might.
		"--requestheader-client-ca-file=" + c.pki.certFile("ca"),
		"--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + filepath.Join(c.lab.Dir(), "pki", "serviceaccount.pub"),
		"--service-account-signing-key-file=" + c.pki.keyFile("serviceaccount"),
		"--profiling=false",
	}
	if c.config.Audit {
		argv = append(argv, "--audit-policy-file="+c.auditPolicyFile(), "--audit-log-path="+c.AuditLog())
	}
	return argv
}

// auditPolicy logs who asked for what, and how it was answered, without contents.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts"]
`

func (c *Cluster) auditPolicyFile() string { return filepath.Join(c.lab.Dir(), "audit-policy.yaml") }

// AuditLog is the file with a line of JSON per request that a ServiceAccount has made, if Config.Audit was set.
func (c *Cluster) AuditLog() string { return filepath.Join(c.config.LogDir, "audit.log") }

func (c *Cluster) controllerManager() []string {
	kubeconfig := c.kubeconfigFile("system-kube-controller-manager")
	return []string{
		c.bin("kube-controller-manager"),
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + c.pki.keyFile("serviceaccount"),
		"--root-ca-file=" + c.pki.certFile("ca"),
		"--allocate-node-cidrs=false", // CNI's configuration is written before the node registers
		"--leader-elect=false",
		// It starts some forty controllers one after the other, each with a few requests; with its usual 20 requests/s
		// that takes 5 s.
		"--kube-api-qps=500",
		"--kube-api-burst=500",
		// A new node waits this long for its taint to be taken off; how long a lost one is waited for stays as it is.
		"--node-monitor-period=1s",
		"--profiling=false",
	}
}

func (c *Cluster) scheduler() []string {
	kubeconfig := c.kubeconfigFile("system-kube-scheduler")
	return []string{
		c.bin("kube-scheduler"),
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--profiling=false",
	}
}

// ok returns nil if url answers 200.
func ok(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}
