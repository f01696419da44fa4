// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"slices"
	"strings"
)

// The protocols of listeners.
const (
	TCP    = "TCP"
	UDP    = "UDP"
	TCPSSL = "TCP_SSL"
	QUIC   = "QUIC"
	HTTP   = "HTTP"
	HTTPS  = "HTTPS"
)

var protocols = []string{TCP, UDP, TCPSSL, QUIC, HTTP, HTTPS}

func checkProtocol(p *string) (string, *Error) {
	switch v := value(p); {
	case v == "":
		return "", missing("Protocol")
	case slices.Contains(protocols, v):
		return v, nil
	default:
		return "", errorf(codeValue, "The value of Protocol is %q, it should be one of %s.", v, strings.Join(protocols, ", "))
	}
}

// layer7 tells whether targets belong to rules and not to the listener.
func layer7(protocol string) bool { return protocol == HTTP || protocol == HTTPS }

// transport is the port space of a protocol: two listeners of one CLB cannot
// have the same port in it.
func transport(protocol string) string {
	if protocol == UDP || protocol == QUIC {
		return UDP
	}
	return TCP
}

// encrypted tells whether a listener needs a certificate of its own.
func encrypted(protocol string, sni bool) bool {
	return protocol == TCPSSL || protocol == QUIC || protocol == HTTPS && !sni
}

// kind is what the allowed settings of a listener or rule depend on.
type kind struct {
	protocol string
	lcu      bool // the CLB is of a performance type
	v6       bool // its targets have IPv6 addresses
}

func (lb *loadBalancer) kindOf(protocol string) kind {
	return kind{protocol: protocol, lcu: lb.sla != "", v6: lb.fullChain()}
}
