// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
)

// tokenSeconds is how long a ServiceAccount's token is valid.
const tokenSeconds = 24 * 60 * 60

// inside is the API server's address for programs on the lab's machines.
var inside = netip.AddrPortFrom(ControlPlaneIP, apiPort)

// ServiceAccountKubeconfig writes a kubeconfig with which a program on one of the lab's machines is the ServiceAccount,
// with its rights and no others. The ServiceAccount must exist. The token in it is valid for a day.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](tokenSeconds)},
	}
	answer, err := c.Clientset().CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token for ServiceAccount %s/%s: %w", namespace, name, err)
	}
	path := c.kubeconfigFile("serviceaccount-" + namespace + "-" + name)
	return path, c.writeKubeconfig(path, inside, &clientcmdapi.AuthInfo{Token: answer.Status.Token})
}

// UserKubeconfig writes a kubeconfig with which a program on one of the lab's machines is that user in those groups.
func (c *Cluster) UserKubeconfig(user string, groups ...string) (string, error) {
	file := strings.ReplaceAll(user, ":", "-")
	return c.userKubeconfig(file, inside, subject{user: user, groups: groups})
}

func (c *Cluster) userKubeconfig(file string, server netip.AddrPort, s subject) (string, error) {
	if err := c.pki.issue(file, s); err != nil {
		return "", err
	}
	path := c.kubeconfigFile(file)
	return path, c.writeKubeconfig(path, server, &clientcmdapi.AuthInfo{
		ClientCertificate: c.pki.certFile(file),
		ClientKey:         c.pki.keyFile(file),
	})
}

func (c *Cluster) kubeconfigFile(name string) string {
	return filepath.Join(c.lab.Dir(), name+".kubeconfig")
}

func (c *Cluster) writeKubeconfig(path string, server netip.AddrPort, user *clientcmdapi.AuthInfo) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{
		Server:               fmt.Sprintf("https://%s", server),
		CertificateAuthority: c.pki.certFile("ca"),
	}
	config.AuthInfos["lab"] = user
	config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "lab"}
	config.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return nil
}
