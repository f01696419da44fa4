// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"slices"
	"strings"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"
)

// settings is what ModifyListener can change.
type settings struct {
	check               HealthCheck
	scheduler           string
	sessionExpire       int64 // seconds, 0 is off
	sessionType         string
	idleTimeout         int64
	maxConn, maxCps     int64
	deregisterRst       bool
	rescheduleZero      bool
	rescheduleUnhealthy bool
	rescheduleExpand    bool
	rescheduleStart     int64
	rescheduleInterval  int64
	certificate         *certificate
	sni                 bool
	keepalive           int64
	proxyProtocol       bool
	compress            string // DataCompressMode
}

func newSettings(on kind) settings {
	s := settings{check: newHealthCheck(on), scheduler: "WRR", sessionType: "NORMAL", idleTimeout: 900, maxConn: -1, maxCps: -1}
	if on.protocol == UDP {
		s.idleTimeout = 300
	}
	return s
}

// options are the fields that CreateListener and ModifyListener share.
type options struct {
	check                                *clb.HealthCheck
	sessionExpire, idle, maxConn, maxCps *int64
	scheduler, sessionType, targetType   *string
	rst, zero, unhealthy, expand         *bool
	rescheduleStart, rescheduleInterval  *int64
	certificate                          *clb.CertificateInput
	certificates                         *clb.MultiCertInfo
	keepalive, sni                       *int64
	proxy, snat, h2c, sslClose           *bool
	compress                             *string
	schedulers                           []string
	create                               bool
}

func createOptions(in *clb.CreateListenerRequest) options {
	return options{
		check: in.HealthCheck, sessionExpire: in.SessionExpireTime, idle: in.IdleConnectTimeout, maxConn: in.MaxConn, maxCps: in.MaxCps,
		scheduler: in.Scheduler, sessionType: in.SessionType, targetType: in.TargetType,
		rst: in.DeregisterTargetRst, zero: in.RescheduleTargetZeroWeight, unhealthy: in.RescheduleUnhealthy, expand: in.RescheduleExpandTarget,
		rescheduleStart: in.RescheduleStartTime, rescheduleInterval: in.RescheduleInterval,
		certificate: in.Certificate, certificates: in.MultiCertInfo, keepalive: in.KeepaliveEnable, sni: in.SniSwitch,
		proxy: in.ProxyProtocol, snat: in.SnatEnable, h2c: in.H2cSwitch, sslClose: in.SslCloseSwitch, compress: in.DataCompressMode,
		schedulers: []string{"WRR", "LEAST_CONN"}, create: true,
	}
}

func modifyOptions(in *clb.ModifyListenerRequest) options {
	return options{
		check: in.HealthCheck, sessionExpire: in.SessionExpireTime, idle: in.IdleConnectTimeout, maxConn: in.MaxConn, maxCps: in.MaxCps,
		scheduler: in.Scheduler, sessionType: in.SessionType, targetType: in.TargetType,
		rst: in.DeregisterTargetRst, zero: in.RescheduleTargetZeroWeight, unhealthy: in.RescheduleUnhealthy, expand: in.RescheduleExpandTarget,
		rescheduleStart: in.RescheduleStartTime, rescheduleInterval: in.RescheduleInterval,
		certificate: in.Certificate, certificates: in.MultiCertInfo, keepalive: in.KeepaliveEnable, sni: in.SniSwitch,
		proxy: in.ProxyProtocol, snat: in.SnatEnable, compress: in.DataCompressMode,
		schedulers: []string{"WRR", "LEAST_CONN", "IP_HASH"},
	}
}

// with returns the settings after a request has changed them.
func (s settings) with(o options, on kind, c *Cloud) (settings, *Error) {
	for _, check := range []func(kind) *Error{o.foreign, o.limited, o.ranges} {
		if err := check(on); err != nil {
			return s, err
		}
	}
	if on.protocol == UDP && !c.cfg.Assumptions.UDPReschedule && o.reschedules() {
		return s, errorf(codeFailed, "Uin does not support reschedule function.")
	}
	var err *Error
	if s.check, err = s.check.with(o.check, on, c.cfg.Assumptions); err != nil {
		return s, err
	}
	if s, err = s.secured(o, on, c); err != nil {
		return s, err
	}
	set(&s.scheduler, o.scheduler)
	set(&s.sessionExpire, o.sessionExpire)
	set(&s.sessionType, o.sessionType)
	set(&s.idleTimeout, o.idle)
	set(&s.maxConn, o.maxConn)
	set(&s.maxCps, o.maxCps)
	set(&s.deregisterRst, o.rst)
	set(&s.rescheduleZero, o.zero)
	set(&s.rescheduleUnhealthy, o.unhealthy)
	set(&s.rescheduleExpand, o.expand)
	set(&s.rescheduleStart, o.rescheduleStart)
	set(&s.rescheduleInterval, o.rescheduleInterval)
	set(&s.keepalive, o.keepalive)
	set(&s.proxyProtocol, o.proxy)
	set(&s.compress, o.compress)
	if s.sessionType == "QUIC_CID" && s.scheduler != "WRR" {
		return s, errorf(codeValue, "SessionType QUIC_CID needs Scheduler WRR.")
	}
	return s, nil
}

// secured applies SniSwitch and the certificates. A listener that terminates
// TLS without SNI has exactly one Certificate or MultiCertInfo; with SNI the
// certificates are the domains'.
func (s settings) secured(o options, on kind, c *Cloud) (settings, *Error) {
	if o.sni != nil {
		if *o.sni == 0 && s.sni {
			return s, errorf(codeInvalid, "SniSwitch of a listener cannot be turned off again.")
		}
		s.sni = *o.sni == 1
	}
	given, err := c.certificateOf("", o.certificate, o.certificates)
	switch needs := encrypted(on.protocol, s.sni); {
	case err != nil:
		return s, err
	case given != nil && !needs:
		return s, errorf(codeInvalid, "With SniSwitch 1 the certificates belong to the domains of the rules, not to the listener.")
	case given == nil && needs && o.create:
		return s, errorf(codeMissing, "A listener of protocol %s needs Certificate or MultiCertInfo.", on.protocol)
	case given != nil:
		s.certificate = given
	}
	return s, nil
}

func (o options) reschedules() bool {
	return value(o.rst) || value(o.zero) || value(o.unhealthy) || value(o.expand)
}

// only is one parameter and the protocols that it is for.
type only struct {
	given     bool
	name      string
	protocols []string
}

// foreign refuses parameters that do not belong to the protocol.
func (o options) foreign(on kind) *Error {
	layer4, plain := []string{TCP, UDP, TCPSSL, QUIC}, []string{TCP, UDP}
	for _, f := range []only{
		{o.certificate != nil || o.certificates != nil, "Certificate and MultiCertInfo", []string{TCPSSL, QUIC, HTTPS}},
		{value(o.keepalive) != 0, "KeepaliveEnable", []string{HTTP, HTTPS}},
		{value(o.sni) != 0, "SniSwitch", []string{HTTPS}},
		{value(o.proxy), "ProxyProtocol", []string{TCPSSL, QUIC}},
		{value(o.h2c), "H2cSwitch", []string{HTTP}},
		{value(o.sslClose), "SslCloseSwitch", []string{TCPSSL}},
		{o.compress != nil, "DataCompressMode", []string{HTTP, HTTPS}},
		{o.check != nil, "HealthCheck", layer4},
		{o.scheduler != nil, "Scheduler", layer4},
		{value(o.maxConn) > 0 || value(o.maxCps) > 0, "MaxConn and MaxCps", layer4},
		{value(o.sessionExpire) != 0, "SessionExpireTime", plain},
		{o.idle != nil, "IdleConnectTimeout", plain},
		{o.reschedules() || o.rescheduleStart != nil || o.rescheduleInterval != nil, "DeregisterTargetRst and Reschedule…", plain},
	} {
		if f.given && !slices.Contains(f.protocols, on.protocol) {
			return errorf(codeInvalid, "%s: only for listeners of protocol %s, not %s.", f.name, strings.Join(f.protocols, ", "), on.protocol)
		}
	}
	return nil
}

// limited refuses what only some instances have, and what clbsim has no model
// of.
func (o options) limited(on kind) *Error {
	switch {
	case value(o.snat), value(o.h2c), value(o.sslClose):
		return errorf(codeUnsupported, "clbsim does not simulate SnatEnable, H2cSwitch and SslCloseSwitch.")
	case (o.maxConn != nil && *o.maxConn != -1 || o.maxCps != nil && *o.maxCps != -1) && !on.lcu:
		return errorf(codeInvalid, "MaxConn and MaxCps are for performance instances.")
	case o.targetType != nil && *o.targetType != "NODE":
		if *o.targetType == "TARGETGROUP" {
			return errorf(codeUnsupported, "clbsim does not simulate TargetType TARGETGROUP.")
		}
		return errorf(codeValue, "The value of TargetType is %q, it should be NODE or TARGETGROUP.", *o.targetType)
	case o.sessionType == nil || *o.sessionType == "NORMAL":
		return nil
	case *o.sessionType != "QUIC_CID":
		return errorf(codeValue, "The value of SessionType is %q, it should be NORMAL or QUIC_CID.", *o.sessionType)
	case on.protocol != UDP || on.v6:
		return errorf(codeValue, "SessionType QUIC_CID is for UDP listeners on IPv4.")
	}
	return nil
}

func (o options) ranges(on kind) *Error {
	idle := int64(900)
	if on.lcu {
		idle = 1980
	}
	switch e := o.sessionExpire; {
	case o.scheduler != nil && !slices.Contains(o.schedulers, *o.scheduler):
		return errorf(codeValue, "Scheduler should be one of %s, not %q.", strings.Join(o.schedulers, ", "), *o.scheduler)
	case e != nil && *e != 0 && (*e < 30 || *e > 3600):
		return errorf(codeValue, "The value of SessionExpireTime is %d, it should be 0 or 30 to 3600.", *e)
	case o.compress != nil && *o.compress != "transparent" && *o.compress != "compatibility":
		return errorf(codeValue, "The value of DataCompressMode is %q, it should be transparent or compatibility.", *o.compress)
	}
	for _, f := range []struct {
		name     string
		value    *int64
		min, max int64
	}{
		{"IdleConnectTimeout", o.idle, 10, idle},
		{"RescheduleStartTime", o.rescheduleStart, 0, 3600},
		{"RescheduleInterval", o.rescheduleInterval, 0, 3600},
		{"MaxConn", o.maxConn, -1, 1 << 31},
		{"MaxCps", o.maxCps, -1, 1 << 31},
		{"KeepaliveEnable", o.keepalive, 0, 1},
		{"SniSwitch", o.sni, 0, 1},
	} {
		if f.value != nil && (*f.value < f.min || *f.value > f.max) {
			return errorf(codeValue, "The value of %s is %d, it should be %d to %d.", f.name, *f.value, f.min, f.max)
		}
	}
	return nil
}

// attributes is AttrFlags of the listener.
func (s settings) attributes() []*string {
	out := []string{}
	for _, f := range []struct {
		on   bool
		flag string
	}{{s.rescheduleZero, "RescheduleTargetZeroWeight"}, {s.rescheduleUnhealthy, "RescheduleUnhealthy"}, {s.rescheduleExpand, "RescheduleExpandTarget"}} {
		if f.on {
			out = append(out, f.flag)
		}
	}
	return pointers(out)
}
