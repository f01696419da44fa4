// SPDX-License-Identifier: Apache-2.0

package lbsync

import (
	"context"
	"errors"
	"testing"
)

// half refuses the first target of a registration, and of the others it is not known what became of them.
type half struct{ *fakeCloud }

func (h half) Register(_ context.Context, _ string, changes []Change) error {
	return errors.Join(&Error{Action: "Register", Err: errFault}, Refusals{{Binding: changes[0].Binding, Err: errFault}})
}

func TestRefusalsBesideAnotherErrorAreThatError(t *testing.T) {
	key := ListenerKey{Protocol: TCP, Port: 80}
	start := LoadBalancer{Present: true, Instance: Instance{Owner: Owner{"cls-demo", "u"}},
		Listeners: map[ListenerKey]Listener{key: {ListenerKey: key, Name: ListenerName("u")}}}
	cloud := &fakeCloud{}
	actual, err := Diff(LoadBalancer{}, start).Apply(t.Context(), cloud, LoadBalancer{})
	if err != nil {
		t.Fatal(err)
	}
	want := start.Clone()
	want.Targets = map[Binding]int{{key, Target{Instance: "ins-1", Port: 1}}: 10, {key, Target{Instance: "ins-2", Port: 1}}: 10}
	now, err := Diff(actual, want).Apply(t.Context(), half{cloud}, actual)
	if _, only := OnlyRefused(err); err == nil || only {
		t.Errorf("got %v, want the error whose outcome is unknown", err)
	}
	if len(now.Targets) != 0 {
		t.Errorf("%v are said to be registered, which nobody knows", now.Targets)
	}
}
