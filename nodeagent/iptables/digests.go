// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/clbsync/clbsync/nodeagent/iptables/chains"
)

// Digests has one number for each chain of ours that has rules: a digest of what they say, in their order, and not of what
// they have counted. It means nothing to another process.
type Digests map[chains.Chain]uint64

var digestSeed = maphash.MakeSeed()

// errNoDigests: iptables-legacy hands out whole tables only, and those its programs read as fast.
var errNoDigests = errors.New("there are no digests of iptables-legacy")

// Digests asks the kernel for those of the named chains, or without names of all of ours. Unlike iptables-nft-save, which
// takes half a minute where kube-proxy has loaded the rules of five thousand Services, it passes by the rules of others and
// puts none into words.
func (r Runner) Digests(of ...chains.Chain) (Digests, error) {
	if r.Variant != NFT {
		return nil, errNoDigests
	}
	var out Digests
	var err error
	for range interrupted {
		if out, err = r.dumpAll(of); !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

// interrupted is how often a list that others' transactions have interrupted is asked for.
const interrupted = 5

func (r Runner) dumpAll(of []chains.Chain) (Digests, error) {
	out := Digests{}
	if len(of) == 0 {
		for _, table := range []string{"filter", "nat"} {
			if err := r.dumpTable(out, table, ""); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range of {
		if err := r.dumpTable(out, c.Table, c.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dumpTable adds the digests of one chain, or of all chains of ours in the table.
func (r Runner) dumpTable(out Digests, table, chain string) error {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
	family := uint8(unix.NFPROTO_IPV4)
	if r.Family == corev1.IPv6Protocol {
		family = unix.NFPROTO_IPV6
	}
	request.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	request.AddData(nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table)))
	if chain != "" {
		request.AddData(nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(chain)))
	}
	err := request.ExecuteIter(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE, func(answer []byte) bool {
		attributes := answer[nl.SizeofNfgenmsg:]
		name := strings.TrimRight(string(attribute(attributes, unix.NFTA_RULE_CHAIN)), "\x00")
		if c := (chains.Chain{Table: table, Name: name}); strings.HasPrefix(name, chains.Prefix) {
			out[c] = digest(out[c], attributes)
		}
		return true
	})
	if err != nil && !errors.Is(err, unix.ENOENT) { // a chain that is gone has no rules
		return fmt.Errorf("rules of table %s (%s): %w", table, r.Family, err)
	}
	return nil
}

// digest adds a rule to the digest of those before it.
func digest(before uint64, rule []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	maphash.WriteComparable(&h, before)
	h.Write(attribute(rule, unix.NFTA_RULE_USERDATA))
	for _, expression := range attributes(attribute(rule, unix.NFTA_RULE_EXPRESSIONS)) {
		name := attribute(expression, unix.NFTA_EXPR_NAME)
		h.Write(name)
		if strings.TrimRight(string(name), "\x00") != "counter" {
			h.Write(attribute(expression, unix.NFTA_EXPR_DATA))
		}
	}
	return h.Sum64()
}

// attribute returns the value of the first attribute of a type, nil if there is none.
func attribute(list []byte, kind uint16) []byte {
	for k, value := range attributes(list) {
		if k == kind {
			return value
		}
	}
	return nil
}

// attributeType is NLA_TYPE_MASK: the bits above it say how an attribute is written.
const attributeType = 0x3fff

// attributes goes through a list of netlink attributes, with their types and values.
func attributes(list []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(list) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(list))
			if length < unix.SizeofNlAttr || length > len(list) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(list[2:])&attributeType, list[unix.SizeofNlAttr:length]) {
				return
			}
			list = list[min(len(list), (length+3)&^3):]
		}
	}
}
