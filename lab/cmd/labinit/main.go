// SPDX-License-Identifier: Apache-2.0

// Command labinit is the lab's small helper, started by lab/machine and never by a person: process 1 of each machine
// (init), the guard that removes a lab whose owner died (reap), and the forwarder that makes the API server reachable
// from the host (forward). It decides nothing; the work is in lab/machine.
package main

import (
	"fmt"
	"os"

	"github.com/clbsync/clbsync/lab/machine"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "init":
		machine.Init(args[1])
		return nil
	case len(args) == 3 && args[0] == "reap":
		return machine.Reap(args[1], args[2])
	case len(args) == 4 && args[0] == "forward":
		return machine.RunForwarder(args[1], args[2], args[3])
	}
	return fmt.Errorf("usage: labinit {init SPEC|reap LAB IDENTITY|forward LAB MACHINE ADDRESS}; lab/machine starts it")
}
