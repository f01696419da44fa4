// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clbsync/clbsync/lbsync"
)

// bare takes every source of credentials away that the machine may have.
func bare(t *testing.T) {
	t.Helper()
	for _, v := range []string{envSecretID, envSecretKey, envToken, envRegion, envProviderID, envTokenFile, envRoleARN} {
		t.Setenv(v, "")
	}
	t.Setenv("TENCENTCLOUD_CREDENTIALS_FILE", "")
	if err := os.Unsetenv("TENCENTCLOUD_CREDENTIALS_FILE"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", t.TempDir())
}

func profileFile(t *testing.T, id, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	writeProfile(t, path, id, key)
	return path
}

func writeProfile(t *testing.T, path, id, key string) {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, "[default]\nsecret_id = %s\nsecret_key = %s\n", id, key), 0o600); err != nil {
		t.Fatal(err)
	}
}

// cloudServices answers as the metadata service and STS do.
func cloudServices(expire func() time.Time) *stub {
	n := 0
	return &stub{answer: func(action string, params map[string]any) any {
		switch {
		case strings.HasSuffix(action, rolePath):
			return plain(http.StatusOK, "node-role")
		case strings.HasSuffix(action, rolePath+"node-role"):
			n++
			return plain(http.StatusOK, fmt.Sprintf(`{"TmpSecretId":"role-%d","TmpSecretKey":"k","Token":"t","ExpiredTime":%d,"Code":"Success"}`, n, expire().Unix()))
		case action == "AssumeRoleWithWebIdentity":
			n++
			return map[string]any{"Credentials": map[string]any{"TmpSecretId": fmt.Sprintf("oidc-%d-%v", n, params["WebIdentityToken"]), "TmpSecretKey": "k", "Token": "t"}, "ExpiredTime": expire().Unix()}
		}
		return map[string]any{}
	}}
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

func TestCredentialsAreFound(t *testing.T) {
	oidc := func(t *testing.T) {
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte("jwt\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(envRoleARN, "qcs::cam::uin/1:roleName/clb")
		t.Setenv(envProviderID, "cls-demo")
		t.Setenv(envTokenFile, token)
	}
	environment := func(t *testing.T) { t.Setenv(envSecretID, "env"); t.Setenv(envSecretKey, "k") }
	file := func(t *testing.T) { t.Setenv("TENCENTCLOUD_CREDENTIALS_FILE", profileFile(t, "file", "k")) }
	for _, test := range []struct {
		name  string
		given []func(*testing.T)
		conf  Credentials
		want  string
	}{
		{"the cloud config goes first", []func(*testing.T){environment, file, oidc}, Credentials{SecretID: "conf", SecretKey: "k"}, "conf"},
		{"then the environment", []func(*testing.T){environment, file, oidc}, Credentials{}, "env"},
		{"then the profile file", []func(*testing.T){file, oidc}, Credentials{}, "file"},
		{"then TKE OIDC, which the SDK's own search leaves out", []func(*testing.T){oidc}, Credentials{}, "oidc-1-jwt"},
		{"the role of the CVM is the last", nil, Credentials{}, "role-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bare(t)
			for _, f := range test.given {
				f(t)
			}
			c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Credentials: test.conf, Transport: cloudServices(inAnHour)})
			if err != nil {
				t.Fatal(err)
			}
			if id, key, _ := c.keys.GetCredential(); id != test.want || key != "k" {
				t.Errorf("got %s, want %s", id, test.want)
			}
		})
	}
	for _, test := range []struct {
		name  string
		given func(*testing.T)
		want  string
	}{
		{"a key without its ID in the environment", func(t *testing.T) { t.Setenv(envSecretKey, "k") }, "environment: TENCENTCLOUD_SECRET_KEY is set but TENCENTCLOUD_SECRET_ID is not"},
		{"an ID without its key in the environment", func(t *testing.T) { t.Setenv(envSecretID, "i") }, "environment: TENCENTCLOUD_SECRET_ID is set but TENCENTCLOUD_SECRET_KEY is not"},
		{"a profile file that is not there though it is named", func(t *testing.T) { t.Setenv("TENCENTCLOUD_CREDENTIALS_FILE", "/nonexistent/file") }, "profile file: /nonexistent/file"},
		{"a profile file without a key", func(t *testing.T) {
			t.Setenv("TENCENTCLOUD_CREDENTIALS_FILE", profileFile(t, "file", ""))
		}, "profile file"},
		{"half of what OIDC needs", func(t *testing.T) { t.Setenv(envRoleARN, "r") }, "TKE OIDC: TKE_ROLE_ARN is set, so TKE_PROVIDER_ID and TKE_WEB_IDENTITY_TOKEN_FILE have to be too"},
		{"an OIDC token that is not there", func(t *testing.T) {
			t.Setenv(envRoleARN, "r")
			t.Setenv(envProviderID, "p")
			t.Setenv(envTokenFile, "/nonexistent/token")
		}, "TKE_WEB_IDENTITY_TOKEN_FILE"},
	} {
		t.Run(test.name+" ends the search", func(t *testing.T) {
			bare(t)
			test.given(t)
			_, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: cloudServices(inAnHour)})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
	t.Run("if there are none, the error lists what was tried", func(t *testing.T) {
		bare(t)
		_, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: &stub{answer: inTurn(plain(http.StatusNotFound, ""))}})
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{"credentials of the cloud config (secretID", "environment (TENCENTCLOUD_SECRET_ID", "profile file (", "TKE OIDC (TKE_ROLE_ARN", "CVM role (http://metadata.tencentyun.com"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %v", want, err)
			}
		}
	})
	t.Run("a metadata service that never answers holds nobody up for long", func(t *testing.T) {
		bare(t)
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: hanging{}})
			if took := time.Since(start); err == nil || took > sourceTimeout {
				t.Errorf("got %v after %s", err, took)
			}
		})
	})
	t.Run("nor longer than the caller waits", func(t *testing.T) {
		bare(t)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			_, err := New(ctx, Config{Region: "r", VPCID: "vpc-1", Transport: hanging{}})
			if took := time.Since(start); err == nil || took != time.Second {
				t.Errorf("got %v after %s", err, took)
			}
		})
	})
}

func TestMetadataIsAskedWithoutProxy(t *testing.T) {
	bare(t)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.URL.Path == rolePath {
			_, _ = rw.Write([]byte("r"))
			return
		}
		_, _ = fmt.Fprintf(rw, `{"TmpSecretId":"role","TmpSecretKey":"k","Token":"t","ExpiredTime":%d,"Code":"Success"}`, inAnHour().Unix())
	}))
	t.Cleanup(server.Close)
	proxied := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("the proxy knows no metadata") }}
	c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Endpoints: Endpoints{Metadata: server.URL}, Transport: proxied})
	if err != nil {
		t.Fatal(err)
	}
	if c.keys.GetSecretId() != "role" {
		t.Errorf("got %s", c.keys.GetSecretId())
	}
}

func TestCredentialsRotate(t *testing.T) {
	t.Run("a source that has none but those about to end is not asked all the time", func(t *testing.T) {
		bare(t)
		synctest.Test(t, func(t *testing.T) {
			end := time.Now().Add(4 * time.Minute)
			s := cloudServices(func() time.Time { return end })
			c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			for range 60 {
				if _, err := c.Quotas(t.Context()); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Second)
			}
			if id := c.keys.GetSecretId(); id != "role-7" {
				t.Errorf("after a minute it holds %s, want role-7: one more every 10 s", id)
			}
		})
	})
	t.Run("those of a role are renewed before they end", func(t *testing.T) {
		bare(t)
		synctest.Test(t, func(t *testing.T) {
			c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: cloudServices(inAnHour)})
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(54 * time.Minute)
			use(t, c, "role-1")
			<-time.After(2 * time.Minute)
			use(t, c, "role-2")
		})
	})
	t.Run("the OIDC token is read again with them", func(t *testing.T) {
		bare(t)
		file := filepath.Join(t.TempDir(), "token")
		t.Setenv(envRoleARN, "r")
		t.Setenv(envProviderID, "p")
		t.Setenv(envTokenFile, file)
		put := func(s string) {
			if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put("jwt")
		synctest.Test(t, func(t *testing.T) {
			c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: cloudServices(inAnHour)})
			if err != nil {
				t.Fatal(err)
			}
			put("next")
			<-time.After(53 * time.Minute)
			use(t, c, "oidc-1-jwt")
			<-time.After(2 * time.Minute)
			use(t, c, "oidc-2-next")
		})
	})
	t.Run("a profile file that was replaced is noticed", func(t *testing.T) {
		bare(t)
		path := profileFile(t, "old", "k")
		t.Setenv("TENCENTCLOUD_CREDENTIALS_FILE", path)
		synctest.Test(t, func(t *testing.T) {
			c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: cloudServices(inAnHour)})
			if err != nil {
				t.Fatal(err)
			}
			writeProfile(t, path, "new", "k")
			<-time.After(fileAge)
			use(t, c, "new")
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			<-time.After(fileAge)
			use(t, c, "new") // what works is not thrown away
		})
	})
	t.Run("a refusal has them read at once, and the request sent again", func(t *testing.T) {
		bare(t)
		path := profileFile(t, "old", "k")
		t.Setenv("TENCENTCLOUD_CREDENTIALS_FILE", path)
		var c *Client
		s := &stub{answer: func(string, map[string]any) any {
			if id, _, _ := c.keys.GetCredential(); id == "old" {
				return failure{"AuthFailure.SecretIdNotFound", "no such key"}
			}
			return map[string]any{}
		}}
		var err error
		if c, err = New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Transport: s}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Quotas(t.Context()); lbsync.KindOf(err) != lbsync.Denied || len(s.actions()) != 1 {
			t.Fatalf("with the same file: %v after %v, want one refusal", err, s.actions())
		}
		writeProfile(t, path, "new", "k")
		if _, err := c.Quotas(t.Context()); err != nil || len(s.actions()) != 3 {
			t.Errorf("with a new file: %v after %v", err, s.actions())
		}
	})
	t.Run("when they have ended and no others come, requests are refused here, and all at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			reads := 0
			k := newKeyring(source{"CVM role", func(ctx context.Context) (secret, error) {
				reads++
				<-ctx.Done()
				return secret{}, errors.New("metadata is silent")
			}}, secret{id: "old", renew: time.Now(), expire: time.Now()})
			start := time.Now()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if err := k.fresh(t.Context()); err == nil || !strings.Contains(err.Error(), "metadata is silent") {
						t.Errorf("got %v", err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(start); reads != 1 || took != sourceTimeout {
				t.Errorf("20 callers read %d times in %s, want once in %s", reads, took, sourceTimeout)
			}
		})
	})
	t.Run("while they work, nobody waits for their renewal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			k := newKeyring(source{"x", func(context.Context) (secret, error) {
				<-release
				return secret{id: "new"}, nil
			}}, secret{id: "old", renew: time.Now(), expire: time.Now().Add(time.Hour)})
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := k.fresh(t.Context()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			if err := k.fresh(t.Context()); err != nil || k.GetSecretId() != "old" {
				t.Errorf("got %v with %s", err, k.GetSecretId())
			}
			close(release)
			wg.Wait()
			if k.GetSecretId() != "new" {
				t.Errorf("holds %s after the renewal", k.GetSecretId())
			}
		})
	})
}

// use makes a request and checks whose it is.
func use(t *testing.T, c *Client, want string) {
	t.Helper()
	if _, err := c.Quotas(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.keys.GetSecretId(); got != want {
		t.Errorf("signed by %s, want %s", got, want)
	}
}
