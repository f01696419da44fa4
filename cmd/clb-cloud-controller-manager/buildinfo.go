// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/clbsync/clbsync/internal/version"
)

// registerBuildInfo says in the metrics which build runs. Upstream's own such metric, kubernetes_build_info,
// would name a Kubernetes version that was never released.
func registerBuildInfo() {
	info := metrics.NewGaugeVec(&metrics.GaugeOpts{
		Name: "clbsync_build_info", Help: "Which build runs; always 1.", StabilityLevel: metrics.ALPHA,
	}, []string{"version", "commit", "go_version"})
	legacyregistry.MustRegister(info)
	info.WithLabelValues(version.Version(), version.Commit(), runtime.Version()).Set(1)
}
