// SPDX-License-Identifier: Apache-2.0

//go:build race

package agent_test

func init() { raced = true } //nolint:gochecknoinits // a build tag can set a variable in no other way
