// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/clbsync/clbsync/internal/kubetest"
)

// cluster is as much of an API server as the program needs for one Service on one node: it lists, holds watches open, and keeps
// what is written. It is no test of what an API server refuses; the lab is.
type cluster struct {
	*httptest.Server
	mu     sync.Mutex
	wrote  strings.Builder
	status chan []byte // patches of the Service
	denied string      // a resource that RBAC does not allow
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{status: make(chan []byte, 100)}
	c.Server = httptest.NewServer(c)
	t.Cleanup(func() { c.CloseClientConnections(); c.Close() })
	return c
}

// written is everything that the program has sent.
func (c *cluster) written() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrote.String()
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	fmt.Fprintf(&c.wrote, "%s %s %v\n%s\n", r.Method, r.URL, r.Header, body)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	switch {
	case r.URL.Path == "/version":
		answer(map[string]string{"major": "1", "minor": "37", "gitVersion": "v1.37.2"})
	case r.URL.Path == "/healthz":
		_, _ = io.WriteString(w, "ok")
	case r.URL.Query().Get("sendInitialEvents") != "":
		// What an API server without WatchList says; clients list then.
		w.WriteHeader(http.StatusUnprocessableEntity)
		answer(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
	case r.URL.Query().Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		var review authorizationv1.SelfSubjectAccessReview
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, &review); err != nil { // JSON or protobuf
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		review.TypeMeta = metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"}
		review.Status.Allowed = review.Spec.ResourceAttributes.Resource != c.denied
		w.WriteHeader(http.StatusCreated)
		answer(review)
	case r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/status"):
		c.status <- body
		svc := service()
		svc.ResourceVersion = "2"
		answer(svc)
	case r.Method == http.MethodPost:
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	case r.URL.Path == "/api/v1/services":
		answer(corev1.ServiceList{TypeMeta: metav1.TypeMeta{Kind: "ServiceList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.Service{*service()}})
	case r.URL.Path == "/api/v1/nodes":
		answer(corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.Node{*kubetest.Node(1)}})
	case strings.HasSuffix(r.URL.Path, "/pods"):
		answer(map[string]any{"kind": "PodList", "apiVersion": "v1", "metadata": map[string]string{"resourceVersion": "1"}, "items": []any{}})
	case strings.HasSuffix(r.URL.Path, "/endpointslices"):
		answer(map[string]any{"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": map[string]string{"resourceVersion": "1"}, "items": []any{}})
	default:
		w.WriteHeader(http.StatusNotFound)
		answer(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound})
	}
}

func service() *corev1.Service {
	svc := kubetest.Service("web")
	svc.TypeMeta = metav1.TypeMeta{Kind: "Service", APIVersion: "v1"}
	svc.ResourceVersion = "1"
	svc.Finalizers = []string{"service.kubernetes.io/load-balancer-cleanup"}
	return svc
}
