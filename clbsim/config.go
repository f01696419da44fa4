// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// Duration reads and writes as "1.5s".
type Duration = cloud.Duration

// Instance is a CVM.
type Instance = cloud.Instance

// Zone maps a zone's name to its number.
type Zone = cloud.Zone

// VPC is a network.
type VPC = cloud.VPC

// Subnet is where internal CLBs take their VIP from.
type Subnet = cloud.Subnet

// SecurityGroup admits clients to CLBs that are bound to it.
type SecurityGroup = cloud.SecurityGroup

// ExistingLoadBalancer is a CLB that is there before the first call.
type ExistingLoadBalancer = cloud.ExistingLoadBalancer

// ExistingListener is a listener of an ExistingLoadBalancer.
type ExistingListener = cloud.ExistingListener

// Certificate is one of the account's.
type Certificate = cloud.Certificate

// Config is everything that can be set. Start from Example or Load: the zero
// value is not valid.
type Config struct {
	cloud.Config
	Credentials []Credential `json:"credentials"`
	RateLimits  RateLimits   `json:"rateLimits"`

	// Forwarder carries out what the listeners say, on real packets. Nil: there
	// is no data path.
	Forwarder Forwarder `json:"-"`
	// Prober makes real probes, with health.probe: real. Nil: ordinary sockets.
	Prober Prober `json:"-"`
}

// Credential is an API key that the API accepts.
type Credential struct {
	SecretID     string    `json:"secretID"`
	SecretKey    string    `json:"secretKey"`
	Token        string    `json:"token,omitempty"`       // of temporary credentials
	TokenExpires time.Time `json:"tokenExpires,omitzero"` // zero is never
	Deny         []string  `json:"deny,omitempty"`        // actions without permission, such as clb:DeleteLoadBalancer
}

// RateLimits are requests per second for each action and region; 0 is no
// limit.
type RateLimits struct {
	Default float64            `json:"default"`
	Actions map[string]float64 `json:"actions"`
	Code    string             `json:"code"` // RequestLimitExceeded or one of its dotted forms
}

// Example returns the built-in configuration, on which examples and tests
// agree: region ap-guangzhou, vpc-2ab3c4d5 (10.0.0.0/8), subnet-demo0001 for
// internal VIPs, key AKIDEXAMPLE with secret SECRETEXAMPLE, no instances.
func Example() Config {
	return Config{
		Config:      cloud.Example(),
		Credentials: []Credential{{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE"}},
		RateLimits:  RateLimits{Default: 20, Actions: map[string]float64{}, Code: "RequestLimitExceeded"},
	}
}

// Load reads a YAML file. Keys that it does not have keep their value of
// Example; lists replace Example's. An unknown key is an error that names it.
func Load(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	c, err := Parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse is Load for the content of a file. The configuration that it returns
// has been validated.
func Parse(text []byte) (Config, error) {
	c := Example()
	var given map[string]json.RawMessage
	if err := yaml.UnmarshalStrict(text, &given); err != nil {
		return c, err
	}
	// Decoding into a filled list would reuse its elements: fields that the
	// file leaves out would keep the values of the example's entry.
	clearLists(reflect.ValueOf(&c).Elem(), given)
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return c, err
	}
	return c, c.Validate()
}

func clearLists(v reflect.Value, given map[string]json.RawMessage) {
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		name, _, _ := strings.Cut(t.Tag.Get("json"), ",")
		switch {
		case t.Anonymous:
			clearLists(f, given)
		case f.Kind() == reflect.Slice && given[name] != nil:
			f.SetZero()
		}
	}
}

// Validate completes the configuration and reports every mistake at once.
func (c *Config) Validate() error {
	errs := []error{c.Config.Validate()}
	if len(c.Credentials) == 0 {
		errs = append(errs, errors.New("credentials: want at least one, or nobody can sign a call"))
	}
	for i, k := range c.Credentials {
		if k.SecretID == "" || k.SecretKey == "" {
			errs = append(errs, fmt.Errorf("credentials[%d]: want secretID and secretKey", i))
		}
		for _, d := range k.Deny {
			service, action, _ := strings.Cut(d, ":")
			if a, ok := cloud.Named(action); !ok || a.Service != service {
				errs = append(errs, fmt.Errorf("credentials[%d].deny: %q is not an action such as clb:DeleteLoadBalancer", i, d))
			}
		}
	}
	if c.RateLimits.Default < 0 {
		errs = append(errs, errors.New("rateLimits.default: negative"))
	}
	for action, limit := range c.RateLimits.Actions {
		if _, ok := cloud.Named(action); !ok || limit < 0 {
			errs = append(errs, fmt.Errorf("rateLimits.actions: %s: %v: want a known action and a number that is not negative", action, limit))
		}
	}
	if c.RateLimits.Code != "RequestLimitExceeded" && !strings.HasPrefix(c.RateLimits.Code, "RequestLimitExceeded.") {
		errs = append(errs, fmt.Errorf("rateLimits.code: %q, want RequestLimitExceeded or RequestLimitExceeded.…", c.RateLimits.Code))
	}
	return errors.Join(errs...)
}
