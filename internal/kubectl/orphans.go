// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/clbsync/clbsync/lbsync"
)

// orphan is an orphan for programs.
type orphan struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Region  string `json:"region,omitempty"` // if it is not the cluster's
	Address string `json:"address,omitempty"`
	Created string `json:"created,omitempty"`
	Service string `json:"serviceUID"`
	Why     string `json:"why"`
	Deleted bool   `json:"deleted,omitempty"`
}

func (r *run) orphans() *cobra.Command {
	var ids []string
	var yes bool
	c := r.sub("orphans", "", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), r.timeout)
		defer cancel()
		cluster, err := r.Kube(r.place)
		if err != nil {
			return err
		}
		cloud, settings, err := r.cloud(ctx)
		if err != nil {
			return err
		}
		found, unread, err := look(ctx, cluster.Client, cloud, settings)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return errors.Join(r.print(forPrograms(found, nil), orphansText(found, settings.ClusterID)), unread)
		}
		return r.remove(ctx, cluster.Client, cloud, settings, found, ids, yes)
	})
	c.Flags().StringSliceVar(&ids, "delete", nil, "IDs of orphans to delete, such as lb-2ab3c4d5")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "delete without asking")
	return r.cluster(c)
}

// look compares what the cloud has with what the cluster has now. unread is which regions could not be looked into.
func look(ctx context.Context, client kubernetes.Interface, cloud Cloud, settings lbsync.Settings) (found []lbsync.Orphan, unread, err error) {
	before, err := servicesOf(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	// The cloud between two readings of the cluster: a Service that comes in between has its CLB after it, and not before.
	var everywhere [][]lbsync.Owned
	for _, region := range settings.Regions(before) {
		there, err := cloud.Region(region)
		var owned []lbsync.Owned
		if err == nil {
			owned, err = there.Owned(ctx, settings.ClusterID)
		}
		switch {
		case err != nil && region == "":
			return nil, nil, err
		case err != nil:
			unread = errors.Join(unread, fmt.Errorf("%s could not be looked into: %w", region, err))
		}
		owned = slices.DeleteFunc(owned, func(o lbsync.Owned) bool { return o.Region != region }) // the cluster's, by its name
		everywhere = append(everywhere, owned)
	}
	after, err := servicesOf(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	uids := map[string]bool{}
	for _, svc := range after {
		uids[string(svc.UID)] = true
	}
	for _, owned := range everywhere {
		found = append(found, lbsync.Orphans(owned, uids)...)
	}
	return found, unread, nil
}

func servicesOf(ctx context.Context, client kubernetes.Interface) ([]*corev1.Service, error) {
	list, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("services of the cluster: %w", err)
	}
	out := make([]*corev1.Service, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}

// remove deletes the orphans with the IDs, after a person has said yes and a second reading found them as the first did.
func (r *run) remove(ctx context.Context, client kubernetes.Interface, cloud Cloud, settings lbsync.Settings, found []lbsync.Orphan, ids []string, yes bool) error {
	before, err := choose(found, ids)
	if err != nil {
		return err
	}
	if !yes {
		fmt.Fprint(r.Err, orphansText(before, settings.ClusterID))
		fmt.Fprintf(r.Err, "Delete %s for good, and its listeners with it? Type yes: ", strings.Join(ids, ", "))
		line, _ := bufio.NewReader(r.In).ReadString('\n')
		if strings.TrimSpace(line) != "yes" {
			return fmt.Errorf("nothing was deleted")
		}
	}
	// One reading proves little: a CLB may be listed before its Service is, and a person takes time to answer.
	if found, _, err = look(ctx, client, cloud, settings); err != nil {
		return err
	}
	chosen, err := choose(found, ids)
	if err != nil {
		return err
	}
	for i, o := range chosen {
		if o != before[i] {
			return fmt.Errorf("%s was changed since the first reading, and may be in use; nothing was deleted", o.ID)
		}
	}
	var text strings.Builder
	gone := map[string]bool{}
	for _, o := range chosen {
		var there Cloud
		if there, err = cloud.Region(o.Region); err != nil {
			break
		}
		switch o.Kind {
		case lbsync.OwnedCLB:
			err = removeCLB(ctx, there, o)
		default:
			err = there.DeleteSecurityGroups(ctx, o.Owner)
		}
		if err != nil {
			break
		}
		gone[o.ID] = true
		fmt.Fprintf(&text, "Deleted %s %s\n", o.Kind, o.ID)
	}
	if printErr := r.print(forPrograms(chosen, gone), text.String()); err == nil {
		err = printErr
	}
	return err
}

// removeCLB deletes a CLB as the controller does: with its listeners and their targets first.
func removeCLB(ctx context.Context, cloud Cloud, o lbsync.Orphan) error {
	actual, err := cloud.Observe(ctx, o.ID)
	switch {
	case lbsync.KindOf(err) == lbsync.NotFound:
		return nil
	case err != nil:
		return err
	}
	plan := lbsync.Removal(actual, o.Owner)
	if plan.Delete == nil {
		return fmt.Errorf("%s has the tags %v by now, which do not prove that it was made for Service %s of cluster %s; it is left alone", o.ID, actual.Instance.Tags, o.Owner.ServiceUID, o.Owner.ClusterID)
	}
	_, err = plan.Apply(ctx, cloud, actual)
	return err
}

// choose returns the orphans with the IDs, CLBs first: a group cannot go before the CLB that has it.
func choose(found []lbsync.Orphan, ids []string) ([]lbsync.Orphan, error) {
	var chosen []lbsync.Orphan
	for _, id := range ids {
		i := slices.IndexFunc(found, func(o lbsync.Orphan) bool { return o.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("%s is no orphan of this cluster: it is gone, its tags do not prove that it was made for this cluster, or its Service exists; nothing was deleted", id)
		}
		chosen = append(chosen, found[i])
	}
	slices.SortStableFunc(chosen, func(a, b lbsync.Orphan) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	return chosen, nil
}

func forPrograms(found []lbsync.Orphan, gone map[string]bool) []orphan {
	out := []orphan{}
	for _, o := range found {
		out = append(out, orphan{o.ID, string(o.Kind), o.Name, o.Region, o.Address, o.Created, o.Owner.ServiceUID, o.Why, gone[o.ID]})
	}
	return out
}

func orphansText(found []lbsync.Orphan, cluster string) string {
	if len(found) == 0 {
		return fmt.Sprintf("No orphans: all that carries the tags of cluster %s belongs to a Service\n", cluster)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ID\tKIND\tNAME\tREGION\tADDRESS\tCREATED\tWHY\n")
	for _, o := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.ID, o.Kind, o.Name, dash(o.Region), dash(o.Address), dash(o.Created), o.Why)
	}
	_ = w.Flush()
	return b.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
