// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// Remaining returns the Services, as namespace/name in order, that still have a CLB of ours, or traces of one. With
// Settings.Release all is done when there are none. It is for when the caches have synced: before that, none means nothing.
func (c *Controller) Remaining() ([]string, error) {
	all, err := c.services.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	var left []string
	for _, svc := range all {
		if c.mine(svc) {
			left = append(left, svc.Namespace+"/"+svc.Name)
		}
	}
	slices.Sort(left)
	return left, nil
}
