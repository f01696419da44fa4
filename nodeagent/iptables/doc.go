// SPDX-License-Identifier: Apache-2.0

// Package iptables runs iptables-save and iptables-restore, and makes the address sets that rules refer to. It
// decides nothing about Services: nodeagent/iptables/chains says what to write, nodeagent/agent when.
package iptables
