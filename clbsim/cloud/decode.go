// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decode reads the parameters of a call into one of the SDK's request structs,
// whose JSON tags are the names on the wire. It is as strict as the real API:
// an unknown name, at any depth, is UnknownParameter, and a value of the wrong
// type is InvalidParameter. encoding/json alone would let both of
// {"loadbalancerid":…} and {"Ports":["80"]} pass.
func decode(body []byte, into any) *Error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var raw any
	if err := d.Decode(&raw); err != nil {
		return errorf(codeInvalid, "The request body is not valid JSON: %v.", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errorf(codeInvalid, "The request body goes on after its JSON object.")
	}
	object, ok := raw.(map[string]any)
	if !ok {
		return errorf(codeInvalid, "The request body is not a JSON object.")
	}
	return decodeObject("", object, reflect.ValueOf(into).Elem())
}

func decodeObject(path string, object map[string]any, v reflect.Value) *Error {
	fields := wireFields(v.Type())
	for _, name := range slices.Sorted(maps.Keys(object)) {
		i, ok := fields[name]
		if !ok {
			return errorf(codeUnknownParameter, "The parameter `%s` is not recognized.", join(path, name))
		}
		if err := decodeValue(join(path, name), object[name], v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func decodeValue(path string, raw any, v reflect.Value) *Error {
	if raw == nil {
		return nil // null is the same as absent
	}
	wrong := func(want string) *Error {
		return errorf(codeInvalid, "The type of the parameter `%s` is wrong, it should be %s.", path, want)
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if err := decodeValue(path, raw, p.Elem()); err != nil {
			return err
		}
		v.Set(p)
	case reflect.Slice:
		list, ok := raw.([]any)
		if !ok {
			return wrong("Array")
		}
		s := reflect.MakeSlice(v.Type(), len(list), len(list))
		for i, item := range list {
			at := join(path, strconv.Itoa(i))
			if item == nil {
				return errorf(codeInvalid, "The parameter `%s` is null.", at)
			}
			if err := decodeValue(at, item, s.Index(i)); err != nil {
				return err
			}
		}
		v.Set(s)
	case reflect.Struct:
		object, ok := raw.(map[string]any)
		if !ok {
			return wrong("Object")
		}
		return decodeObject(path, object, v)
	default:
		return decodeScalar(raw, v, wrong)
	}
	return nil
}

func decodeScalar(raw any, v reflect.Value, wrong func(string) *Error) *Error {
	number, _ := raw.(json.Number)
	switch v.Kind() {
	case reflect.String:
		s, ok := raw.(string)
		if !ok {
			return wrong("String")
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := raw.(bool)
		if !ok {
			return wrong("Boolean")
		}
		v.SetBool(b)
	case reflect.Int64:
		n, err := strconv.ParseInt(number.String(), 10, 64)
		if err != nil {
			return wrong("Integer")
		}
		v.SetInt(n)
	case reflect.Uint64:
		n, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return wrong("Integer, not negative")
		}
		v.SetUint(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(number.String(), 64)
		if err != nil {
			return wrong("Float")
		}
		v.SetFloat(n)
	default:
		return wrong("left out")
	}
	return nil
}

// wireFields maps the names on the wire to the fields of an SDK struct.
func wireFields(t reflect.Type) map[string]int {
	out := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out[name] = i
		}
	}
	return out
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
