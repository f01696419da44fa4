// SPDX-License-Identifier: Apache-2.0

// Package house holds the rules of the project's structure as tests: which package may import which, what a
// pure package must not reach, that each package says what it decides. It has no code of its own.
package house
