// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// object takes a JSON object without fields that T lacks; check says what else is wrong with it, nil if nothing is, and
// may bring it into its one form. kind is the type for people, with an example.
func object[T any](kind string, check func(*T) error, field func(*Options, *T)) Value {
	return Value{Type: kind, set: func(o *Options, s string) error {
		v, err := decode[T](s)
		if err == nil {
			err = check(v)
		}
		if err != nil {
			return err
		}
		field(o, v)
		return nil
	}}
}

// decode reads one JSON value and nothing else. A null is none: it would decode into anything.
func decode[T any](s string) (*T, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.DisallowUnknownFields()
	var v *T
	if err := d.Decode(&v); err != nil {
		return nil, readable(err)
	}
	if v == nil {
		return nil, errors.New("null is no value")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the end of the JSON value")
	}
	if name := repeated(s); name != "" {
		return nil, fmt.Errorf("%q stands twice", name)
	}
	return v, nil
}

// readable says what encoding/json found in words that name the field.
func readable(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%q is a JSON %s, which does not fit", e.Field, e.Value)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is no JSON: %w at byte %d", e, e.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is no JSON: it ends too early")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// repeated returns a name that stands twice in one object of a JSON text, "" if none does: encoding/json takes the last
// and says nothing, and which of two settings somebody meant cannot be known. Names that differ in case alone fill the
// same field, so they count as one.
func repeated(s string) string {
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	type level struct {
		names  map[string]bool // nil in a list
		isName bool            // the next token is a name
	}
	var open []level
	for {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		if n := len(open) - 1; n >= 0 && open[n].names != nil {
			if name, ok := t.(string); ok && open[n].isName {
				if open[n].names[strings.ToLower(name)] {
					return name
				}
				open[n].names[strings.ToLower(name)], open[n].isName = true, false
				continue
			}
			open[n].isName = true
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}, isName: true})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}

// between refuses a number out of bounds; nil is in bounds.
func between(name string, v *int, low, high int) error {
	if v != nil && (*v < low || *v > high) {
		return fmt.Errorf("%s is %d, not %d to %d", name, *v, low, high)
	}
	return nil
}

// oneOf refuses a word that is none of those; "" is in order.
func oneOf(name, v string, words ...string) error {
	if v == "" || slices.Contains(words, v) {
		return nil
	}
	return fmt.Errorf("%s is %q, not %s", name, v, strings.Join(words, ", "))
}
