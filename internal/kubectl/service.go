// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/clbsync/clbsync/lbsync"
	"github.com/clbsync/clbsync/lbsync/annotation"
	"github.com/clbsync/clbsync/lbsync/controller"
)

// about is a Service with all that could be found out about it.
type about struct {
	service *corev1.Service
	events  []corev1.Event // the latest last
	looked  bool           // finding is filled in
	finding lbsync.Finding
	health  map[lbsync.Binding]lbsync.Health // nil: not read
	unread  string                           // why finding is not filled in
}

// read finds out about a Service. Without a cloud config it leaves out what the cloud has.
func (r *run) read(ctx context.Context, name string) (about, error) {
	var a about
	cluster, err := r.Kube(r.place)
	if err != nil {
		return a, err
	}
	if a.service, err = cluster.Client.CoreV1().Services(cluster.Namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
		return a, err
	}
	if a.events, err = eventsOf(ctx, cluster.Client, a.service); err != nil {
		return a, err
	}
	if r.config() == "" {
		a.unread = "no --cloud-config was given, so what follows is what the controller last wrote into the cluster, and not what CLB has"
		return a, nil
	}
	cloud, settings, err := r.cloud(ctx)
	if err != nil {
		return a, err
	}
	a.looked = true
	if a.finding, err = examine(ctx, cluster, cloud, settings, name); err != nil {
		return a, err
	}
	if i := a.finding.Actual.Instance; i.ID != "" {
		there, err := cloud.Region(i.Region)
		if err != nil {
			return a, err
		}
		healths, err := there.Health(ctx, []string{i.ID})
		if err != nil {
			return a, err
		}
		a.health = healths[i.ID]
	}
	return a, nil
}

// examine asks the controller's own code, once.
func examine(ctx context.Context, cluster Cluster, cloud Cloud, settings lbsync.Settings, service string) (lbsync.Finding, error) {
	ctx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactory(cluster.Client, 0)
	defer factory.Shutdown()
	defer cancel()
	c, err := controller.New(controller.Config{Client: cluster.Client, Dynamic: cluster.Dynamic, Informers: factory, Cloud: cloud,
		Regions:  func(region string) (controller.Cloud, error) { return cloud.Region(region) },
		Settings: settings, Instances: cloud.Instances(), TargetQuota: cloud.Quota, DryRun: true})
	if err != nil {
		return lbsync.Finding{}, err
	}
	factory.StartWithContext(ctx)
	return c.Examine(ctx, types.NamespacedName{Namespace: cluster.Namespace, Name: service})
}

// eventsOf returns the Events about a Service that the cluster still has.
func eventsOf(ctx context.Context, client kubernetes.Interface, svc *corev1.Service) ([]corev1.Event, error) {
	selector := "involvedObject.uid=" + string(svc.UID)
	list, err := client.CoreV1().Events(svc.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("events of Service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	events := slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.InvolvedObject.UID != svc.UID })
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	return events, nil
}

func eventTime(e corev1.Event) time.Time {
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	if !e.EventTime.IsZero() {
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

func (r *run) explain() *cobra.Command {
	c := r.sub("explain", "SERVICE", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), r.timeout)
		defer cancel()
		a, err := r.read(ctx, args[0])
		if err != nil {
			return err
		}
		return r.print(a.value(), a.text(r.Now()))
	})
	return r.namespaced(c)
}

// planned is the answer of plan.
type planned struct {
	Service string   `json:"service"`
	Source  string   `json:"source"`            // where it comes from, for people
	Blocked []string `json:"blocked,omitempty"` // why nothing may be changed
	Failure string   `json:"failure,omitempty"` // why it cannot be said
	Changes []string `json:"changes"`           // in the order in which they would be made
}

func (r *run) plan() *cobra.Command {
	c := r.sub("plan", "SERVICE", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), r.timeout)
		defer cancel()
		p, err := r.planOf(ctx, args[0])
		if err != nil {
			return err
		}
		if err := r.print(p, p.text()); err != nil {
			return err
		}
		switch {
		case p.Failure != "":
			return fmt.Errorf("what would be changed cannot be said: %s", p.Failure)
		case len(p.Changes) > 0:
			return errChanges
		}
		return nil
	})
	return r.namespaced(c)
}

// planOf works the plan out where there is a cloud config, and takes the controller's own from the annotation where not.
func (r *run) planOf(ctx context.Context, name string) (planned, error) {
	a, err := r.read(ctx, name)
	if err != nil {
		return planned{}, err
	}
	p := planned{Service: a.service.Namespace + "/" + a.service.Name, Source: "worked out now", Changes: []string{}}
	if !a.looked {
		text, shown := a.service.Annotations[annotation.Plan]
		if !shown {
			return p, usage("--cloud-config is missing, and the Service shows no plan of the controller's: annotate it with %s: plan, or give the cloud config", annotation.Mode)
		}
		p.Source = "the controller's, from the annotation " + annotation.Plan
		if strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-") || strings.HasPrefix(text, "~") {
			p.Changes = lines(text)
		} else if text != "Nothing to change" {
			p.Blocked = []string{text}
		}
		return p, nil
	}
	for _, s := range a.finding.Skips {
		if s.Blocking {
			p.Blocked = append(p.Blocked, s.Message)
		}
	}
	if a.finding.Failure != nil {
		p.Failure = a.finding.Failure.Error()
	}
	p.Changes = append(p.Changes, lines(a.finding.Plan.String())...)
	return p, nil
}

func lines(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func (p planned) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Service %s (%s)\n", p.Service, p.Source)
	for _, why := range p.Blocked {
		fmt.Fprintf(&b, "Nothing may be changed: %s\n", why)
	}
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "  %s\n", c)
	}
	if len(p.Changes)+len(p.Blocked) == 0 && p.Failure == "" {
		b.WriteString("Nothing to change\n")
	}
	return b.String()
}

// age is a time ago, short.
func age(at, now time.Time) string {
	switch d := now.Sub(at); {
	case at.IsZero():
		return "?"
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
