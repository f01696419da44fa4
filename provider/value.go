// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Value is the type of a key: it says in words what it takes, and takes it.
type Value struct {
	Want   string // "a duration of 2s to 5m0s"
	WantZH string
	tags   []string       // the YAML types that it takes, "!!str"
	schema map[string]any // the same as JSON schema; what that cannot say is in bounds
	bounds *Bounds        // of a duration
	set    func(c *CloudConfig, name, text string) error
}

// errValue says no more than that the text is not of the type: Want says the rest.
var errValue = errors.New("not of the type")

// text is a Value of YAML's type string. What matches pattern, set takes; see also Value.bounds.
func text(want, wantZH, pattern string, set func(*CloudConfig, string) error) Value {
	schema := map[string]any{"type": "string", "pattern": pattern}
	return Value{Want: want, WantZH: wantZH, tags: []string{"!!str"}, schema: schema, set: func(c *CloudConfig, _, s string) error { return set(c, s) }}
}

func fixed(only string) Value {
	return text(only, only, "^"+regexp.QuoteMeta(only)+"$", func(_ *CloudConfig, s string) error {
		if s != only {
			return errValue
		}
		return nil
	})
}

// choice takes one of the words.
func choice[T ~string](field func(*CloudConfig) *T, words ...T) Value {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	last := len(list) - 1
	v := text(strings.Join(list[:last], ", ")+" or "+list[last], strings.Join(list[:last], "、")+" 或 "+list[last], "", func(c *CloudConfig, s string) error {
		if !slices.Contains(list, s) {
			return errValue
		}
		*field(c) = T(s)
		return nil
	})
	v.schema = map[string]any{"enum": list}
	return v
}

// pattern takes texts that match the whole of expr.
func pattern(expr, want, wantZH string, field func(*CloudConfig) *string) Value {
	re := regexp.MustCompile("^(?:" + expr + ")$")
	return text(want, wantZH, "^("+expr+")$", func(c *CloudConfig, s string) error {
		if !re.MatchString(s) {
			return errValue
		}
		*field(c) = s
		return nil
	})
}

var (
	regionRE = regexp.MustCompile(`^[a-z]{2,}-[a-z]+(-[a-z]+)*$`)
	zoneRE   = regexp.MustCompile(`^([a-z]{2,}-[a-z]+(?:-[a-z]+)*)-[0-9]+$`)
)

func region(field func(*CloudConfig) *string) Value {
	return text("a region, such as ap-guangzhou", "地域，如 ap-guangzhou", regionRE.String(), func(c *CloudConfig, s string) error {
		if m := zoneRE.FindStringSubmatch(s); m != nil {
			return fmt.Errorf("that is a zone; its region is %s", m[1])
		}
		if !regionRE.MatchString(s) {
			return errValue
		}
		*field(c) = s
		return nil
	})
}

// regions takes a list of regions.
func regions(field func(*CloudConfig) *[]string) Value {
	one := strings.TrimSuffix(strings.TrimPrefix(regionRE.String(), "^"), "$")
	return text("regions, separated by commas, such as ap-shanghai,ap-beijing", "地域，以逗号分隔，如 ap-shanghai,ap-beijing", "^"+one+"(,"+one+")*$", func(c *CloudConfig, s string) error {
		all := strings.Split(s, ",")
		for _, name := range all {
			if m := zoneRE.FindStringSubmatch(name); m != nil {
				return fmt.Errorf("%s is a zone; its region is %s", name, m[1])
			}
			if !regionRE.MatchString(name) {
				return errValue
			}
		}
		*field(c) = all
		return nil
	})
}

// secret takes any text on one line without blanks: those come from a bad copy, and the API would answer
// with a wrong signature, which sends people to look for another cause.
func secret(want, wantZH string, field func(*CloudConfig) *string) Value {
	return text(want+", without blanks", wantZH+"，不含空白字符", "^[!-~]+$", func(c *CloudConfig, s string) error {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return errValue
		}
		*field(c) = s
		return nil
	})
}

// linkPattern lets fewer pass than url.Parse does: host, port and path of ordinary letters.
const linkPattern = `^https?://[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-._~/A-Za-z0-9]*)?$`

func link(field func(*CloudConfig) *string) Value {
	return text("a URL with http:// or https:// and a host, such as http://127.0.0.1:8090", "以 http:// 或 https:// 开头的 URL，如 http://127.0.0.1:8090", linkPattern, func(c *CloudConfig, s string) error {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			return errValue
		case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
			return errors.New("it has more than scheme, host, port and path")
		}
		*field(c) = s
		return nil
	})
}

func boolean(field func(*CloudConfig) *bool) Value {
	return Value{Want: "true or false", WantZH: "true 或 false", tags: []string{"!!bool"}, schema: map[string]any{"type": "boolean"}, set: func(c *CloudConfig, _, s string) error {
		// YAML 1.2 has more spellings (True, TRUE) than Go and Kubernetes agree on.
		if s != "true" && s != "false" {
			return errValue
		}
		*field(c) = s == "true"
		return nil
	}}
}

func integer(low, high int, field func(*CloudConfig) *int) Value {
	want := fmt.Sprintf("%d to %d", low, high)
	return Value{Want: "a number, " + want, WantZH: fmt.Sprintf("整数，%d 到 %d", low, high), tags: []string{"!!int"}, schema: map[string]any{"type": "integer", "minimum": low, "maximum": high}, set: func(c *CloudConfig, _, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return errValue
		}
		*field(c) = n
		return nil
	}}
}

func number(low, high float64, field func(*CloudConfig) *float64) Value {
	return Value{Want: fmt.Sprintf("a number, %v to %v", low, high), WantZH: fmt.Sprintf("数值，%v 到 %v", low, high), tags: []string{"!!int", "!!float"}, schema: map[string]any{"type": "number", "minimum": low, "maximum": high}, set: func(c *CloudConfig, _, s string) error {
		n, err := parseNumber(s, low, high)
		if err != nil {
			return err
		}
		*field(c) = n
		return nil
	}}
}

var actionRE = regexp.MustCompile(`^[A-Z][A-Za-z]+$`)

// action is a number under the name of an API action.
func action(low, high float64) Value {
	v := number(low, high, nil)
	v.set = func(c *CloudConfig, name, s string) error {
		if !actionRE.MatchString(name) {
			return errors.New("the name of an action looks like DescribeTargets")
		}
		n, err := parseNumber(s, low, high)
		if err != nil {
			return err
		}
		if c.RateLimits.Actions == nil {
			c.RateLimits.Actions = map[string]float64{}
		}
		c.RateLimits.Actions[name] = n
		return nil
	}
	return v
}

func parseNumber(s string, low, high float64) (float64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= low && n <= high) { // NaN is neither
		return 0, errValue
	}
	return n, nil
}

// durationPattern lets fewer pass than time.ParseDuration does: what a template can read.
const durationPattern = `^([0-9]+(\.[0-9]{1,3})?(ms|s|m|h))+$`

// duration takes Go's durations within bounds; a unit other than 0 is what they have to be multiples of.
func duration(low, high, unit time.Duration, field func(*CloudConfig) *time.Duration) Value {
	want, wantZH := fmt.Sprintf("a duration of %s to %s", plain(low), plain(high)), fmt.Sprintf("时长，%s 到 %s", plain(low), plain(high))
	if unit == time.Second {
		want, wantZH = want+" in whole seconds", wantZH+"，须为整秒"
	}
	v := text(want, wantZH, durationPattern, func(c *CloudConfig, s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high || unit != 0 && d%unit != 0 {
			return errValue
		}
		*field(c) = d
		return nil
	})
	v.bounds = &Bounds{Low: low, High: high, Unit: unit}
	return v
}

// plain is the duration as people write it: 5m, not 5m0s.
func plain(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func (v Value) takes(tag string) bool { return slices.Contains(v.tags, tag) }
