// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// lookup finds the addresses of a name; see catalogue.addresses.
type lookup func(name string) (addrs []netip.Addr, known bool, err error)

const (
	answerSeconds = 5 // short: the suite moves addresses and expects to see it
	idleTCP       = 10 * time.Second
	maxMessage    = 65535
)

// serveUDP answers datagrams until ctx ends.
func serveUDP(ctx context.Context, listen string, find lookup) error {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	query := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFrom(query)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := answer(query[:n], find)
		if err == nil {
			_, err = conn.WriteTo(reply, from)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "query from %s: %v\n", from, err)
		}
	}
}

// serveTCP answers connections until ctx ends.
func serveTCP(ctx context.Context, listen string, find lookup) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := converse(conn, find); !errors.Is(err, io.EOF) {
				fmt.Fprintf(os.Stderr, "connection from %s: %v\n", conn.RemoteAddr(), err)
			}
		}()
	}
}

// converse answers the queries of one TCP connection, each of which comes after its length, until an error ends it: io.EOF if the
// client does.
func converse(conn net.Conn, find lookup) error {
	for {
		if err := conn.SetDeadline(time.Now().Add(idleTCP)); err != nil {
			return err
		}
		var length uint16
		if err := binary.Read(conn, binary.BigEndian, &length); err != nil {
			return err
		}
		query := make([]byte, length)
		if _, err := io.ReadFull(conn, query); err != nil {
			return err
		}
		reply, err := answer(query, find)
		if err != nil {
			return err
		}
		reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		if _, err := conn.Write(reply); err != nil {
			return err
		}
	}
}

// answer makes the reply to a query of one question.
func answer(query []byte, find lookup) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	addrs, known, err := find(name)
	if err != nil {
		return nil, err
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{question},
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	if question.Type == dnsmessage.TypeA { // other types of a known name: no error, no records
		for _, addr := range addrs {
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: answerSeconds},
				Body:   &dnsmessage.AResource{A: addr.As4()},
			})
		}
	}
	return reply.Pack()
}
