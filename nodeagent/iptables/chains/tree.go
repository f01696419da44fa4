// SPDX-License-Identifier: Apache-2.0

package chains

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A chain of a dispatch tree cuts its block of ports into at most 1<<radixBits smaller ones, and the smallest blocks, of
// 1<<leafBits ports, into single ports. What a packet pays is the rules that it is tested against on its way down, a chain's
// last ones above all: of ten thousand ports the worst meets 28 and passes 7 chains. Blocks of sixteen on all levels cost it
// 51 tests in 4 chains, blocks of 64 in two levels 131. Blocks of four to the bottom would save two more tests and need
// twice the chains, and each update of iptables-legacy pays for those.
//
// The blocks lie at fixed places in the port space: if they followed the ports in use, one new Service could move them all.
const radixBits, leafBits = 2, 3

// rootBits is the size of the first block: that of all ports, rounded up to what the levels below it add up to.
const rootBits = leafBits + 7*radixBits

// smaller returns the size of the blocks that one of 2^bits ports is cut into, as a power of two as well.
func smaller(bits int) int {
	if bits <= leafBits {
		return 0
	}
	return bits - radixBits
}

// leaf is what a tree does with one port.
type leaf struct {
	protocol corev1.Protocol
	port     uint16
	rest     string // the rule's end: comment and target
}

// tree is a set of chains that leads from the root chain to the leaves.
type tree struct {
	leaves []leaf
	chains map[Chain][]string
}

// newTree makes a tree; the leaves must be sorted by protocol and port. A packet whose port has no leaf comes out at the
// end of the root chain.
func newTree(root Chain, leaves []leaf) tree {
	t := tree{leaves, map[Chain][]string{root: {}}}
	for len(leaves) > 0 {
		n := 1
		for n < len(leaves) && leaves[n].protocol == leaves[0].protocol {
			n++
		}
		bits := rootBits
		for smaller(bits) > 0 && sameBlock(leaves[:n], smaller(bits)) {
			bits = smaller(bits)
		}
		t.addBlock(root, root.Name+"-"+string(leaves[0].protocol[0]), leaves[:n], bits)
		leaves = leaves[n:]
	}
	return t
}

func sameBlock(leaves []leaf, bits int) bool {
	return leaves[0].port>>bits == leaves[len(leaves)-1].port>>bits
}

// addBlock appends to chain the rules for leaves that all lie in one block of 2^bits ports.
func (t tree) addBlock(chain Chain, prefix string, leaves []leaf, bits int) {
	bits = smaller(bits)
	for len(leaves) > 0 {
		block := leaves[0].port >> bits
		n := 1
		for n < len(leaves) && leaves[n].port>>bits == block {
			n++
		}
		if n == 1 {
			t.chains[chain] = append(t.chains[chain], leaves[0].match(leaves[0].port, leaves[0].port)+leaves[0].rest)
		} else {
			first := block << bits
			last := first + (1<<bits - 1)
			below := Chain{chain.Table, fmt.Sprintf("%s%d-%d", prefix, first, last)}
			t.chains[chain] = append(t.chains[chain], leaves[0].match(first, last)+" -g "+below.Name)
			t.chains[below] = []string{}
			t.addBlock(below, prefix, leaves[:n], bits)
		}
		leaves = leaves[n:]
	}
}

func (l leaf) match(first, last uint16) string {
	p := protocolWord(l.protocol)
	if first == last {
		return fmt.Sprintf("-p %s -m %s --dport %d", p, p, first)
	}
	return fmt.Sprintf("-p %s -m %s --dport %d:%d", p, p, first, last)
}

func sortLeaves(leaves []leaf) {
	slices.SortFunc(leaves, func(a, b leaf) int {
		if n := strings.Compare(string(a.protocol), string(b.protocol)); n != 0 {
			return n
		}
		return int(a.port) - int(b.port)
	})
}
