// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	valid := Config{Region: "ap-guangzhou", VPCID: "vpc-2ab3c4d5"}
	if err := valid.Validate(); err != nil {
		t.Fatalf("the least configuration is refused: %v", err)
	}
	for _, test := range []struct {
		name  string
		spoil func(*Config)
		want  string
	}{
		{"a region is required", func(c *Config) { c.Region = "" }, `region: is required, such as "ap-guangzhou"`},
		{"a VPC is required", func(c *Config) { c.VPCID = "" }, `vpcID: "" is not the ID of a VPC`},
		{"a subnet is not a VPC", func(c *Config) { c.VPCID = "subnet-1" }, `vpcID: "subnet-1" is not the ID of a VPC`},
		{"a key needs its ID", func(c *Config) { c.Credentials.SecretKey = "k" }, "credentials: secretID and secretKey go together"},
		{"a token needs its key", func(c *Config) { c.Credentials.Token = "t" }, "credentials.token: needs the secretID"},
		{"an endpoint has a scheme", func(c *Config) { c.Endpoints.CLB = "127.0.0.1:8090" }, `endpoints.clb: "127.0.0.1:8090" is not a URL`},
		{"an endpoint is of HTTP", func(c *Config) { c.Endpoints.CVM = "ftp://x" }, `endpoints.cvm: "ftp://x" is not a URL`},
		{"an endpoint has no query", func(c *Config) { c.Endpoints.Tag = "http://x?a=b" }, `endpoints.tag: "http://x?a=b" is not a URL`},
		{"a rate is positive", func(c *Config) { c.RateLimits.Default = -1 }, "rateLimits.default: -1 is not a number of requests per second"},
		{"an action's rate is positive", func(c *Config) { c.RateLimits.Actions = map[string]float64{"DescribeTargets": -2} }, "rateLimits.actions.DescribeTargets: -2"},
		{"a duration is not negative", func(c *Config) { c.Timeout = -time.Second }, "timeout: -1s is negative"},
		{"a language is one of two", func(c *Config) { c.Language = "de" }, `language: "de" is not "en-US" or "zh-CN"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := valid
			test.spoil(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q in it", err, test.want)
			}
			if _, err := New(t.Context(), c); err == nil {
				t.Error("New takes it")
			}
		})
	}
	t.Run("every fault is named at once", func(t *testing.T) {
		err := Config{Language: "de"}.Validate()
		for _, field := range []string{"region:", "vpcID:", "language:"} {
			if !strings.Contains(err.Error(), field) {
				t.Errorf("%q is not in %v", field, err)
			}
		}
	})
}

func TestCredentialsHideTheSecret(t *testing.T) {
	c := Config{Credentials: Credentials{SecretID: "AKIDEXAMPLE", SecretKey: "hush", Token: "whisper"}}
	asJSON, err := json.Marshal(c.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%v", &c), string(asJSON)} {
		if strings.Contains(text, "hush") || strings.Contains(text, "whisper") {
			t.Errorf("the secret is in %s", text)
		}
		if !strings.Contains(text, "AKIDEXAMPLE") {
			t.Errorf("the ID, by which a person finds the key, is not in %s", text)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for _, test := range []struct{ name, endpoint, scheme, host string }{
		{"plain HTTP with a port", "http://127.0.0.1:8090", "HTTP", "127.0.0.1:8090"},
		{"a slash at the end means nothing", "https://clb.internal.tencentcloudapi.com/", "HTTPS", "clb.internal.tencentcloudapi.com"},
		{"a path is kept", "https://gateway.example/clb", "HTTPS", "gateway.example/clb"},
		{"none is Tencent Cloud's own", "", "HTTPS", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := Config{Timeout: 1500 * time.Millisecond}.profile(test.endpoint).HttpProfile
			if p.Scheme != test.scheme || p.Endpoint != test.host {
				t.Errorf("got %s %s, want %s %s", p.Scheme, p.Endpoint, test.scheme, test.host)
			}
			if p.ReqTimeout != 2 {
				t.Errorf("the SDK's timeout is %d s, want 2: whole seconds, never less than asked", p.ReqTimeout)
			}
		})
	}
}
