// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
)

// Environment variables that credentials come from, as Tencent Cloud's tools and TKE's webhook name them.
const (
	envSecretID  = "TENCENTCLOUD_SECRET_ID"
	envSecretKey = "TENCENTCLOUD_SECRET_KEY"
	envToken     = "TENCENTCLOUD_SECURITY_TOKEN"

	envRegion     = "TKE_REGION"
	envProviderID = "TKE_PROVIDER_ID"
	envTokenFile  = "TKE_WEB_IDENTITY_TOKEN_FILE"
	envRoleARN    = "TKE_ROLE_ARN"
)

const (
	metadataURL = "http://metadata.tencentyun.com"
	rolePath    = "/latest/meta-data/cam/security-credentials/"

	fileAge       = 30 * time.Second // how old what was read from a file may be
	roleMargin    = 5 * time.Minute  // before the end of a role's credentials the metadata service has new ones
	oidcLifetime  = 2 * time.Hour
	sourceTimeout = 5 * time.Second // of one read of any source
)

// secret is what requests are signed with, and how long.
type secret struct {
	id, key, token string
	renew          time.Time // from then on it is read again; zero: never
	expire         time.Time // from then on the API refuses it; zero: not known
}

// source is a place where credentials can be.
type source struct {
	name string
	read func(context.Context) (secret, error)
}

// absent is the error of a source where nobody put credentials, and says what was missing. It lets the search go on;
// any other error ends it, lest a typing error in the profile file makes the node's role act instead.
type absent string

func (a absent) Error() string { return string(a) }

// sources returns the places to look, in order.
func sources(cfg Config) []source {
	return []source{
		{"credentials of the cloud config", cfg.readStatic},
		{"credentials directory", cfg.readDirectory},
		{"environment", readEnvironment},
		{"profile file", readProfile},
		{"TKE OIDC", cfg.readOIDC},
		{"CVM role", cfg.readRole},
	}
}

// find returns the first source that has credentials, with them. If there is none, the error lists what was tried.
func find(ctx context.Context, places []source) (source, secret, error) {
	tried := make([]string, 0, len(places))
	for _, s := range places {
		got, err := s.readBounded(ctx)
		if err == nil {
			return s, got, nil
		}
		if _, ok := errors.AsType[absent](err); !ok {
			return s, got, fmt.Errorf("credentials: %s: %w", s.name, err)
		}
		tried = append(tried, s.name+" ("+err.Error()+")")
	}
	return source{}, secret{}, fmt.Errorf("credentials: none found; tried %s", strings.Join(tried, ", "))
}

func (s source) readBounded(ctx context.Context) (secret, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	return s.read(ctx)
}

func (c Config) readStatic(context.Context) (secret, error) {
	if c.Credentials.SecretID == "" {
		return secret{}, absent("secretID is not set")
	}
	return secret{id: c.Credentials.SecretID, key: c.Credentials.SecretKey, token: c.Credentials.Token}, nil
}

// Files of a credentials directory.
const fileSecretID, fileSecretKey, fileToken = "secretID", "secretKey", "token"

// readDirectory reads the files of a mounted Secret.
func (c Config) readDirectory(context.Context) (secret, error) {
	dir := c.Credentials.Directory
	if dir == "" {
		return secret{}, absent("credentials.directory is not set")
	}
	// A mounted Secret is replaced by turning a link to another directory. The files are read behind it, lest the ID is the
	// old one and the key is the new.
	first, err := filepath.EvalSymlinks(filepath.Join(dir, fileSecretID))
	if err != nil {
		return secret{}, err
	}
	s := secret{renew: time.Now().Add(fileAge)}
	for file, value := range map[string]*string{fileSecretID: &s.id, fileSecretKey: &s.key, fileToken: &s.token} {
		text, err := readAtMost(filepath.Join(filepath.Dir(first), file), 64<<10)
		switch {
		case file == fileToken && errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return secret{}, err
		}
		*value = strings.TrimSpace(text)
		if *value == "" || strings.ContainsFunc(*value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return secret{}, fmt.Errorf("%s is empty, or more than one word", filepath.Join(dir, file))
		}
	}
	return s, nil
}

// readAtMost returns the text of a file, or an error if it has more than max bytes.
func readAtMost(path string, max int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("%s has more than %d bytes", path, max)
	}
	return string(text), err
}

func readEnvironment(context.Context) (secret, error) {
	s := secret{id: os.Getenv(envSecretID), key: os.Getenv(envSecretKey), token: os.Getenv(envToken)}
	switch {
	case s.id == "" && s.key == "":
		return s, absent(envSecretID + " is not set")
	case s.id == "":
		return s, fmt.Errorf("%s is set but %s is not", envSecretKey, envSecretID)
	case s.key == "":
		return s, fmt.Errorf("%s is set but %s is not", envSecretID, envSecretKey)
	}
	return s, nil
}

func readProfile(context.Context) (secret, error) {
	path, named := os.LookupEnv(common.EnvCredentialFile)
	if !named {
		home, err := os.UserHomeDir()
		if err != nil {
			return secret{}, absent(common.EnvCredentialFile + " is not set, and there is no home directory")
		}
		path = filepath.Join(home, ".tencentcloud", "credentials")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return secret{}, absent(common.EnvCredentialFile + " is not set, and " + path + " does not exist")
		}
	}
	cred, err := common.DefaultProfileProvider().GetCredential()
	if err != nil {
		return secret{}, fmt.Errorf("%s: %w", path, err)
	}
	s := secret{renew: time.Now().Add(fileAge)}
	s.id, s.key, s.token = cred.GetCredential()
	return s, nil
}

// readOIDC trades the pod's service account token for a role's credentials. The SDK's own provider asks
// for TKE_REGION and then calls another region, has no context, and logs a failure instead of returning it.
func (c Config) readOIDC(ctx context.Context) (secret, error) {
	role := os.Getenv(envRoleARN)
	if role == "" {
		return secret{}, absent(envRoleARN + " is not set")
	}
	provider, file := os.Getenv(envProviderID), os.Getenv(envTokenFile)
	if provider == "" || file == "" {
		return secret{}, fmt.Errorf("%s is set, so %s and %s have to be too", envRoleARN, envProviderID, envTokenFile)
	}
	token, err := os.ReadFile(file) // the kubelet replaces it long before it expires
	if err != nil {
		return secret{}, fmt.Errorf("%s: %w", envTokenFile, err)
	}
	client := common.NewCommonClient(nil, cmp.Or(os.Getenv(envRegion), c.Region), c.profile(c.Endpoints.STS))
	client.WithHttpTransport(c.Transport)
	req := tchttp.NewCommonRequest("sts", "2018-08-13", "AssumeRoleWithWebIdentity")
	req.SetSkipSign(true)
	req.SetContext(ctx)
	if err := req.SetActionParameters(map[string]any{
		"ProviderId":       provider,
		"WebIdentityToken": strings.TrimSpace(string(token)),
		"RoleArn":          role,
		"RoleSessionName":  "clbsync",
		"DurationSeconds":  int64(oidcLifetime / time.Second),
	}); err != nil {
		return secret{}, err
	}
	resp := tchttp.NewCommonResponse()
	if err := client.Send(req, resp); err != nil {
		return secret{}, classify("AssumeRoleWithWebIdentity", err)
	}
	var out struct {
		Response struct {
			Credentials struct{ Token, TmpSecretID, TmpSecretKey string }
			ExpiredTime int64
		}
	}
	if err := json.Unmarshal(resp.GetBody(), &out); err != nil {
		return secret{}, fmt.Errorf("AssumeRoleWithWebIdentity: %w", err)
	}
	r, now := out.Response, time.Now()
	expire := time.Unix(r.ExpiredTime, 0)
	s := secret{id: r.Credentials.TmpSecretID, key: r.Credentials.TmpSecretKey, token: r.Credentials.Token, expire: expire}
	s.renew = now.Add(expire.Sub(now) * 9 / 10)
	return s, s.complete("AssumeRoleWithWebIdentity of " + role)
}

// readRole asks the metadata service of the CVM for the credentials of its role. The SDK's own provider has no
// timeout: outside of Tencent Cloud, where the name may lead nowhere, it would hang for minutes.
func (c Config) readRole(ctx context.Context) (secret, error) {
	base := cmp.Or(c.Endpoints.Metadata, metadataURL) + rolePath
	name, err := c.fetch(ctx, base)
	if err != nil {
		return secret{}, absent(err.Error())
	}
	role := strings.TrimSpace(string(name))
	body, err := c.fetch(ctx, base+role)
	if err != nil {
		return secret{}, err
	}
	var r struct {
		TmpSecretID, TmpSecretKey, Token, Code string
		ExpiredTime                            int64
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return secret{}, fmt.Errorf("%s%s: %w", base, role, err)
	}
	if r.Code != "Success" {
		return secret{}, fmt.Errorf("%s%s: code %q", base, role, r.Code)
	}
	s := secret{id: r.TmpSecretID, key: r.TmpSecretKey, token: r.Token, expire: time.Unix(r.ExpiredTime, 0)}
	s.renew = s.expire.Add(-roleMargin)
	return s, s.complete(base + role)
}

func (c Config) fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	rt := c.Transport
	if t, ok := rt.(*http.Transport); ok {
		direct := t.Clone() // the metadata service answers the CVM itself, not its proxy
		direct.Proxy, direct.DisableKeepAlives = nil, true
		rt = direct
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 64<<10))
}

func (s secret) complete(from string) error {
	if s.id == "" || s.key == "" || s.token == "" {
		return fmt.Errorf("%s: the answer lacks a part of the credentials", from)
	}
	return nil
}
