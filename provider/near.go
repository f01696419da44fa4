// SPDX-License-Identifier: Apache-2.0

package provider

import "strings"

// nearest returns the key that was probably meant by name in a group (empty, or with its dot), or "": a
// misspelling of a key of that group, or a key that belongs to another one, as after a lost indentation.
func nearest(prefix, name string) string {
	for _, child := range children(strings.TrimSuffix(prefix, ".")) {
		if child != "*" && misspelt(name, child) {
			return prefix + child
		}
	}
	for _, f := range Fields {
		for key := f.Key; key != ""; key = parent(key) {
			if last := key[strings.LastIndexByte(key, '.')+1:]; strings.EqualFold(last, name) && key != prefix+name {
				return key
			}
		}
	}
	return ""
}

func parent(key string) string { return key[:max(strings.LastIndexByte(key, '.'), 0)] }

// misspelt reports whether a person could have written name for key: other capitals, other separators, or
// up to a letter in four wrong.
func misspelt(name, key string) bool {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r == '-' || r == '_' {
				return -1
			}
			return r
		}, strings.ToLower(s))
	}
	a, b := plain(name), plain(key)
	return distance(a, b) <= len(b)/4
}

// distance is the Levenshtein distance of two texts, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
