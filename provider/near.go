// SPDX-License-Identifier: Apache-2.0

package provider

import "strings"

// nearest returns the key that was probably meant by name in a group (empty, or with its dot), or "": a
// misspelling of a key of that group (about a letter in three wrong), or a key that belongs to another one, as after a lost indentation.
func nearest(prefix, name string) string {
	best, least := "", 0
	for _, child := range children(strings.TrimSuffix(prefix, ".")) {
		if d := distance(bare(name), bare(child)); child != "*" && d <= (len(child)+1)/3 && (best == "" || d < least) {
			best, least = prefix+child, d
		}
	}
	if best != "" {
		return best
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

// bare is a name without what people get wrong about names: capitals and separators.
func bare(name string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
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
