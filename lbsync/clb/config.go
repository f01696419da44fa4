// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What a Config's zero fields mean. CLB takes about 20 requests/s of each action, from everybody who uses
// the account; TKE's own controller may be one of them.
const (
	rateLimit   = 15.0
	timeout     = 30 * time.Second
	taskTimeout = 2 * time.Minute
	instanceTTL = time.Minute
	language    = "en-US"
)

// Config says which part of Tencent Cloud a Client talks to, and how. Region and VPCID are required.
type Config struct {
	Region      string        // "ap-guangzhou"
	VPCID       string        // "vpc-…": where instances are looked up, and where a CLB goes that names no VPC
	Credentials Credentials   // zero: those of the environment, a profile file, TKE OIDC or the CVM's role
	Endpoints   Endpoints     // zero: Tencent Cloud's own
	RateLimits  RateLimits    // zero: 15 requests/s of each action
	Timeout     time.Duration // of one request; 0: 30 s
	TaskTimeout time.Duration // how long CLB may work on one change; 0: 2 min
	InstanceTTL time.Duration // age at which what is known of a CVM instance is read again; 0: 1 min
	Language    string        // of the API's messages, "zh-CN" or "en-US"; "": "en-US"
	UserAgent   string        // program and version, sent with each request; may be empty

	away string // Region, of a client for another region than the program's own

	Transport http.RoundTripper // carries the requests to every endpoint; nil: HTTP with connections of its own
}

// Credentials are what requests are signed with, or the Directory whose files hold it, which are followed: secretID,
// secretKey and, if there is one, token. Its text hides the secret.
type Credentials struct{ SecretID, SecretKey, Token, Directory string }

// String names the SecretID, which Tencent Cloud treats as public, and nothing else.
func (c Credentials) String() string {
	if c.Directory != "" {
		return "those in " + c.Directory
	}
	return fmt.Sprintf("{SecretID:%s SecretKey:*** Token:***}", c.SecretID)
}

// GoString keeps the secret out of %#v.
func (c Credentials) GoString() string { return c.String() }

// MarshalText keeps the secret out of JSON logs.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Endpoints are URLs such as "http://127.0.0.1:8090"; an empty one is Tencent Cloud's own.
type Endpoints struct{ CLB, CVM, VPC, Tag, STS, Metadata string }

// RateLimits bounds the requests/s of each action. Default 0 is 15; Actions has exceptions by name, such as
// "DescribeListeners".
type RateLimits struct {
	Default float64
	Actions map[string]float64
}

func (r RateLimits) of(action string) float64 {
	return cmp.Or(r.Actions[action], r.Default, rateLimit)
}

// Validate returns every fault of the configuration, each with the field, its value and what would be right.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Region == "" {
		fault(`region: is required, such as "ap-guangzhou"`)
	}
	if !strings.HasPrefix(c.VPCID, "vpc-") {
		fault(`vpcID: %q is not the ID of a VPC, such as "vpc-2ab3c4d5"`, c.VPCID)
	}
	if cr := c.Credentials; (cr.SecretID == "") != (cr.SecretKey == "") {
		fault("credentials: secretID and secretKey go together; only one of them is set")
	} else if cr.Token != "" && cr.SecretID == "" {
		fault("credentials.token: needs the secretID and secretKey that were issued with it")
	} else if cr.Directory != "" && cr.SecretID != "" {
		fault("credentials.directory: %q is given besides secretID; only one of them can be", cr.Directory)
	}
	for _, e := range []struct{ name, value string }{
		{"clb", c.Endpoints.CLB}, {"cvm", c.Endpoints.CVM}, {"vpc", c.Endpoints.VPC}, {"tag", c.Endpoints.Tag}, {"sts", c.Endpoints.STS}, {"metadata", c.Endpoints.Metadata},
	} {
		if e.value != "" && !validURL(e.value) {
			fault(`endpoints.%s: %q is not a URL, such as "https://%s.internal.tencentcloudapi.com"`, e.name, e.value, e.name)
		}
	}
	limit := func(name string, v float64) {
		if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			fault("rateLimits.%s: %v is not a number of requests per second above 0, such as 15", name, v)
		}
	}
	limit("default", c.RateLimits.Default)
	for action, v := range c.RateLimits.Actions {
		limit("actions."+action, v)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"timeout", c.Timeout}, {"taskTimeout", c.TaskTimeout}, {"instanceTTL", c.InstanceTTL}} {
		if d.value < 0 {
			fault("%s: %s is negative; a duration such as 30s is right", d.name, d.value)
		}
	}
	if !slices.Contains([]string{"", "en-US", "zh-CN"}, c.Language) {
		fault(`language: %q is not "en-US" or "zh-CN"`, c.Language)
	}
	return errors.Join(faults...)
}

func validURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil
}

// complete fills in what zero fields mean.
func (c Config) complete() Config {
	c.Timeout = cmp.Or(c.Timeout, timeout)
	c.TaskTimeout = cmp.Or(c.TaskTimeout, taskTimeout)
	c.InstanceTTL = cmp.Or(c.InstanceTTL, instanceTTL)
	c.Language = cmp.Or(c.Language, language)
	if c.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		// Go keeps two idle connections per host: a controller that works on twenty CLBs at once would pay a
		// TLS handshake for most requests. CLB's front end drops idle ones after about a minute.
		t.MaxIdleConnsPerHost = 32
		t.IdleConnTimeout = 30 * time.Second
		c.Transport = t
	}
	return c
}
