// SPDX-License-Identifier: Apache-2.0

// Package charts holds the Helm chart; its tests check what comes out of it and what it refuses. It decides nothing and nobody
// calls it.
package charts
