// SPDX-License-Identifier: Apache-2.0

package serviceconfig

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Listener is a listener of a Service, for which Auto has a section.
type Listener struct {
	Key
	Domains []string // of HTTP and HTTPS, sorted; each has one rule
	URL     string   // of those rules
	Check   *HealthCheck
}

// Auto returns the spec of the TkeServiceConfig that is made for a Service with these listeners: what is in was of them, and with
// sections for those that was has none for. Sections, domains and rules for which there is no listener any more go. Neither
// argument is changed; was may be nil.
func Auto(was map[string]any, listeners []Listener) map[string]any {
	out := map[string]any{}
	maps.Copy(out, was)
	lb := map[string]any{}
	if m, ok := was[schema.Name].(map[string]any); ok {
		maps.Copy(lb, m)
	}
	for _, name := range []string{layer4Name, layer7Name} {
		old, _ := lb[name].([]any)
		var sections []any
		for _, l := range listeners {
			if (name == layer7Name) == (l.Protocol == "HTTP" || l.Protocol == "HTTPS") {
				sections = append(sections, l.section(find(old, l.is)))
			}
		}
		if delete(lb, name); sections != nil {
			lb[name] = sections
		}
	}
	out[schema.Name] = lb
	return out
}

// Same reports whether two specs say the same.
func Same(a, b map[string]any) bool { return reflect.DeepEqual(plainValue(a), plainValue(b)) }

// plainValue brings numbers, and lists and maps that are nil, into one form.
func plainValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, one := range v {
			out[k] = plainValue(one)
		}
		return out
	case []any:
		out := []any{}
		for _, one := range v {
			out = append(out, plainValue(one))
		}
		return out
	}
	if n, ok := whole(v); ok {
		return n
	}
	return v
}

func (l Listener) is(m map[string]any) bool {
	port, ok := whole(m["port"])
	return ok && port == l.Port && m["protocol"] == l.Protocol
}

// find returns the first object of a list that is it, nil if none is.
func find(list []any, is func(map[string]any) bool) map[string]any {
	for _, one := range list {
		if m, ok := one.(map[string]any); ok && is(m) {
			return m
		}
	}
	return nil
}

// section returns the section of a listener, with what a person wrote into it.
func (l Listener) section(was map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, was)
	if was == nil {
		out["protocol"], out["port"] = l.Protocol, int64(l.Port)
		if l.Check != nil && len(l.Domains) == 0 {
			out["healthCheck"] = l.Check.object()
		}
	}
	if len(l.Domains) == 0 {
		return out
	}
	old, _ := was["domains"].([]any)
	var domains []any
	for _, d := range l.Domains {
		domain := map[string]any{"domain": d}
		maps.Copy(domain, find(old, func(m map[string]any) bool { return m["domain"] == d }))
		rules, _ := domain["rules"].([]any)
		if find(rules, func(m map[string]any) bool { return m["url"] == l.URL }) == nil {
			rule := map[string]any{"url": l.URL}
			if l.Check != nil {
				rule["healthCheck"] = l.Check.object()
			}
			rules = append(slices.Clone(rules), rule)
		}
		domain["rules"] = rules
		domains = append(domains, domain)
	}
	out["domains"] = domains
	if d, set := out["defaultServer"].(string); set && !slices.Contains(l.Domains, d) {
		delete(out, "defaultServer")
	}
	return out
}

// object is what a new section says of a check: the numbers that hold anyway, to be edited.
func (h *HealthCheck) object() map[string]any {
	return map[string]any{"enable": h.Enable, "intervalTime": int64(h.Interval), "timeout": int64(h.Timeout), "healthNum": int64(h.Healthy), "unHealthNum": int64(h.Unhealthy)}
}

// String names the listener.
func (l Listener) String() string { return fmt.Sprintf("%s:%d", l.Protocol, l.Port) }
