// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"

	"github.com/clbsync/clbsync/clbsim/admin"
)

var address = regexp.MustCompile(`^clbsim: (API|admin) on http://(127\.0\.0\.1:\d+)$`)

func TestItStandsAlone(t *testing.T) {
	config := filepath.Join(t.TempDir(), "sim.yaml")
	if err := os.WriteFile(config, []byte("instances: [{id: ins-aaaa0001, privateIP: 10.0.0.11}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", config}, in)
		in.CloseWithError(io.EOF)
		ended <- err
	}()
	ports := map[string]string{}
	for lines := bufio.NewScanner(out); len(ports) < 2 && lines.Scan(); {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			ports[m[1]] = m[2]
		}
	}
	if len(ports) < 2 {
		t.Fatalf("it does not say where it listens: %v, %v", ports, <-ended)
	}
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme, p.HttpProfile.Endpoint = "HTTP", ports["API"]
	c, err := clb.NewClient(common.NewCredential("AKIDEXAMPLE", "SECRETEXAMPLE"), "ap-guangzhou", p)
	if err != nil {
		t.Fatal(err)
	}
	kind := "OPEN"
	create := clb.NewCreateLoadBalancerRequest()
	create.LoadBalancerType = &kind
	if _, err := c.CreateLoadBalancerWithContext(ctx, create); err != nil {
		t.Fatal(err)
	}
	state, err := admin.New("http://" + ports["admin"]).State(ctx)
	if err != nil || len(state.LoadBalancers) != 1 || len(state.Instances) != 1 {
		t.Errorf("the state is %+v, %v; want one load balancer and the file's instance", state, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}

func TestWhatItSays(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("publicVIP: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args      string
		out, fail string
	}{
		{"--help", "Try it:", "help requested"},
		{"--version", "clbsim ", ""},
		{"--lisen x", "", "clbsim --help"},
		{"serve", "", `unexpected argument "serve"`},
		{"--config " + bad, "", "publicVIP"},
		{"--config /nonexistent.yaml", "", "/nonexistent.yaml"},
		{"--listen 127.0.0.1:99999", "", "API port"},
	} {
		var out strings.Builder
		err := run(t.Context(), strings.Fields(tc.args), &out)
		if !strings.Contains(out.String(), tc.out) {
			t.Errorf("clbsim %s prints %q, want %q in it", tc.args, out.String(), tc.out)
		}
		if tc.fail == "" && err != nil || tc.fail != "" && (err == nil || !strings.Contains(err.Error(), tc.fail)) {
			t.Errorf("clbsim %s ends with %v, want %q", tc.args, err, tc.fail)
		}
		if strings.Contains(tc.args, "help") != errors.Is(err, flag.ErrHelp) {
			t.Errorf("clbsim %s: %v", tc.args, err)
		}
	}
}
