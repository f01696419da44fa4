// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"slices"

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
}

func newSettings(protocol string) settings {
	s := settings{check: newHealthCheck(protocol), scheduler: "WRR", sessionType: "NORMAL", idleTimeout: 900, maxConn: -1, maxCps: -1}
	if protocol == "UDP" {
		s.idleTimeout = 300
	}
	return s
}

// options are the fields that CreateListener and ModifyListener share.
type options struct {
	check                                  *clb.HealthCheck
	sessionExpire, idle, maxConn, maxCps   *int64
	scheduler, sessionType, targetType     *string
	rst, zero, unhealthy, expand           *bool
	rescheduleStart, rescheduleInterval    *int64
	certificate, keepalive, proxy, rewrite bool // fields of other protocols are given
	snat                                   *bool
	schedulers                             []string
}

func createOptions(in *clb.CreateListenerRequest) options {
	return options{
		check: in.HealthCheck, sessionExpire: in.SessionExpireTime, idle: in.IdleConnectTimeout, maxConn: in.MaxConn, maxCps: in.MaxCps,
		scheduler: in.Scheduler, sessionType: in.SessionType, targetType: in.TargetType,
		rst: in.DeregisterTargetRst, zero: in.RescheduleTargetZeroWeight, unhealthy: in.RescheduleUnhealthy, expand: in.RescheduleExpandTarget,
		rescheduleStart: in.RescheduleStartTime, rescheduleInterval: in.RescheduleInterval,
		certificate: in.Certificate != nil || in.MultiCertInfo != nil, keepalive: value(in.KeepaliveEnable) != 0 || value(in.SniSwitch) != 0,
		proxy: value(in.ProxyProtocol), rewrite: value(in.H2cSwitch) || value(in.SslCloseSwitch) || in.DataCompressMode != nil, snat: in.SnatEnable,
		schedulers: []string{"WRR", "LEAST_CONN"},
	}
}

func modifyOptions(in *clb.ModifyListenerRequest) options {
	return options{
		check: in.HealthCheck, sessionExpire: in.SessionExpireTime, idle: in.IdleConnectTimeout, maxConn: in.MaxConn, maxCps: in.MaxCps,
		scheduler: in.Scheduler, sessionType: in.SessionType, targetType: in.TargetType,
		rst: in.DeregisterTargetRst, zero: in.RescheduleTargetZeroWeight, unhealthy: in.RescheduleUnhealthy, expand: in.RescheduleExpandTarget,
		rescheduleStart: in.RescheduleStartTime, rescheduleInterval: in.RescheduleInterval,
		certificate: in.Certificate != nil || in.MultiCertInfo != nil, keepalive: value(in.KeepaliveEnable) != 0 || value(in.SniSwitch) != 0,
		proxy: value(in.ProxyProtocol), rewrite: in.DataCompressMode != nil, snat: in.SnatEnable,
		schedulers: []string{"WRR", "LEAST_CONN", "IP_HASH"},
	}
}

// with returns the settings after a request has changed them. lcu tells
// whether the instance is of a performance type.
func (s settings) with(o options, protocol string, lcu bool, a Assumptions) (settings, *Error) {
	if err := o.foreign(protocol, lcu); err != nil {
		return s, err
	}
	if err := o.ranges(lcu); err != nil {
		return s, err
	}
	if protocol == "UDP" && !a.UDPReschedule && (value(o.rst) || value(o.zero) || value(o.unhealthy) || value(o.expand)) {
		return s, errorf(codeFailed, "Uin does not support reschedule function.")
	}
	var err *Error
	if s.check, err = s.check.with(o.check, protocol, a); err != nil {
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
	if s.sessionType == "QUIC_CID" && s.scheduler != "WRR" {
		return s, errorf(codeValue, "SessionType QUIC_CID needs Scheduler WRR.")
	}
	return s, nil
}

// foreign refuses fields that do not belong to TCP and UDP listeners.
func (o options) foreign(protocol string, lcu bool) *Error {
	switch {
	case o.certificate:
		return errorf(codeInvalid, "Certificate and MultiCertInfo are for TCP_SSL and HTTPS listeners, not %s.", protocol)
	case o.keepalive:
		return errorf(codeInvalid, "KeepaliveEnable and SniSwitch are for HTTP and HTTPS listeners, not %s.", protocol)
	case o.proxy:
		return errorf(codeInvalid, "ProxyProtocol is for TCP_SSL and QUIC listeners, not %s.", protocol)
	case o.rewrite:
		return errorf(codeInvalid, "H2cSwitch, SslCloseSwitch and DataCompressMode are not for %s listeners.", protocol)
	case value(o.snat):
		return errorf(codeUnsupported, "clbsim does not simulate SnatEnable.")
	case (o.maxConn != nil && *o.maxConn != -1 || o.maxCps != nil && *o.maxCps != -1) && !lcu:
		return errorf(codeInvalid, "MaxConn and MaxCps are for performance instances.")
	case o.targetType != nil && *o.targetType != "NODE":
		if *o.targetType == "TARGETGROUP" {
			return errorf(codeUnsupported, "clbsim does not simulate TargetType TARGETGROUP.")
		}
		return errorf(codeValue, "The value of TargetType is %q, it should be NODE or TARGETGROUP.", *o.targetType)
	case o.sessionType != nil && *o.sessionType != "NORMAL":
		if *o.sessionType != "QUIC_CID" {
			return errorf(codeValue, "The value of SessionType is %q, it should be NORMAL or QUIC_CID.", *o.sessionType)
		}
		if protocol != "UDP" {
			return errorf(codeValue, "SessionType QUIC_CID is for UDP listeners.")
		}
	}
	return nil
}

func (o options) ranges(lcu bool) *Error {
	idle := int64(900)
	if lcu {
		idle = 1980
	}
	switch e := o.sessionExpire; {
	case o.scheduler != nil && !slices.Contains(o.schedulers, *o.scheduler):
		return errorf(codeValue, "Scheduler should be WRR or LEAST_CONN, not %q.", *o.scheduler)
	case e != nil && *e != 0 && (*e < 30 || *e > 3600):
		return errorf(codeValue, "The value of SessionExpireTime is %d, it should be 0 or 30 to 3600.", *e)
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
