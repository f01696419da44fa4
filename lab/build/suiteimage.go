// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/clbsync/clbsync/images/image"
)

// suiteTools are the programs that the upstream suite runs inside its image, by the path that they have there. The
// suite wants the real ones: the shell of busybox runs its own nc, which lacks options, and its static wget crashes.
var suiteTools = map[string]string{
	"/bin/sh":        "bash",
	"/bin/bash":      "bash",
	"/bin/nc":        "nc.openbsd",
	"/bin/wget":      "wget",
	"/bin/curl":      "curl",
	"/bin/cat":       "cat",
	"/bin/date":      "date",
	"/bin/echo":      "echo",
	"/bin/env":       "env",
	"/bin/grep":      "grep",
	"/bin/head":      "head",
	"/bin/hostname":  "hostname",
	"/bin/ls":        "ls",
	"/bin/sed":       "sed",
	"/bin/seq":       "seq",
	"/bin/sleep":     "sleep",
	"/bin/timeout":   "timeout",
	"/bin/tr":        "tr",
	"/sbin/ip":       "ip",
	"/bin/readlink":  "readlink",
	"/bin/true":      "true",
	"/bin/false":     "false",
	"/bin/tail":      "tail",
	"/bin/mkdir":     "mkdir",
	"/bin/rm":        "rm",
	"/bin/touch":     "touch",
	"/bin/sort":      "sort",
	"/bin/uniq":      "uniq",
	"/bin/wc":        "wc",
	"/usr/bin/xargs": "xargs",
}

// suiteImage makes an image that serves as the suite's agnhost: the suite's own program, and tools of this machine
// with the libraries that they load.
func (b builder) suiteImage(ctx context.Context) error {
	files := map[string]image.File{}
	add := func(f image.File) { files[f.Path] = f }
	add(image.File{Path: "/agnhost", Source: b.dir.Bin("agnhost")})
	add(image.File{Path: "/agnhost-2", Link: "agnhost"})
	add(image.File{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777})
	add(image.File{Path: "/uploads", Mode: fs.ModeDir | 0o755})
	add(image.File{Path: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\n")})
	// A request to a load balancer that rejects it must fail at once, not after wget's twenty tries.
	add(image.File{Path: "/etc/wgetrc", Data: []byte("tries = 1\n")})
	for path, tool := range suiteTools {
		source, err := exec.LookPath(tool)
		if err != nil {
			return fmt.Errorf("the suite's image needs the program %s: %w", tool, err)
		}
		needed, err := libraries(ctx, source)
		if err != nil {
			return err
		}
		needed[path] = source
		for name, from := range needed {
			real, err := filepath.EvalSymlinks(from)
			if err != nil {
				return err
			}
			add(image.File{Path: name, Source: real, Mode: 0o755})
		}
	}
	config := image.Config{
		Ref:        AgnhostRef,
		Entrypoint: []string{"/agnhost"},
		Cmd:        []string{"pause"},
		Env:        []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	for _, f := range files {
		config.Files = append(config.Files, f)
	}
	return b.writeImage("agnhost", config)
}

// libraries lists the shared libraries that a program loads, by the path at which it looks for each.
func libraries(ctx context.Context, program string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		for field := range strings.FieldsSeq(line) { // "libc.so.6 => /lib/libc.so.6 (0x…)" or "/lib64/ld.so.2 (0x…)"
			if filepath.IsAbs(field) {
				found[field] = field
			}
		}
	}
	return found, nil
}
