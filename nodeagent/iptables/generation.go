// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Generation stands for a state of the tables. While it stays the same, nobody has written rules, and they need not be
// read; a new one says only that somebody has. With iptables-nft that is exact. With iptables-legacy it is the size
// and the layout of the nat and filter tables: who puts a rule in place of another of the same size goes unseen, and so
// all rules are compared now and then whatever the Generation says. The zero value equals no state.
type Generation struct {
	number uint64
	tables [2]tableInfo
}

// tableInfo is the kernel's struct ipt_getinfo, and ip6t_getinfo.
type tableInfo struct {
	Name             [32]byte
	Hooks            uint32
	Entry, Underflow [5]uint32
	Entries, Size    uint32
}

// Generation asks the kernel. It costs microseconds, however many rules there are.
func (r Runner) Generation() (Generation, error) {
	if r.Variant == Legacy {
		return legacyGeneration(r.Family)
	}
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	answers, err := request.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
	if err != nil {
		return Generation{}, fmt.Errorf("generation of nftables: %w", err)
	}
	for _, answer := range answers {
		attributes, err := nl.ParseRouteAttr(answer[nl.SizeofNfgenmsg:])
		if err != nil {
			return Generation{}, fmt.Errorf("generation of nftables: %w", err)
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.NFTA_GEN_ID && len(a.Value) == 4 {
				return Generation{number: 1 + uint64(binary.BigEndian.Uint32(a.Value))}, nil
			}
		}
	}
	return Generation{}, errors.New("the kernel names no generation of nftables")
}

// follows tells whether g comes of h by so many transactions and nobody else's. Of iptables-legacy that cannot be told, and the
// answer is no: who flushes a chain just after we have written would go unseen otherwise.
func (g Generation) follows(h Generation, transactions int) bool {
	return g.tables == [2]tableInfo{} && g.number-1 == uint64(uint32(h.number-1)+uint32(transactions))
}

// getInfo is IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
const getInfo = 64

func legacyGeneration(family corev1.IPFamily) (Generation, error) {
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if family == corev1.IPv6Protocol {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	socket, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return Generation{}, fmt.Errorf("raw socket for %s: %w", family, err)
	}
	defer unix.Close(socket)
	g := Generation{number: 1}
	for i, table := range []string{"filter", "nat"} {
		copy(g.tables[i].Name[:], table)
		size := uint32(unsafe.Sizeof(g.tables[i]))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), uintptr(level), getInfo,
			uintptr(unsafe.Pointer(&g.tables[i])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return Generation{}, fmt.Errorf("size of table %s (%s): %w", table, family, errno)
		}
	}
	return g, nil
}
