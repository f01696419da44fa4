// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"fmt"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

// What a cloud config says that it is.
const (
	configVersion = "clbsync.io/v1alpha1"
	configKind    = "CloudConfig"
)

// CloudConfig is the file of --cloud-config. Every key that may be in it is a row of Fields.
type CloudConfig struct {
	Region   string          // "ap-guangzhou"
	Settings lbsync.Settings // ClassOnly is not in the file: it is a flag of the program

	Credentials Credentials // zero: the program finds some (environment, profile file, TKE OIDC, role of the CVM)
	Endpoints   Endpoints   // zero: Tencent Cloud's own
	RateLimits  RateLimits  // zero: the cloud client's own

	Gather         time.Duration // how long changes are gathered before they are written; 0: the controller's default
	VerifyInterval time.Duration // how often a CLB that nothing happens to is compared with its Service; 0: the controller's default
}

// Credentials are what requests to Tencent Cloud are signed with, or the Directory whose files hold it. However they are
// printed, SecretKey and Token are not: a config ends up in logs and bug reports sooner or later.
type Credentials struct{ SecretID, SecretKey, Token, Directory string }

func (c Credentials) String() string {
	if c == (Credentials{}) {
		return "none"
	}
	if c.Directory != "" {
		return "those in " + c.Directory
	}
	return fmt.Sprintf("{SecretID:%s SecretKey:*** Token:***}", c.SecretID)
}

// GoString is String, for %#v.
func (c Credentials) GoString() string { return c.String() }

// MarshalText is String, for JSON and structured logs.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Endpoints are URLs such as "http://127.0.0.1:8090"; an empty one is Tencent Cloud's own.
type Endpoints struct{ CLB, CVM, VPC, Tag, STS, Metadata string }

// RateLimits bounds the requests/s of each action. Default 0 is the cloud client's own; Actions has
// exceptions by the action's name, such as "DescribeTargets".
type RateLimits struct {
	Default float64
	Actions map[string]float64
}
