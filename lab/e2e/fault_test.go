// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clbsync/clbsync/clbsim/admin"
)

// shortWait is for requests that nobody should answer.
const shortWait = 500 * time.Millisecond

// names reports whether the call's parameters name the load balancer.
func names(c admin.Call, id string) bool { return bytes.Contains(c.Parameters, []byte(id)) }

func TestBadAnnotationHarmsOnlyItsService(t *testing.T) {
	s := begin(t)
	s.deploy("n1", 1)
	bad := Service(s.ns, "bad", Annotate(InternalSubnet, "my-subnet"))
	_, err := s.Client.CoreV1().Services(s.ns).Create(s.ctx, bad, metav1.CreateOptions{})
	s.must(err)
	svc, address := s.create(Local, Annotate(OnlyBind, "true"))
	s.weights(svc.UID, map[string]int{"n1": 10})
	s.ask(ports(address)[0], 5)
	_, err = s.AwaitEvent(s.ctx, s.ns, "bad", corev1.EventTypeWarning, InternalSubnet, "my-subnet", "subnet-")
	s.must(err)
	if !s.ControllerRuns() {
		t.Error("the controller ended")
	}
	// Corrected, the Service gets what it asks for without anybody restarting anything.
	_, err = s.ChangeService(s.ctx, s.ns, "bad", func(svc *corev1.Service) { delete(svc.Annotations, InternalSubnet) })
	s.must(err)
	_, err = s.AwaitAddress(s.ctx, s.ns, "bad")
	s.must(err)
}

func TestWrongCloudSettingsAreExplainedAndHarmNothing(t *testing.T) {
	for _, tc := range []struct {
		name     string
		settings Settings
		says     []string // in the Event
	}{
		{"a wrong secret key", CloudConfig().With("credentials", map[string]any{"secretID": secretID, "secretKey": "WRONG"}), []string{"AuthFailure"}},
		{"an unknown secret ID", CloudConfig().With("credentials", map[string]any{"secretID": "AKIDNOBODY", "secretKey": secretKey}), []string{"AuthFailure"}},
		{"a region that does not exist", CloudConfig().With("region", "ap-atlantis"), []string{"ap-atlantis"}},
		{"an endpoint where nobody answers", CloudConfig().With("endpoints", map[string]any{
			"clb": "http://10.251.0.1:1", "cvm": "http://10.251.0.1:1", "tag": "http://10.251.0.1:1",
		}), []string{"10.251.0.1:1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := begin(t)
			s.deploy("n1", 1)
			served, address := s.create(Local, Annotate(OnlyBind, "true"))
			s.weights(served.UID, map[string]int{"n1": 10})
			s.must(s.StopController(s.ctx))
			s.recoverAtEnd()
			s.must(s.StartController(s.ctx, tc.settings))
			_, err := s.Client.CoreV1().Services(s.ns).Create(s.ctx, Service(s.ns, "new"), metav1.CreateOptions{})
			s.must(err)
			event, err := s.AwaitEvent(s.ctx, s.ns, "new", corev1.EventTypeWarning, tc.says...)
			s.must(err)
			t.Logf("Event: %s", event.Message)
			if log := s.ControllerLog(200); !strings.Contains(log, tc.says[0]) {
				t.Errorf("the log does not say %q:\n%s", tc.says[0], log)
			}
			if !s.ControllerRuns() {
				t.Error("the controller ended")
			}
			s.ask(ports(address)[0], 10)
			// With the settings corrected, all goes on.
			s.must(s.StopController(s.ctx))
			s.must(s.StartController(s.ctx, CloudConfig()))
			_, err = s.AwaitAddress(s.ctx, s.ns, "new")
			s.must(err)
		})
	}
}
