// SPDX-License-Identifier: Apache-2.0

// Package debian gets Debian packages for any architecture with apt, and unpacks what an image needs of them, without
// installing anything and without a container engine.
//
// It decides which packages a program needs (with its dependencies, without what is only recommended) and which of
// their files an image is better off without. Where packages come from is the machine's own apt configuration, and only
// what Debian itself has signed is taken. The builder of images (package images) calls it.
//
// The same List gives the same files: a List names versions and checksums, and an image that was built from one can be
// built from it again for as long as the machine's apt has those versions.
package debian
