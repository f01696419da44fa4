// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/clbsync/clbsync/clbsim/cloud"
)

// keys makes a certificate for each id, once. Its common name is the id, so
// that a client can tell which one it got.
type keys struct {
	mu   sync.Mutex
	made map[string]*tls.Certificate
}

func (k *keys) of(c cloud.Certificate) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if made := k.made[c.ID]; made != nil {
		return made, nil
	}
	made, err := selfSigned(c)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", c.ID, err)
	}
	if k.made == nil {
		k.made = map[string]*tls.Certificate{}
	}
	k.made[c.ID] = made
	return made, nil
}

// selfSigned makes a certificate that is valid from an hour ago for ten years.
// SM2, which Go does not have, is an elliptic curve like ECC.
func selfSigned(c cloud.Certificate) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: c.ID}, DNSNames: slices.Clone(c.Domains),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if c.Algorithm == "RSA" {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// errNoCertificate refuses a handshake for a domain that no site has.
var errNoCertificate = errors.New("no certificate for this domain")

// config is the TLS of one handshake. With mutual authentication the client
// has to have some certificate: who signed it is not looked at.
func (k *keys) config(t cloud.ForwardingTLS, http2 bool) (*tls.Config, error) {
	if len(t.Certificates) == 0 {
		return nil, errNoCertificate
	}
	out := &tls.Config{NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	if http2 {
		out.NextProtos = []string{"h2", "http/1.1"}
	}
	switch t.Clients {
	case "ON":
		out.ClientAuth = tls.RequireAnyClientCert
	case "OPTIONAL":
		out.ClientAuth = tls.RequestClientCert
	}
	for _, c := range t.Certificates {
		cert, err := k.of(c)
		if err != nil {
			return nil, err
		}
		out.Certificates = append(out.Certificates, *cert)
	}
	return out, nil
}
