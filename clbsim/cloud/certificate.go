// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"slices"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// The modes of authentication.
const (
	sslOneWay = "UNIDIRECTIONAL"
	sslMutual = "MUTUAL"
)

// certificate is what a listener or a domain presents, and asks of clients.
// Nil is none.
type certificate struct {
	mode   string
	verify string   // ON or OPTIONAL, in mode MUTUAL
	ids    []string // server certificates, one for each algorithm
	ca     string   // client certificates are signed by it, in mode MUTUAL
}

// certificateOf reads the two ways in which a request can name certificates.
// Without either it returns nil.
func (c *Cloud) certificateOf(path string, one *clb.CertificateInput, many *clb.MultiCertInfo) (*certificate, *Error) {
	switch {
	case one != nil && many != nil:
		return nil, errorf(codeInvalid, "%sCertificate and %sMultiCertInfo cannot be given together.", path, path)
	case one != nil:
		return c.oneCertificate(path+"Certificate", one)
	case many != nil:
		return c.manyCertificates(path+"MultiCertInfo", many)
	}
	return nil, nil
}

func (c *Cloud) oneCertificate(path string, in *clb.CertificateInput) (*certificate, *Error) {
	if in.CertName != nil || in.CertKey != nil || in.CertContent != nil || in.CertCaName != nil || in.CertCaContent != nil {
		return nil, errorf(codeUnsupported, "clbsim does not simulate the upload of certificates in %s: name a CertId.", path)
	}
	out, err := newCertificate(path, in.SSLMode, in.SSLVerifyClient)
	if err != nil {
		return nil, err
	}
	id, ca := value(in.CertId), value(in.CertCaId)
	switch {
	case id == "":
		return nil, missing(path + ".CertId")
	case out.mode == sslMutual && ca == "":
		return nil, missing(path + ".CertCaId")
	case out.mode == sslOneWay && ca != "":
		return nil, errorf(codeInvalid, "%s.CertCaId needs SSLMode MUTUAL.", path)
	}
	out.ids, out.ca = []string{id}, ca
	if err := c.checkCertificate(path+".CertId", id, false); err != nil {
		return nil, err
	}
	if ca != "" {
		return out, c.checkCertificate(path+".CertCaId", ca, true)
	}
	return out, nil
}

func (c *Cloud) manyCertificates(path string, in *clb.MultiCertInfo) (*certificate, *Error) {
	out, err := newCertificate(path, in.SSLMode, in.SSLVerifyClient)
	switch {
	case err != nil:
		return nil, err
	case in.SSLMode == nil:
		return nil, missing(path + ".SSLMode")
	case len(in.CertList) == 0:
		return nil, missing(path + ".CertList")
	}
	var algorithms []string
	for i, info := range in.CertList {
		at := fmt.Sprintf("%s.CertList.%d.CertId", path, i)
		id := value(info.CertId)
		switch known := c.cfg.certificate(id); {
		case info.CertContent != nil || info.CertKey != nil || info.CertName != nil:
			return nil, errorf(codeUnsupported, "clbsim does not simulate the upload of certificates in %s: name a CertId.", path)
		case id == "":
			return nil, missing(at)
		case known != nil && known.CA:
			if out.ca != "" || out.mode != sslMutual {
				return nil, errorf(codeValue, "%s: %s is one CA certificate too many.", at, id)
			}
			out.ca = id
		case known != nil && slices.Contains(algorithms, known.Algorithm):
			return nil, errorf(codeValue, "%s: %s is a second certificate of algorithm %s.", at, id, known.Algorithm)
		case known != nil:
			algorithms, out.ids = append(algorithms, known.Algorithm), append(out.ids, id)
		}
		if err := c.checkCertificate(at, id, id == out.ca); err != nil {
			return nil, err
		}
	}
	switch {
	case len(out.ids) == 0:
		return nil, errorf(codeValue, "%s.CertList has no server certificate.", path)
	case out.mode == sslMutual && out.ca == "":
		return nil, errorf(codeValue, "%s.CertList has no CA certificate, which SSLMode MUTUAL needs.", path)
	}
	return out, nil
}

func newCertificate(path string, mode, verify *string) (*certificate, *Error) {
	out := &certificate{mode: sslOneWay}
	set(&out.mode, mode)
	switch {
	case out.mode != sslOneWay && out.mode != sslMutual:
		return nil, errorf(codeValue, "The value of %s.SSLMode is %q, it should be UNIDIRECTIONAL or MUTUAL.", path, out.mode)
	case verify != nil && *verify != "ON" && *verify != "OPTIONAL":
		return nil, errorf(codeValue, "The value of %s.SSLVerifyClient is %q, it should be ON or OPTIONAL.", path, *verify)
	}
	if out.mode == sslMutual {
		out.verify = "ON"
		set(&out.verify, verify)
	}
	return out, nil
}

// checkCertificate refuses a certificate that the account does not have, that
// has expired, or that is of the wrong kind.
func (c *Cloud) checkCertificate(path, id string, ca bool) *Error {
	known := c.cfg.certificate(id)
	switch {
	case known == nil:
		return errorf(codeValue, "%s: the certificate %s does not exist.", path, id)
	case known.Expired:
		return errorf(codeValue, "%s: the certificate %s has expired.", path, id)
	case known.CA && !ca:
		return errorf(codeValue, "%s: %s is a CA certificate, it should be a server certificate.", path, id)
	case !known.CA && ca:
		return errorf(codeValue, "%s: %s is a server certificate, it should be a CA certificate.", path, id)
	}
	return nil
}

func (c *certificate) wire() *clb.CertificateOutput {
	if c == nil {
		return nil
	}
	out := &clb.CertificateOutput{SSLMode: new(c.mode), CertId: new(c.ids[0]), CertCaId: new(c.ca), SSLVerifyClient: new(c.verify), ExtCertIds: []*string{}}
	for _, id := range c.ids[1:] {
		out.ExtCertIds = append(out.ExtCertIds, new(id))
	}
	return out
}

// all returns the ids of the server certificates; nil has none.
func (c *certificate) all() []string {
	if c == nil {
		return nil
	}
	return slices.Clone(c.ids)
}

func (c *Config) certificate(id string) *Certificate {
	for i := range c.Certificates {
		if c.Certificates[i].ID == id {
			return &c.Certificates[i]
		}
	}
	return nil
}
