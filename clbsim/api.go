// SPDX-License-Identifier: Apache-2.0

package clbsim

import (
	stdjson "encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	// The SDK's own encoder: it knows the "omitnil" of the SDK's structs and
	// keeps empty lists, as the API does.
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/json"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/clbsync/clbsync/clbsim/admin"
	"github.com/clbsync/clbsync/clbsim/cloud"
)

// maxBody is the largest request that the API takes.
const maxBody = 10 << 20

// exchange is one call on its way.
type exchange struct {
	sim  *Sim
	r    *http.Request
	body []byte
	id   string // RequestId
	seq  int    // in the record of calls
	hits []*fault
}

// outcome is how a call is answered: a body in the HTTP 200 envelope, or one
// of the two ways in which there is none.
type outcome struct {
	body          []byte
	code, message string
}

// serveAPI answers one call as the cloud would. Errors, too, are HTTP 200.
func (s *Sim) serveAPI(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	body, readErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	x := &exchange{sim: s, r: r, body: body, id: string(uuid.NewUUID())}
	x.record(arrived)
	var out outcome
	if readErr != nil {
		out = x.refuse(&cloud.Error{Code: "RequestSizeLimitExceeded", Message: "The request is larger than 10 MB, or was cut off."})
	} else {
		out = x.run() //nolint:contextcheck // what falls due meanwhile, such as probes, outlives the call
	}
	s.calls.finish(x.seq, out.code, out.message, time.Now())
	switch out.code {
	case admin.CodeDropped, admin.CodeGone:
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case admin.CodeUnavailable:
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(out.body)
	}
}

func (x *exchange) record(arrived time.Time) {
	h := x.r.Header
	auth, _ := parseAuthorization(h.Get("Authorization"))
	action := h.Get("X-TC-Action")
	a, known := cloud.Named(action)
	x.sim.mu.Lock()
	x.hits = x.sim.faults.hit(action, x.body)
	x.sim.mu.Unlock()
	parameters := stdjson.RawMessage(x.body)
	if !stdjson.Valid(x.body) {
		parameters, _ = stdjson.Marshal(string(x.body))
	}
	x.seq = x.sim.calls.arrive(admin.Call{
		RequestID: x.id, Time: arrived, Service: auth.service, Version: h.Get("X-TC-Version"), Action: action, Region: h.Get("X-TC-Region"),
		SecretID: auth.secretID, Parameters: parameters, Write: known && a.Write, Fault: faultIDs(x.hits),
	})
}

// run takes a call through its faults and, if they let it, through the cloud.
func (x *exchange) run() outcome {
	if f := of(x.hits, admin.KindDelay); f != nil && !x.pause(time.Duration(f.Delay)) {
		return gone("before the call was carried out")
	}
	if f := of(x.hits, admin.KindHoldBefore); f != nil && !x.hold(f) {
		return gone("before the call was carried out")
	}
	switch {
	case of(x.hits, admin.KindDropBefore) != nil:
		return outcome{code: admin.CodeDropped, message: "before the call was carried out"}
	case of(x.hits, admin.KindUnavailable) != nil:
		return outcome{code: admin.CodeUnavailable, message: "the call was not carried out"}
	}
	out := x.perform()
	if f := of(x.hits, admin.KindHoldAfter); f != nil && !x.hold(f) {
		return gone("after the call was carried out")
	}
	if of(x.hits, admin.KindDropAfter) != nil {
		return outcome{code: admin.CodeDropped, message: "after the call was carried out"}
	}
	return out
}

func gone(when string) outcome { return outcome{code: admin.CodeGone, message: when} }

// wait returns true once c is closed or sends, and false if the caller hangs
// up or the simulator ends first.
func wait[T any](x *exchange, c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-x.r.Context().Done():
	case <-x.sim.ctx.Done():
	}
	return false
}

func (x *exchange) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	return wait(x, t.C)
}

// hold waits until a fault is cleared.
func (x *exchange) hold(f *fault) bool {
	defer func() {
		x.sim.mu.Lock()
		defer x.sim.mu.Unlock()
		f.holding--
		x.sim.faults.sweep()
	}()
	return wait(x, f.cleared)
}

// perform authenticates a call and carries it out.
func (x *exchange) perform() outcome {
	if x.r.Method != http.MethodPost {
		return x.refuse(&cloud.Error{Code: "UnsupportedProtocol", Message: "clbsim takes POST requests with a JSON body."})
	}
	action, region, err := x.admit()
	if err != nil {
		return x.refuse(err)
	}
	if f := of(x.hits, admin.KindError); f != nil {
		return x.refuse(&cloud.Error{Code: f.Code, Message: f.Message})
	}
	faults := taskFaults(x.hits)
	body, ended, err := x.sim.do(cloud.Request{Action: action, Region: region, ID: x.id, Body: x.body, Faults: faults})
	if err == nil && faults.Hang {
		x.sim.remember(of(x.hits, admin.KindTaskHang), x.id)
	}
	if err == nil && ended != nil {
		if !wait(x, ended) {
			return gone("after the call was carried out")
		}
		err = x.sim.taskOutcome(x.id)
	}
	if err != nil {
		return x.refuse(err)
	}
	return outcome{body: body}
}

// admit answers who calls what, and whether they may now.
func (x *exchange) admit() (action *cloud.Action, region string, err *cloud.Error) {
	now := time.Now()
	s := x.sim
	auth, key, err := authenticate(x.r, x.body, s.cfg.Credentials, now)
	if err != nil {
		return nil, "", err
	}
	h := x.r.Header
	action, err = cloud.Lookup(auth.service, h.Get("X-TC-Version"), h.Get("X-TC-Action"))
	if err != nil {
		return nil, "", err
	}
	region = h.Get("X-TC-Region")
	switch {
	case region == "" && !action.Global:
		return nil, "", &cloud.Error{Code: "MissingParameter", Message: "The request is missing a required parameter `Region`."}
	case slices.Contains(key.Deny, action.Service+":"+action.Name):
		return nil, "", &cloud.Error{Code: "UnauthorizedOperation", Message: "You are not authorized to perform operation (" + action.Service + ":" + action.Name + "), no permission."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return action, region, s.limiter.take(action.Name, region, now)
}

func (x *exchange) refuse(err *cloud.Error) outcome {
	type failure struct{ Code, Message string }
	body, _ := stdjson.Marshal(map[string]any{"Response": map[string]any{"Error": failure{err.Code, err.Message}, "RequestId": x.id}})
	return outcome{body: body, code: err.Code, message: err.Message}
}

// envelope wraps a response struct of the SDK.
func envelope(response any) ([]byte, error) {
	return json.Marshal(struct{ Response any }{response})
}
