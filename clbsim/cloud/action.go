// SPDX-License-Identifier: Apache-2.0

package cloud

import "strings"

// The services and their API versions.
const (
	ServiceCLB = "clb"
	ServiceCVM = "cvm"
	ServiceTag = "tag"
	ServiceVPC = "vpc"

	versionCLB = "2018-03-17"
	versionCVM = "2017-03-12"
	versionTag = "2018-08-13"
	versionVPC = "2017-03-12"
)

// Action is one action of the API.
type Action struct {
	Service string
	Version string
	Name    string
	Write   bool
	Global  bool // needs no region

	documented []string // error codes
	decode     func(body []byte) (any, *Error)
	run        func(k *call, in any) (any, *Error)
}

// Lookup finds an action as the API does, or says which part is unknown.
func Lookup(service, version, name string) (*Action, *Error) {
	v, ok := versions[service]
	if !ok {
		return nil, errorf("NoSuchProduct", "The product `%s` does not exist.", service)
	}
	if version != v {
		return nil, errorf("NoSuchVersion", "The version `%s` of the product `%s` does not exist.", version, service)
	}
	for i := range actions {
		if a := &actions[i]; a.Service == service && a.Name == name {
			return a, nil
		}
	}
	return nil, errorf("InvalidAction", "The request action=`%s` is invalid or not found.", name)
}

// Named finds an action by name alone: names are unique over the services.
func Named(name string) (*Action, bool) {
	a := actionByName(name)
	return a, a != nil
}

func actionByName(name string) *Action {
	for i := range actions {
		if actions[i].Name == name {
			return &actions[i]
		}
	}
	return nil
}

// Actions lists the names of all actions.
func Actions() []string {
	out := make([]string, len(actions))
	for i := range actions {
		out[i] = actions[i].Name
	}
	return out
}

var versions = map[string]string{ServiceCLB: versionCLB, ServiceCVM: versionCVM, ServiceTag: versionTag, ServiceVPC: versionVPC}

func read[In, Out any](service, name, codes string, run func(*call, *In) (*Out, *Error)) Action {
	return Action{
		Service: service, Version: versions[service], Name: name, Global: service == ServiceTag,
		documented: strings.Fields(codes),
		decode: func(body []byte) (any, *Error) {
			in := new(In)
			return in, decode(body, in)
		},
		run: func(k *call, in any) (any, *Error) { return run(k, in.(*In)) },
	}
}

func write[In, Out any](service, name, codes string, run func(*call, *In) (*Out, *Error)) Action {
	a := read(service, name, codes, run)
	a.Write = true
	return a
}

// documentedError narrows an error to the codes of the action. The busy code
// is special: whether actions that do not list it answer it is not known.
func (a *Action) documentedError(err *Error, lockCode string) *Error {
	if err.Code == codeBusy && lockCode == Always {
		return err
	}
	return &Error{Code: narrow(a.documented, err.Code), Message: err.Message}
}
