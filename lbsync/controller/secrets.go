// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
)

// How often the Secrets that Services name are read again, and those among them that say nothing of use. They are read one by
// one, by name: to watch them, the controller would need the right to list every Secret of the cluster.
const (
	secretsEvery  = time.Minute
	secretsLook   = 10 * time.Second
	secretTimeout = 10 * time.Second
)

// secrets knows what the Secrets with certificates say. Of what is in them it keeps the IDs of certificates alone.
type secrets struct {
	get     func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	changed func(types.NamespacedName) // somebody has to look at the Services that name it
	reader  string                     // who reads, for people

	mu    sync.Mutex
	known map[types.NamespacedName]secretRead
}

type secretRead struct {
	lbsync.Secret
	at time.Time
}

func newSecrets(c *Controller) *secrets {
	return &secrets{
		get: func(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
			return c.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		changed: func(secret types.NamespacedName) {
			for _, svc := range c.certified(secret.Namespace) {
				if slices.Contains(namesOfSecrets(svc), secret.Name) {
					c.queue.add(keyOf(svc), c.gathering, due{changed: true, priority: lbsync.Normal})
				}
			}
		},
		known:  map[types.NamespacedName]secretRead{},
		reader: "the controller",
	}
}

// namesOfSecrets returns the names of the Secrets that a Service needs, nil for most.
func namesOfSecrets(svc *corev1.Service) []string {
	if svc.Annotations[annotation.SpecifyProtocol] == "" {
		return nil
	}
	options, _ := annotation.Parse(svc.Annotations)
	return lbsync.SecretNames(options)
}

// certified returns the Services of a namespace that are ours and may need Secrets; "" is all namespaces.
func (c *Controller) certified(namespace string) []*corev1.Service {
	all, err := c.services.Services(namespace).List(labels.Everything())
	if err != nil {
		return nil // a lister over a cache has no error to give
	}
	return slices.DeleteFunc(all, func(svc *corev1.Service) bool {
		return svc.Annotations[annotation.SpecifyProtocol] == "" || !c.settings.Wants(svc)
	})
}

// of returns what is known of the Secrets that a Service needs, by name.
func (s *secrets) of(namespace string, names []string) map[string]lbsync.Secret {
	if len(names) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]lbsync.Secret{}
	for _, name := range names {
		if read, ok := s.known[types.NamespacedName{Namespace: namespace, Name: name}]; ok {
			out[name] = read.Secret
		}
	}
	return out
}

// read reads the Secrets that a Service needs: those that were never read, and all of them if somebody has just changed the
// Service, since a new Secret often comes with it.
func (s *secrets) read(ctx context.Context, svc *corev1.Service, again bool) {
	for _, name := range namesOfSecrets(svc) {
		secret := types.NamespacedName{Namespace: svc.Namespace, Name: name}
		s.mu.Lock()
		known, ok := s.known[secret]
		s.mu.Unlock()
		if !ok || again && time.Since(known.at) > 0 {
			s.look(ctx, secret)
		}
	}
}

// look reads a Secret, and says so if it is another than before. What cannot be read stays as it is known.
func (s *secrets) look(ctx context.Context, name types.NamespacedName) (changed bool) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	object, err := s.get(ctx, name.Namespace, name.Name)
	var now lbsync.Secret
	switch {
	case err == nil:
		now = lbsync.SecretOf(object)
	case apierrors.IsNotFound(err):
		now = lbsync.SecretOf(nil)
	case apierrors.IsForbidden(err):
		now = lbsync.Secret{Problem: fmt.Sprintf("must not be read by %s; grant it the verb get on secrets", s.reader)}
	default:
		klog.FromContext(ctx).Error(err, "A Secret cannot be read, what is known of it stays", "secret", name)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.known[name]
	s.known[name] = secretRead{now, time.Now()}
	return known && before.Secret != now || !known
}

// run reads Secrets again and forgets those that nobody needs, until ctx ends.
func (s *secrets) run(ctx context.Context, needed func() map[types.NamespacedName]bool) {
	ticker := time.NewTicker(secretsLook)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := needed()
		s.mu.Lock()
		for name := range s.known {
			if !now[name] {
				delete(s.known, name)
			}
		}
		var due []types.NamespacedName
		for name := range now {
			read, known := s.known[name]
			if every := time.Since(read.at); !known || read.Problem != "" || every >= secretsEvery {
				due = append(due, name)
			}
		}
		s.mu.Unlock()
		for _, name := range due {
			if s.look(ctx, name) {
				s.changed(name)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// neededSecrets are the Secrets that all Services of ours name.
func (c *Controller) neededSecrets() map[types.NamespacedName]bool {
	out := map[types.NamespacedName]bool{}
	for _, svc := range c.certified("") {
		for _, name := range namesOfSecrets(svc) {
			out[types.NamespacedName{Namespace: svc.Namespace, Name: name}] = true
		}
	}
	return out
}
