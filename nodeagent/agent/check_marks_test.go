// SPDX-License-Identifier: Apache-2.0

package agent

import "testing"

func TestWhoUsesOurMarkBit(t *testing.T) {
	const bit = 0x2000
	for _, test := range []struct {
		rule string
		want bool
	}{
		{"-A PREROUTING -i tun0 -j MARK --set-xmark 0x2000/0x2000", true},
		{"-A PREROUTING -m mark --mark 0x2000/0x2000 -j ACCEPT", true},
		{"-A PREROUTING -m mark ! --mark 0x0/0x2000 -j ACCEPT", true},
		{"-A PREROUTING -m mark --mark 0x2000 -j ACCEPT", true},
		{"-A PREROUTING -j MARK --set-xmark 0x0/0xffffffff", true}, // clears ours
		{"-A PREROUTING -j MARK --set-xmark 0x80/0xffffffff", true},
		{"-A PREROUTING -j MARK --set-xmark 0x2000/0x0", true}, // flips it
		{"-A PREROUTING -p tcp -j TPROXY --on-port 1 --on-ip 127.0.0.1 --tproxy-mark 0x1/0xffffffff", true},
		{"-A PREROUTING -j CONNMARK --restore-mark", true},
		{"-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff", true},
		{"-A PREROUTING -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80", false}, // the VPC CNI of another cloud
		{"-A PREROUTING -j CONNMARK --set-xmark 0x2000/0x2000", false},
		{"-A PREROUTING -m connmark --mark 0x2000/0x2000 -j ACCEPT", false},
		{"-A PREROUTING -m mark --mark 0x80 -j ACCEPT", false},
		{"-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", false},
		{"-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN", false},
		{"-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0", false},
		{"-A PREROUTING -p tcp -m tcp --dport 8192 -j DNAT --to-destination 10.0.0.1:80", false},
	} {
		if got := usesMark(test.rule, bit); got != test.want {
			t.Errorf("%s: got %v, want %v", test.rule, got, test.want)
		}
	}
}
