// SPDX-License-Identifier: Apache-2.0

// Package deploy holds manifests that are applied as they are; its tests check that the rights in them stay
// small. It decides nothing and nobody calls it.
package deploy
