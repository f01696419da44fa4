// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package datapath

import (
	"context"
	"errors"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// Path forwards packets on Linux only.
type Path struct{}

var errLinux = errors.New("the data path needs Linux with nftables")

// Forward always fails.
func (*Path) Forward(context.Context, cloud.Forwarding) error { return errLinux }

// Close always fails.
func (*Path) Close(context.Context) error { return errLinux }
