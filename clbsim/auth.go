// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// maxSkew is how far the clock of a caller may be off.
const maxSkew = 5 * time.Minute

const algorithm = "TC3-HMAC-SHA256"

// authorization is the Authorization header taken apart.
type authorization struct {
	secretID, date, service string
	signedHeaders           []string
	signature               string
}

func authError(code, message string) *cloud.Error {
	return &cloud.Error{Code: "AuthFailure." + code, Message: message}
}

// parseAuthorization reads
// TC3-HMAC-SHA256 Credential=<id>/<date>/<service>/tc3_request, SignedHeaders=<a;b>, Signature=<hex>.
func parseAuthorization(header string) (authorization, *cloud.Error) {
	bad := authError("InvalidAuthorization", "The Authorization header is not of the form of "+algorithm+".")
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return authorization{}, bad
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = v
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 4 || scope[3] != "tc3_request" || fields["SignedHeaders"] == "" || fields["Signature"] == "" {
		return authorization{}, bad
	}
	return authorization{scope[0], scope[1], scope[2], strings.Split(fields["SignedHeaders"], ";"), fields["Signature"]}, nil
}

// authenticate checks who sent a request, in the order in which the answers
// help: is the header readable, is the key known, is the clock right, is the
// signature right, is the token right.
func authenticate(r *http.Request, body []byte, keys []Credential, now time.Time) (authorization, *Credential, *cloud.Error) {
	a, failure := parseAuthorization(r.Header.Get("Authorization"))
	if failure != nil {
		return a, nil, failure
	}
	i := slices.IndexFunc(keys, func(k Credential) bool { return k.SecretID == a.secretID })
	if i < 0 {
		return a, nil, authError("SecretIdNotFound", "The SecretId is not found, please ensure that your SecretId is correct.")
	}
	key := &keys[i]
	timestamp, err := strconv.ParseInt(r.Header.Get("X-TC-Timestamp"), 10, 64)
	if err != nil {
		return a, key, &cloud.Error{Code: "MissingParameter", Message: "The request is missing a required parameter `Timestamp`."}
	}
	signed := time.Unix(timestamp, 0).UTC()
	switch skew := now.Sub(signed); {
	case skew > maxSkew || skew < -maxSkew:
		return a, key, authError("SignatureExpire", "The signature has expired: the timestamp "+signed.Format(time.RFC3339)+" is more than 5 minutes from the server's "+now.UTC().Format(time.RFC3339)+".")
	case a.date != signed.Format(time.DateOnly), !slices.Contains(a.signedHeaders, "host"), !slices.Contains(a.signedHeaders, "content-type"):
		return a, key, authError("InvalidAuthorization", "The scope's date is not that of the timestamp, or host and content-type are not signed.")
	}
	want := signature(key.SecretKey, timestamp, a, canonicalHeaders(r, a.signedHeaders), body)
	if !hmac.Equal([]byte(want), []byte(a.signature)) {
		return a, key, authError("SignatureFailure", "The provided credentials could not be validated. Please check your signature is correct.")
	}
	token := r.Header.Get("X-TC-Token")
	switch {
	case token != key.Token:
		return a, key, authError("TokenFailure", "The token is not that of the SecretId.")
	case !key.TokenExpires.IsZero() && !now.Before(key.TokenExpires):
		return a, key, authError("TokenFailure", "The token has expired.")
	}
	return a, key, nil
}

func canonicalHeaders(r *http.Request, names []string) string {
	var b strings.Builder
	for _, name := range names {
		v := r.Header.Get(name)
		if name == "host" {
			v = r.Host
		}
		b.WriteString(name + ":" + strings.ToLower(strings.TrimSpace(v)) + "\n")
	}
	return b.String()
}

// signature computes TC3-HMAC-SHA256 of a POST to /. It covers the signed
// headers and the body; not the action, the region or the token.
func signature(secretKey string, timestamp int64, a authorization, headers string, body []byte) string {
	canonical := strings.Join([]string{"POST", "/", "", headers, strings.Join(a.signedHeaders, ";"), sha256Hex(body)}, "\n")
	scope := a.date + "/" + a.service + "/tc3_request"
	text := strings.Join([]string{algorithm, strconv.FormatInt(timestamp, 10), scope, sha256Hex([]byte(canonical))}, "\n")
	key := []byte("TC3" + secretKey)
	for _, part := range []string{a.date, a.service, "tc3_request"} {
		key = hmacSHA256(key, part)
	}
	return hex.EncodeToString(hmacSHA256(key, text))
}

func hmacSHA256(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
