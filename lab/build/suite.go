// SPDX-License-Identifier: Apache-2.0

//go:build suite

package build

// These keep in go.mod and go.sum what suitePrograms builds but nothing imports.
import (
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
)
