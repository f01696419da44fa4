// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// PortProtocol is what the listeners of one Service port speak.
type PortProtocol struct {
	Protocols []string        `json:"protocol"`        // TCP, UDP, TCP_SSL, QUIC, HTTP, HTTPS: one that runs over TCP and one over UDP at most
	TLS       string          `json:"tls,omitempty"`   // name of a Secret with the certificate, of TCP_SSL and QUIC, and of HTTPS hosts that name none
	Hosts     map[string]Host `json:"hosts,omitempty"` // domains of HTTP and HTTPS; nil: those have none, which CLB does not take
}

// Host is a domain of an HTTP or HTTPS listener.
type Host struct {
	TLS string `json:"tls,omitempty"` // name of a Secret with the certificate
}

// domainMax is the length of a domain that CLB takes in a rule.
const domainMax = 80

var (
	// domains may begin or end in a wildcard; CLB takes regular expressions too, which begin with ~.
	domain     = regexp.MustCompile(`^(\*\.)?[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?)*(\.\*)?$`)
	secretName = regexp.MustCompile(`^[0-9a-z]([-.0-9a-z]*[0-9a-z])?$`)

	overTCP = []string{"TCP", "TCP_SSL", "HTTP", "HTTPS"}
	overUDP = []string{"UDP", "QUIC"}
)

// protocols reads specify-protocol. An error in what it says of one port costs that port alone; what stands under a name that is no
// port may be about any.
func protocols(o *Options, s string) error {
	raw, err := decode[map[string]PortProtocol](s)
	if err != nil {
		o.BadProtocol = true
		return err
	}
	out, bad := map[int32]PortProtocol{}, map[int32]bool{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(*raw)) {
		port, err := strconv.ParseInt(name, 10, 32)
		if err != nil || port < 1 || port > 65535 || strconv.FormatInt(port, 10) != name {
			errs = append(errs, fmt.Errorf("%q is no port of the Service, 1 to 65535", name))
			o.BadProtocol = true
			continue
		}
		p := (*raw)[name]
		if err := p.check(); err != nil {
			errs = append(errs, fmt.Errorf("port %s: %w", name, err))
			bad[int32(port)] = true
			continue
		}
		out[int32(port)] = p
	}
	if len(out) > 0 {
		o.Protocols = out
	}
	if len(bad) > 0 {
		o.BadProtocols = bad
	}
	return errors.Join(errs...)
}

func (p PortProtocol) check() error {
	errs := p.checkProtocols()
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.TLS == "" && p.speaks("TCP_SSL", "QUIC") {
		fault("tls is missing, which TCP_SSL and QUIC need")
	}
	switch hosts := p.speaks("HTTP", "HTTPS"); {
	case hosts && len(p.Hosts) == 0:
		fault("hosts is missing, which HTTP and HTTPS need")
	case !hosts && len(p.Hosts) > 0:
		fault("hosts is for HTTP and HTTPS")
	}
	if p.TLS != "" && !validSecret(p.TLS) {
		fault("tls is %q, not the name of a Secret", p.TLS)
	}
	return errors.Join(append(errs, p.checkHosts()...)...)
}

// speaks reports whether one of the protocols is among those.
func (p PortProtocol) speaks(those ...string) bool {
	return slices.ContainsFunc(p.Protocols, func(name string) bool { return slices.Contains(those, name) })
}

// checkProtocols returns what is wrong with each of the protocols, and with all of them on one port.
func (p PortProtocol) checkProtocols() []error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	tcp, udp := 0, 0
	for _, name := range p.Protocols {
		switch {
		case slices.Contains(overTCP, name):
			tcp++
		case slices.Contains(overUDP, name):
			udp++
		default:
			fault("protocol %q is not TCP, UDP, TCP_SSL, QUIC, HTTP or HTTPS", name)
		}
		if name == "HTTPS" && p.TLS == "" {
			for _, h := range slices.Sorted(maps.Keys(p.Hosts)) {
				if p.Hosts[h].TLS == "" {
					fault("host %q has no tls, which HTTPS needs", h)
				}
			}
		}
	}
	switch {
	case len(p.Protocols) == 0:
		fault("protocol has no entry")
	case tcp > 1 || udp > 1:
		fault("protocol is %q, but a port has one listener over TCP (TCP, TCP_SSL, HTTP, HTTPS) and one over UDP (UDP, QUIC) at most", p.Protocols)
	}
	return errs
}

// checkHosts returns what is wrong with the domains, whatever speaks for them.
func (p PortProtocol) checkHosts() []error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, h := range slices.Sorted(maps.Keys(p.Hosts)) {
		if len(h) > domainMax || !domain.MatchString(h) {
			fault("host %q is not a domain of at most %d characters like www.example.com or *.example.com", h, domainMax)
		}
		if s := p.Hosts[h].TLS; s != "" && !validSecret(s) {
			fault("host %q: tls is %q, not the name of a Secret", h, s)
		}
	}
	return errs
}

func validSecret(name string) bool { return len(name) <= 253 && secretName.MatchString(name) }

// ListenerParameters are settings of all listeners of a Service, in the spelling of CreateListener. TKE names the
// annotation and no document says what it takes: this is what this controller does.
type ListenerParameters struct {
	Scheduler          string `json:"Scheduler,omitempty"`          // WRR or LEAST_CONN; empty: WRR
	SessionExpireTime  *int   `json:"SessionExpireTime,omitempty"`  // seconds, 0 or 30 to 3600; nil: as the Service says
	IdleConnectTimeout *int   `json:"IdleConnectTimeout,omitempty"` // seconds, 10 to 1980; nil: CLB's default
}

func (p *ListenerParameters) check() error {
	errs := []error{oneOf("Scheduler", p.Scheduler, "WRR", "LEAST_CONN"), between("IdleConnectTimeout", p.IdleConnectTimeout, 10, 1980)}
	if s := p.SessionExpireTime; s != nil && *s != 0 {
		if between("SessionExpireTime", s, 30, 3600) != nil {
			errs = append(errs, fmt.Errorf("SessionExpireTime is %d, not 0 or 30 to 3600", *s))
		}
	}
	return errors.Join(errs...)
}
