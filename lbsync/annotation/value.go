// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
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
		if s != "true" && s != "false" {
			return errValue
		}
		if field != nil {
			*field(o) = s == "true"
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

// flag takes a boolean whose absence is something else than false.
func flag(field func(*Options) **bool) Value {
	return Value{Type: `"true" or "false"`, set: func(o *Options, s string) error {
		if s != "true" && s != "false" {
			return errValue
		}
		*field(o) = new(s == "true")
		return nil
	}}
}

// integer takes whole numbers in decimal, without sign.
func integer(low, high int, unit string, field func(*Options) *int) Value {
	return Value{Type: fmt.Sprintf("a whole number, %d to %d%s", low, high, unit), set: func(o *Options, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high || strconv.Itoa(n) != s {
			return errValue
		}
		*field(o) = n
		return nil
	}}
}

// list takes texts that match the whole of expr, separated by commas, without repeats.
func list(expr, like string, most int, field func(*Options) *[]string) Value {
	re := regexp.MustCompile("^(?:" + expr + ")$")
	return Value{Type: like, set: func(o *Options, s string) error {
		var out []string
		for one := range strings.SplitSeq(s, ",") {
			if one = strings.TrimSpace(one); !re.MatchString(one) {
				return fmt.Errorf("%q is none", one)
			}
			if slices.Contains(out, one) {
				return fmt.Errorf("%q stands twice", one)
			}
			out = append(out, one)
		}
		if len(out) > most {
			return fmt.Errorf("there are %d, not at most %d", len(out), most)
		}
		*field(o) = out
		return nil
	}}
}

// ranges takes ranges of addresses, separated by commas. Nothing at all is no range, as in the stock controller.
func ranges(field func(*Options) *[]string) Value {
	return Value{Type: "ranges of addresses like 10.0.0.0/8,2001:db8::/32", set: func(o *Options, s string) error {
		if strings.TrimSpace(s) == "" {
			return nil
		}
		var out []string
		for one := range strings.SplitSeq(s, ",") {
			one = strings.TrimSpace(one)
			if _, err := netip.ParsePrefix(one); err != nil {
				return fmt.Errorf("%q is none", one)
			}
			out = append(out, one)
		}
		*field(o) = out
		return nil
	}}
}
