// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/clbsync/clbsync/nodeagent/internal/nettest"
)

// API is a list and watch server for the few kinds that a proxy reads. It serves JSON, selects by label and by
// metadata.name, refuses what it does not know, and keeps the Events that it is sent.
type API struct {
	mu      sync.Mutex
	version int
	objects map[string]map[string]runtime.Object // by resource, then namespace/name
	history []change
	changed chan struct{} // closed at each change
	events  []corev1.Event
	gone    chan struct{}
}

type change struct {
	version  int
	resource string
	kind     string // ADDED, MODIFIED, DELETED
	object   runtime.Object
}

// kinds are what a resource's list is called.
var kinds = map[string]metav1.TypeMeta{
	"services":       {APIVersion: "v1", Kind: "Service"},
	"nodes":          {APIVersion: "v1", Kind: "Node"},
	"endpointslices": {APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
	"servicecidrs":   {APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR"},
}

// NewAPI returns a server without objects.
func NewAPI(t testing.TB) *API {
	a := &API{version: 1, objects: map[string]map[string]runtime.Object{}, changed: make(chan struct{}), gone: make(chan struct{})}
	for resource := range kinds {
		a.objects[resource] = map[string]runtime.Object{}
	}
	t.Cleanup(func() { close(a.gone) })
	return a
}

// Serve listens on a port of the namespace's loopback and returns a kubeconfig for it.
func (a *API) Serve(t testing.TB, n *nettest.Namespace, port int) (kubeconfig string) {
	t.Helper()
	var listener net.Listener
	var err error
	n.Do(func() { listener, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)) })
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener) //nolint:errcheck // ends with Close
	t.Cleanup(func() { server.Close() })
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:%d"}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"users":[{"name":"u","user":{}}],"current-context":"c"}`, port)
}

func resourceOf(object runtime.Object) string {
	switch o := object.(type) {
	case *corev1.Service:
		o.TypeMeta = kinds["services"]
		return "services"
	case *corev1.Node:
		o.TypeMeta = kinds["nodes"]
		return "nodes"
	case *discoveryv1.EndpointSlice:
		o.TypeMeta = kinds["endpointslices"]
		return "endpointslices"
	}
	panic(fmt.Sprintf("no resource for %T", object))
}

// Put adds or replaces objects. They belong to the server from then on.
func (a *API) Put(objects ...runtime.Object) { a.write(false, objects) }

// Delete removes objects.
func (a *API) Delete(objects ...runtime.Object) { a.write(true, objects) }

func (a *API) write(remove bool, objects []runtime.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, given := range objects {
		object := given.DeepCopyObject()
		resource := resourceOf(object)
		m := object.(metav1.Object)
		a.version++
		m.SetResourceVersion(strconv.Itoa(a.version))
		key := m.GetNamespace() + "/" + m.GetName()
		kind := "ADDED"
		if _, exists := a.objects[resource][key]; exists {
			kind = "MODIFIED"
		}
		a.objects[resource][key] = object
		if remove {
			kind = "DELETED"
			delete(a.objects[resource], key)
		}
		a.history = append(a.history, change{a.version, resource, kind, object})
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// Events returns the Events that clients have sent.
func (a *API) Events() []corev1.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]corev1.Event{}, a.events...)
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource := parts[len(parts)-1]
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodPost && resource == "events":
		a.addEvent(w, r)
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, r.Method+" "+r.URL.Path)
	case len(parts) >= 2 && parts[len(parts)-2] == "nodes":
		a.one(w, "nodes", "/"+resource)
	case kinds[resource].Kind == "":
		refuse(w, http.StatusNotFound, r.URL.Path)
	case r.URL.Query().Get("sendInitialEvents") != "":
		refuse(w, http.StatusUnprocessableEntity, "sendInitialEvents is not supported")
	case r.URL.Query().Get("watch") != "":
		a.watch(w, r, resource)
	default:
		a.list(w, r, resource)
	}
}

func refuse(w http.ResponseWriter, code int, message string) {
	w.WriteHeader(code)
	write(w, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Message: message,
		Reason: map[int]metav1.StatusReason{404: metav1.StatusReasonNotFound, 410: metav1.StatusReasonExpired, 422: metav1.StatusReasonInvalid}[code]})
}

func write(w http.ResponseWriter, object any) {
	if err := json.NewEncoder(w).Encode(object); err != nil {
		return // the client went away
	}
}

func (a *API) addEvent(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the client went away
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil) // JSON or protobuf
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	var e corev1.Event
	switch o := object.(type) {
	case *corev1.Event:
		e = *o
	case *eventsv1.Event:
		e = corev1.Event{Reason: o.Reason, Message: o.Note, InvolvedObject: o.Regarding, Type: o.Type}
	default:
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("%T is no Event", o))
		return
	}
	a.mu.Lock()
	a.events = append(a.events, e)
	a.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	write(w, object)
}

func (a *API) one(w http.ResponseWriter, resource, key string) {
	a.mu.Lock()
	object := a.objects[resource][key]
	a.mu.Unlock()
	if object == nil {
		refuse(w, http.StatusNotFound, key)
		return
	}
	write(w, object)
}

// selected tells whether the request's selectors take the object.
func selected(r *http.Request, object runtime.Object) bool {
	m := object.(metav1.Object)
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil || !selector.Matches(labels.Set(m.GetLabels())) {
		return false
	}
	known := fields.Set{"metadata.name": m.GetName()}
	if s, isService := object.(*corev1.Service); isService {
		known["spec.clusterIP"] = s.Spec.ClusterIP
	}
	field, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	return err == nil && field.Matches(known)
}

func (a *API) list(w http.ResponseWriter, r *http.Request, resource string) {
	a.mu.Lock()
	items := []runtime.Object{}
	for _, object := range a.objects[resource] {
		if selected(r, object) {
			items = append(items, object)
		}
	}
	version := a.version
	a.mu.Unlock()
	write(w, map[string]any{"apiVersion": kinds[resource].APIVersion, "kind": kinds[resource].Kind + "List",
		"metadata": map[string]string{"resourceVersion": strconv.Itoa(version)}, "items": items})
}

func (a *API) watch(w http.ResponseWriter, r *http.Request, resource string) {
	from, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		refuse(w, http.StatusGone, "a watch must begin at a resourceVersion")
		return
	}
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for next := 0; ; {
		a.mu.Lock()
		pending, changed := a.history[next:], a.changed
		a.mu.Unlock()
		next += len(pending)
		for _, c := range pending {
			if c.version > from && c.resource == resource && selected(r, c.object) {
				write(w, map[string]any{"type": c.kind, "object": c.object})
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-a.gone:
			return
		}
	}
}
