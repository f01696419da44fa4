// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

// renewPause is the least time between two reads of a source that fails, or that still has what it had.
const renewPause = 10 * time.Second

// keyring holds the credentials in use and renews them from their source. It is what the SDK signs with
// (common.CredentialIface); unlike the SDK's own it can say that it has none, so that a request is not sent
// unsigned to come back as a riddle. It is safe for concurrent use.
type keyring struct {
	source source
	held   atomic.Pointer[secret]

	reading chan struct{} // holds one value while somebody reads the source
	failed  error         // of the last read, for those who waited for it
	at      time.Time     // when it failed
}

func newKeyring(s source, first secret) *keyring {
	k := &keyring{source: s, reading: make(chan struct{}, 1)}
	k.held.Store(&first)
	return k
}

// fresh renews the credentials if that is due. It returns an error only if there are none that may work.
func (k *keyring) fresh(ctx context.Context) error {
	s := k.held.Load()
	now := time.Now()
	if s.renew.IsZero() || now.Before(s.renew) {
		return nil
	}
	usable := s.expire.IsZero() || now.Before(s.expire)
	select {
	case k.reading <- struct{}{}:
	default:
		if usable {
			return nil // somebody renews them; these still work
		}
		select {
		case k.reading <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-k.reading }()
	if k.held.Load() != s {
		return nil // renewed while this waited
	}
	return k.renew(ctx, s, usable)
}

// renew reads the source. The caller holds k.reading.
func (k *keyring) renew(ctx context.Context, s *secret, usable bool) error {
	if !usable && k.failed != nil && time.Since(k.at) < time.Second {
		return k.failed // lest everybody who waited waits again, one after the other
	}
	got, err := k.source.readBounded(ctx)
	k.failed, k.at = err, time.Now()
	if err != nil {
		if !usable {
			return err
		}
		klog.FromContext(ctx).Error(err, "Keeping the credentials in use, their source cannot be read", "source", k.source.name)
		got = *s
	}
	if earliest := time.Now().Add(renewPause); !got.renew.IsZero() && got.renew.Before(earliest) {
		got.renew = earliest
	}
	k.held.Store(&got)
	return nil
}

// replaced reports whether other credentials than used are held now, reading the source again if need be. It is
// asked when the API refuses used: they may have been rotated before their time.
func (k *keyring) replaced(ctx context.Context, used *secret) bool {
	k.reading <- struct{}{} // for sourceTimeout at most, as they are all bounded
	defer func() { <-k.reading }()
	s := k.held.Load()
	if s == used && !s.renew.IsZero() {
		if err := k.renew(ctx, s, true); err != nil {
			return false
		}
		s = k.held.Load()
	}
	return s.id != used.id || s.key != used.key || s.token != used.token
}

// GetCredential returns the parts of one secret.
func (k *keyring) GetCredential() (id, key, token string) {
	s := k.held.Load()
	return s.id, s.key, s.token
}

// GetSecretId is part of common.CredentialIface.
//
//nolint:staticcheck // the SDK's spelling
func (k *keyring) GetSecretId() string { return k.held.Load().id }

// GetSecretKey is part of common.CredentialIface.
func (k *keyring) GetSecretKey() string { return k.held.Load().key }

// GetToken is part of common.CredentialIface.
func (k *keyring) GetToken() string { return k.held.Load().token }
