// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/lab/cluster"
	"github.com/clbsync/clbsync/lab/machine"
)

const (
	controllerName = "clb-cloud-controller-manager"
	controllerPort = 10258
	// uninitialized is the taint of a node whose kubelet leaves its identity to the cloud's controller.
	uninitialized = "node.cloudprovider.kubernetes.io/uninitialized"
)

// Settings is the controller's --cloud-config, by the names of its file.
type Settings map[string]any

// CloudConfig returns the settings that fit the lab. Handovers are quicker than the defaults, as the simulated CLB's
// health checks are: a test would otherwise wait as long as a user does.
func CloudConfig() Settings {
	endpoint := "http://" + apiAddress
	return Settings{
		"apiVersion":  "clbsync.io/v1alpha1",
		"kind":        "CloudConfig",
		"region":      region,
		"vpcID":       vpcID,
		"clusterID":   ClusterID,
		"credentials": map[string]any{"secretID": secretID, "secretKey": secretKey},
		"endpoints":   map[string]any{"clb": endpoint, "cvm": endpoint, "vpc": endpoint, "tag": endpoint},
		"handover":    map[string]any{"poll": "200ms", "drain": "2s"},
	}
}

// With returns a copy with one setting changed.
func (s Settings) With(key string, value any) Settings {
	changed := Settings{key: value}
	for k, v := range s {
		if k != key {
			changed[k] = v
		}
	}
	return changed
}

// grant gives the controller its identity and the rights that the product's manifest names, and no others.
func (l *Lab) grant(ctx context.Context) error {
	rights, err := cluster.ProductRights(l.dir.Root(), cluster.ControllerComponent)
	if err != nil {
		return err
	}
	apply := l.KubectlCommand(ctx, "apply", "-f", "-")
	apply.Stdin = strings.NewReader(rights)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("rights of the controller: %w\n%s", err, out)
	}
	namespace, account := cluster.ProductAccount(cluster.ControllerComponent)
	l.identity, err = l.ServiceAccountKubeconfig(ctx, namespace, account)
	return err
}

// StartController starts the controller with these settings and returns when it says that it is healthy. It must not
// run already.
func (l *Lab) StartController(ctx context.Context, settings Settings, flags ...string) error {
	if l.ControllerRuns() {
		return errors.New("the controller runs already: stop or kill it first")
	}
	// A killed leader's lease would hold up its successor for 15 s.
	p, err := l.StartReplica(ctx, controllerName, controllerPort, settings, append([]string{"--leader-elect=false"}, flags...)...)
	if p != nil {
		l.controller, l.log = p, p.LogPath()
	}
	return err
}

// StartReplica starts a controller that the Lab does not keep count of, beside others or alone, and returns when it says
// that it is healthy. name is that of its log and settings, port that of its /healthz. The process is not nil if it was started, also
// with an error.
func (l *Lab) StartReplica(ctx context.Context, name string, port int, settings Settings, flags ...string) (*machine.Process, error) {
	content, err := yaml.Marshal(settings)
	if err != nil {
		return nil, err
	}
	config, err := l.file(name+".yaml", content)
	if err != nil {
		return nil, err
	}
	p, err := l.Run(cluster.ControlPlane, name, append([]string{
		l.dir.Bin(controllerName),
		"--kubeconfig=" + l.identity,
		"--cloud-config=" + config,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--authorization-always-allow-paths=/healthz,/livez,/readyz,/metrics",
		"-v=2",
	}, flags...))
	if err != nil {
		return nil, err
	}
	if err := l.awaitHealthy(ctx, p, port); err != nil {
		return p, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func (l *Lab) awaitHealthy(ctx context.Context, p *machine.Process, port int) error {
	healthz := fmt.Sprintf("https://127.0.0.1:%d/healthz", port)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// The controller's certificate is its own, made at start.
	client := &http.Client{Timeout: shortCall, Transport: &http.Transport{
		DialContext:       l.dialer(cluster.ControlPlane),
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	return up(ctx, p, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, healthz, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("%s: %s: %s", healthz, resp.Status, body)
		}
		return nil
	})
}

// StopController ends the controller as a rollout does, with SIGTERM.
func (l *Lab) StopController(ctx context.Context) error {
	p := l.controller
	l.controller = nil
	return p.Stop(ctx)
}

// KillController ends the controller as a crash does: with SIGKILL, wherever it is.
func (l *Lab) KillController() error {
	p := l.controller
	l.controller = nil
	return p.Kill()
}

// ControllerRuns reports whether the controller that was started last still does.
func (l *Lab) ControllerRuns() bool {
	if l.controller == nil {
		return false
	}
	select {
	case <-l.controller.Done():
		return false
	default:
		return true
	}
}

// ControllerLog returns the last lines of the controller's log, over all its starts.
func (l *Lab) ControllerLog(lines int) string {
	content, err := os.ReadFile(l.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimRight(content, "\n")), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// awaitInitialized waits until the controller has given every node its identity.
func (l *Lab) awaitInitialized(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, n := range l.Nodes() {
		if _, err := l.AwaitNode(ctx, n.Name, "a providerID and no taint "+uninitialized, Initialized); err != nil {
			return fmt.Errorf("%w\n%s", err, l.ControllerLog(20))
		}
	}
	return nil
}

// Initialized reports whether the cloud's node controller has done its work on the node.
func Initialized(n *corev1.Node) bool {
	if n == nil || n.Spec.ProviderID == "" {
		return false
	}
	for _, t := range n.Spec.Taints {
		if t.Key == uninitialized {
			return false
		}
	}
	return true
}

// up waits until check succeeds, and no longer than the program runs or the context lasts.
func up(ctx context.Context, p *machine.Process, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		select {
		case <-p.Done():
			return false, errors.Join(errors.New("it ended"), p.Wait())
		default:
			last = check(ctx)
			return last == nil, nil
		}
	})
	if err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", errors.Join(err, last), p.Tail(15))
	}
	return nil
}
