// SPDX-License-Identifier: Apache-2.0

// Package examples holds manifests that people copy; its tests check that they say what their comments
// promise. It decides nothing and nobody calls it.
package examples
