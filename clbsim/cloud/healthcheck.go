// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	clb "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/clb/v20180317"

	"github.com/clbsync/clbsync/clbsim/health"
)

// HealthCheck is a listener's health check with all defaults filled in.
// Numbers have CLB's units: seconds and counts.
type HealthCheck struct {
	On           bool   `json:"on"`
	Type         string `json:"type"` // TCP, HTTP, HTTPS, GRPC, PING, CUSTOM
	Interval     int64  `json:"interval"`
	Timeout      int64  `json:"timeout"`
	HealthNum    int64  `json:"healthNum"`
	UnhealthNum  int64  `json:"unhealthNum"`
	Port         int64  `json:"port,omitempty"` // 0: the target's own
	HTTPCode     int64  `json:"httpCode,omitempty"`
	HTTPPath     string `json:"httpPath,omitempty"`
	HTTPDomain   string `json:"httpDomain,omitempty"`
	HTTPMethod   string `json:"httpMethod,omitempty"`
	HTTPVersion  string `json:"httpVersion,omitempty"`
	Context      string `json:"context,omitempty"` // HEX or TEXT, of CUSTOM
	Send         string `json:"send,omitempty"`
	Receive      string `json:"receive,omitempty"`
	SourceIPType int64  `json:"sourceIPType"`       // 0 the VIP, 1 the range 100.64.0.0/10
	GRPCCode     string `json:"grpcCode,omitempty"` // of GRPC: 12, or 20,25, or 0-99
}

// The types of health checks.
const (
	CheckTCP    = "TCP"
	CheckHTTP   = "HTTP"
	CheckHTTPS  = "HTTPS"
	CheckGRPC   = "GRPC"
	CheckPing   = "PING"
	CheckCustom = "CUSTOM"
)

// newHealthCheck is what a listener has whose creator says nothing.
// SourceIPType 1 is the default of accounts since 2023.
func newHealthCheck(on kind) HealthCheck {
	h := HealthCheck{On: true, Type: CheckTCP, Interval: 5, Timeout: 2, HealthNum: 3, UnhealthNum: 3, HTTPCode: 31, HTTPMethod: "HEAD", HTTPPath: "/", SourceIPType: 1}
	switch on.protocol {
	case UDP:
		h.Type = CheckPing
	case HTTP, HTTPS:
		h.Type = CheckHTTP
	}
	if on.v6 {
		h.SourceIPType = 0
	}
	return h
}

// with returns the health check after a request has changed it, or what is
// wrong with the request.
func (h HealthCheck) with(in *clb.HealthCheck, on kind, a Assumptions) (HealthCheck, *Error) {
	if in == nil {
		return h, nil
	}
	if err := checkRanges(in, on); err != nil {
		return h, err
	}
	set(&h.Type, in.CheckType)
	set(&h.Interval, in.IntervalTime)
	set(&h.Timeout, in.TimeOut)
	set(&h.HealthNum, in.HealthNum)
	set(&h.UnhealthNum, in.UnHealthNum)
	set(&h.HTTPCode, in.HttpCode)
	set(&h.HTTPPath, in.HttpCheckPath)
	set(&h.HTTPDomain, in.HttpCheckDomain)
	set(&h.HTTPMethod, in.HttpCheckMethod)
	if h.Type != CheckGRPC {
		h.GRPCCode = ""
	}
	set(&h.GRPCCode, in.ExtendedCode)
	if !layer7(on.protocol) {
		set(&h.HTTPVersion, in.HttpVersion)
	}
	set(&h.Context, in.ContextType)
	set(&h.Send, in.SendContext)
	set(&h.Receive, in.RecvContext)
	set(&h.SourceIPType, in.SourceIpType)
	if in.HealthSwitch != nil {
		h.On = *in.HealthSwitch == 1
	}
	if in.CheckPort != nil {
		h.Port = max(*in.CheckPort, 0)
	}
	if in.CheckType != nil && on.protocol == UDP && h.Type == CheckPing && !a.UDPPing {
		return h, errorf(codeValue, "CheckType should be CUSTOM in UDP listener.")
	}
	return h, h.check(on, a)
}

// checkRanges checks the numbers, each by itself.
func checkRanges(in *clb.HealthCheck, on kind) *Error {
	interval, source := int64(2), int64(1)
	if on.v6 {
		interval, source = 5, 0
	}
	for _, f := range []struct {
		name     string
		value    *int64
		min, max int64
	}{
		{"HealthSwitch", in.HealthSwitch, 0, 1},
		{"TimeOut", in.TimeOut, 2, 60},
		{"IntervalTime", in.IntervalTime, interval, 300},
		{"HealthNum", in.HealthNum, 2, 10},
		{"UnHealthNum", in.UnHealthNum, 2, 10},
		{"HttpCode", in.HttpCode, 1, 31},
		{"SourceIpType", in.SourceIpType, 0, source},
	} {
		if f.value != nil && (*f.value < f.min || *f.value > f.max) {
			return errorf(codeValue, "The value of HealthCheck.%s is %d, it should be %d to %d.", f.name, *f.value, f.min, f.max)
		}
	}
	if p := in.CheckPort; p != nil && *p != -1 && (*p < 1 || *p > 65535) {
		return errorf(codeValue, "The value of HealthCheck.CheckPort is %d, it should be 1 to 65535, or -1.", *p)
	}
	if on.protocol != TCP && on.protocol != UDP && in.CheckPort != nil && *in.CheckPort != -1 {
		return errorf(codeValue, "HealthCheck.CheckPort is for TCP and UDP listeners, not %s.", on.protocol)
	}
	return checkTexts(in)
}

// checkTexts checks the fields that are not numbers, each by itself.
func checkTexts(in *clb.HealthCheck) *Error {
	switch {
	case in.HttpCheckPath != nil && (!strings.HasPrefix(*in.HttpCheckPath, "/") || len(*in.HttpCheckPath) > 200):
		return errorf(codeValue, "HealthCheck.HttpCheckPath should begin with / and have at most 200 characters.")
	case in.HttpCheckMethod != nil && *in.HttpCheckMethod != "HEAD" && *in.HttpCheckMethod != "GET":
		return errorf(codeValue, "The value of HealthCheck.HttpCheckMethod is %q, it should be HEAD or GET.", *in.HttpCheckMethod)
	case in.HttpVersion != nil && *in.HttpVersion != "HTTP/1.0" && *in.HttpVersion != "HTTP/1.1":
		return errorf(codeValue, "The value of HealthCheck.HttpVersion is %q, it should be HTTP/1.0 or HTTP/1.1.", *in.HttpVersion)
	case in.ContextType != nil && *in.ContextType != "HEX" && *in.ContextType != "TEXT":
		return errorf(codeValue, "The value of HealthCheck.ContextType is %q, it should be HEX or TEXT.", *in.ContextType)
	case in.ExtendedCode != nil && !grpcCodes.MatchString(*in.ExtendedCode):
		return errorf(codeValue, "The value of HealthCheck.ExtendedCode is %q, it should be like 12, or 20,25, or 0-99.", *in.ExtendedCode)
	}
	return nil
}

var grpcCodes = regexp.MustCompile(`^[0-9]{1,2}(-[0-9]{1,2}|(,[0-9]{1,2})*)$`)

// checkTypes are the types that the listeners of a protocol may have, or their
// rules.
var checkTypes = map[string][]string{
	TCP:    {CheckTCP, CheckHTTP, CheckCustom},
	UDP:    {CheckPing, CheckCustom},
	TCPSSL: {CheckTCP, CheckHTTP},
	QUIC:   {CheckTCP, CheckHTTP},
	HTTP:   {CheckHTTP, CheckGRPC},
	HTTPS:  {CheckHTTP, CheckHTTPS, CheckGRPC},
}

// check checks the fields against each other.
func (h HealthCheck) check(on kind, a Assumptions) *Error {
	protocol, rule := on.protocol, layer7(on.protocol)
	switch allowed := checkTypes[protocol]; {
	case protocol == TCP && on.v6 && h.Type != CheckTCP:
		return errorf(codeValue, "The value of HealthCheck.CheckType is %q, it should be TCP in TCP listener of IPv6.", h.Type)
	case !slices.Contains(allowed, h.Type):
		return errorf(codeValue, "The value of HealthCheck.CheckType is %q, it should be one of %s in %s listener.", h.Type, strings.Join(allowed, ", "), protocol)
	case h.Timeout >= h.Interval:
		return errorf(codeValue, "HealthCheck.TimeOut (%d) should be less than HealthCheck.IntervalTime (%d).", h.Timeout, h.Interval)
	case h.Type == CheckHTTP && !rule && h.HTTPDomain == "":
		return errorf(codeValue, "HealthCheck.HttpCheckDomain can't be None.")
	case h.Type == CheckHTTP && !rule && h.HTTPVersion == "" && a.HTTPVersionRequired:
		return errorf(codeValue, "HealthCheck.HttpVersion can't be None.")
	case h.GRPCCode != "" && h.Type != CheckGRPC:
		return errorf(codeValue, "HealthCheck.ExtendedCode is for GRPC only.")
	case h.Type == CheckCustom:
		return h.checkCustom()
	}
	return nil
}

func (h HealthCheck) checkCustom() *Error {
	for _, f := range []struct{ name, value string }{{"ContextType", h.Context}, {"SendContext", h.Send}, {"RecvContext", h.Receive}} {
		switch {
		case f.value == "":
			return errorf(codeValue, "HealthCheck.%s can't be None.", f.name)
		case len(f.value) > 500:
			return errorf(codeLength, "The length of HealthCheck.%s is %d, it should be at most 500.", f.name, len(f.value))
		case strings.ContainsFunc(f.value, func(r rune) bool { return r < ' ' || r > '~' }):
			return errorf(codeValue, "HealthCheck.%s should consist of visible ASCII characters.", f.name)
		case h.Context == "HEX" && f.name != "ContextType" && (len(f.value)%2 == 1 || strings.Trim(f.value, "0123456789ABCDEF") != ""):
			return errorf(codeValue, "HealthCheck.%s should consist of pairs of 0 to 9 and A to F.", f.name)
		}
	}
	return nil
}

func (h HealthCheck) rules(c Health) health.Check {
	return health.Check{Off: !h.On, Interval: c.scale(time.Duration(h.Interval) * time.Second), Rise: int(h.HealthNum), Fall: int(h.UnhealthNum)}
}

func (h HealthCheck) wire(protocol string) *clb.HealthCheck {
	out := &clb.HealthCheck{
		HealthSwitch: new(int64(0)), TimeOut: new(h.Timeout), IntervalTime: new(h.Interval), HealthNum: new(h.HealthNum),
		UnHealthNum: new(h.UnhealthNum), CheckType: new(h.Type), SourceIpType: new(h.SourceIPType),
	}
	if h.On {
		out.HealthSwitch = new(int64(1))
	}
	if h.Port != 0 {
		out.CheckPort = new(h.Port)
	}
	if h.Type == CheckHTTP || h.Type == CheckHTTPS || h.Type == CheckGRPC {
		out.HttpCode, out.HttpCheckPath, out.HttpCheckDomain, out.HttpCheckMethod = new(h.HTTPCode), new(h.HTTPPath), new(h.HTTPDomain), new(h.HTTPMethod)
	}
	if h.Type == CheckHTTP && !layer7(protocol) {
		out.HttpVersion = new(h.HTTPVersion)
	}
	if h.Type == CheckGRPC {
		out.ExtendedCode = new(cmp.Or(h.GRPCCode, "12"))
	}
	if h.Type == CheckCustom {
		out.ContextType, out.SendContext, out.RecvContext = new(h.Context), new(h.Send), new(h.Receive)
	}
	return out
}
