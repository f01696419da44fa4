// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Value is the type of an annotation: it parses a text and says in words what it takes, so that the
// documentation cannot contradict the parser.
type Value struct {
	Type string // "true or false"
	set  func(*Options, string) error
}

var errValue = errors.New("not of the type")

func boolean(field func(*Options) *bool) Value {
	return Value{Type: `"true" or "false"`, set: func(o *Options, s string) error {
		switch s {
		case "true":
			*field(o) = true
		case "false":
			*field(o) = false
		default:
			return errValue
		}
		return nil
	}}
}

// word takes one word and notes that it is there.
func word(word string, field func(*Options) *bool) Value {
	return Value{Type: `"` + word + `"`, set: func(o *Options, s string) error {
		if s != word {
			return errValue
		}
		*field(o) = true
		return nil
	}}
}

// choice takes one of the words.
func choice(words []string, field func(*Options) *string) Value {
	return Value{Type: `"` + strings.Join(words, `" or "`) + `"`, set: func(o *Options, s string) error {
		if !slices.Contains(words, s) {
			return errValue
		}
		*field(o) = s
		return nil
	}}
}

// pattern takes texts that match the whole of expr; like is an example for people.
func pattern(expr, like string, field func(*Options) *string) Value {
	re := regexp.MustCompile("^(?:" + expr + ")$")
	return Value{Type: like, set: func(o *Options, s string) error {
		if !re.MatchString(s) {
			return errValue
		}
		*field(o) = s
		return nil
	}}
}

// selector takes label selectors in Kubernetes' full syntax.
func selector(field func(*Options) *string) Value {
	return Value{Type: "a label selector like `group=web` or `tier in (front, edge),!spot`", set: func(o *Options, s string) error {
		if _, err := labels.Parse(s); err != nil {
			return errValue
		}
		*field(o) = s
		return nil
	}}
}

func anything(field func(*Options) *string) Value {
	return Value{Type: "text", set: func(o *Options, s string) error {
		if field != nil {
			*field(o) = s
		}
		return nil
	}}
}
