// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	apiServerWait  = 10 * time.Second // an API server that starts at the same time gets as long
	apiServerPause = time.Second
)

// reachAPIServer waits a little until the API server answers.
func (p *program) reachAPIServer() error {
	generic := p.options.Generic
	cfg, err := clientcmd.BuildConfigFromFlags(p.options.Master, generic.ClientConnection.Kubeconfig)
	switch {
	case clientcmd.IsEmptyConfig(err):
		return errors.New("no API server: this is not a pod with a service account, and --kubeconfig is missing")
	case err != nil:
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = apiServerWait / 2
	client, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.stop), apiServerWait)
	defer cancel()
	for first := true; ; first = false {
		_, err := client.ServerVersion()
		switch {
		case err == nil:
			return nil
		case apierrors.IsUnauthorized(err):
			return fmt.Errorf("the API server at %s does not accept the credentials: %w; see --kubeconfig", cfg.Host, err)
		case first:
			klog.ErrorS(err, "Waiting for the API server", "server", cfg.Host, "atMost", apiServerWait)
		}
		select {
		case <-p.stop.Done():
			return p.stop.Err()
		case <-ctx.Done():
			if u, ok := errors.AsType[*url.Error](err); ok {
				err = u.Err // it repeats the address
			}
			return fmt.Errorf("the API server at %s does not answer: %w; see --kubeconfig and --master", cfg.Host, err)
		case <-time.After(apiServerPause):
		}
	}
}
