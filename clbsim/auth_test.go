// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The vector was made with the SDK and confirmed by an independent
// implementation.
const vectorBody = `{"TaskId":"6c1b2d4e-0000-4000-8000-000000000001"}`

var vectors = []struct {
	timestamp int64
	date      string
	signature string
}{
	{1795363264, "2026-11-22", "cd6cd34f732bcbf9f14c4b306491c46762d21af874a30e521663041b10efbe36"},
	{1700000000, "2023-11-14", "0567226cb5d258d9d10ef9601db2835668f2b60a6a3f4eb2b4e6a1612802d49b"},
}

func signedRequest(t *testing.T, timestamp int64, date, signature string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://clb.tencentcloudapi.com/", strings.NewReader(vectorBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-TC-Timestamp", strconv.FormatInt(timestamp, 10))
	r.Header.Set("Authorization", "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/"+date+"/clb/tc3_request, SignedHeaders=content-type;host, Signature="+signature)
	return r
}

func TestSignatureVectors(t *testing.T) {
	for _, v := range vectors {
		r := signedRequest(t, v.timestamp, v.date, v.signature)
		if _, _, err := authenticate(r, []byte(vectorBody), Example().Credentials, time.Unix(v.timestamp, 0)); err != nil {
			t.Errorf("the vector of %s is refused: %v", v.date, err)
		}
	}
}

func TestAuthenticationRefuses(t *testing.T) {
	v := vectors[0]
	now := time.Unix(v.timestamp, 0)
	temporary := []Credential{{SecretID: "AKIDEXAMPLE", SecretKey: "SECRETEXAMPLE", Token: "token", TokenExpires: now}}
	for _, tc := range []struct {
		name   string
		keys   []Credential
		now    time.Time
		change func(r *http.Request)
		body   string
		want   string // code, "" if it is let in
	}{
		{name: "a clock exactly 5 minutes late is let in", now: now.Add(5 * time.Minute)},
		{name: "a clock 5 minutes and a second late", now: now.Add(5*time.Minute + time.Second), want: "AuthFailure.SignatureExpire"},
		{name: "a clock 5 minutes and a second early", now: now.Add(-5*time.Minute - time.Second), want: "AuthFailure.SignatureExpire"},
		{name: "a body that was changed on the way", body: `{"TaskId":"x"}`, want: "AuthFailure.SignatureFailure"},
		{name: "another host than was signed", change: func(r *http.Request) { r.Host = "cvm.tencentcloudapi.com" }, want: "AuthFailure.SignatureFailure"},
		{name: "a key that is unknown", keys: []Credential{{SecretID: "AKIDOTHER", SecretKey: "x"}}, want: "AuthFailure.SecretIdNotFound"},
		{name: "a wrong key", keys: []Credential{{SecretID: "AKIDEXAMPLE", SecretKey: "x"}}, want: "AuthFailure.SignatureFailure"},
		{name: "no header", change: func(r *http.Request) { r.Header.Del("Authorization") }, want: "AuthFailure.InvalidAuthorization"},
		{name: "the old signature method", change: func(r *http.Request) { r.Header.Set("Authorization", "HmacSHA1 abc") }, want: "AuthFailure.InvalidAuthorization"},
		{name: "a scope of another day", change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), "2026-11-22", "2026-11-21"))
		}, want: "AuthFailure.InvalidAuthorization"},
		{name: "a host that is not signed", change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), "content-type;host", "content-type"))
		}, want: "AuthFailure.InvalidAuthorization"},
		{name: "no timestamp", change: func(r *http.Request) { r.Header.Del("X-TC-Timestamp") }, want: "MissingParameter"},
		{name: "a token without need", change: func(r *http.Request) { r.Header.Set("X-TC-Token", "token") }, want: "AuthFailure.TokenFailure"},
		{name: "no token where there must be one", keys: temporary, now: now.Add(-time.Second), want: "AuthFailure.TokenFailure"},
		{name: "the right token is let in", keys: temporary, now: now.Add(-time.Second), change: func(r *http.Request) { r.Header.Set("X-TC-Token", "token") }},
		{name: "a token that has expired", keys: temporary, change: func(r *http.Request) { r.Header.Set("X-TC-Token", "token") }, want: "AuthFailure.TokenFailure"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := signedRequest(t, v.timestamp, v.date, v.signature)
			if tc.change != nil {
				tc.change(r)
			}
			keys, at, body := tc.keys, tc.now, tc.body
			if keys == nil {
				keys = Example().Credentials
			}
			if at.IsZero() {
				at = now
			}
			if body == "" {
				body = vectorBody
			}
			got := ""
			if _, _, err := authenticate(r, []byte(body), keys, at); err != nil {
				got = err.Code
			}
			if got != tc.want {
				t.Errorf("answered %q, want %q", got, tc.want)
			}
		})
	}
}
