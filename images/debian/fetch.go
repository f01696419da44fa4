// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Request says which packages are wanted.
type Request struct {
	Arch     string   // as Debian names it, which for amd64 and arm64 is as Go does
	Programs []string // packages that are wanted with all that they depend on
	Alone    []string // packages of which only files are wanted, not what they depend on
	Fixed    List     // if not empty: exactly these, instead of what apt would choose now
	Fresh    bool     // ask the archive for its newest versions, also where an earlier answer is at hand
}

// Store is a directory that keeps what apt has fetched. Several processes may use one: they wait for each other.
type Store string

// preferences lets apt take packages of Debian only, whatever else the machine gets its software from.
const preferences = "Package: *\nPin: release o=Debian\nPin-Priority: 500\n\nPackage: *\nPin: release o=*\nPin-Priority: -1\n"

// Fetch gets the packages and returns them sorted by name, with their checksums.
func (s Store) Fetch(ctx context.Context, r Request) (List, error) {
	a := apt{root: filepath.Join(string(s), r.Arch), arch: r.Arch}
	unlock, err := a.prepare()
	if err != nil {
		return nil, err
	}
	defer unlock()
	list := r.Fixed
	if len(list) == 0 {
		if list, err = a.choose(ctx, r); err != nil {
			return nil, err
		}
	}
	if list, err = a.download(ctx, list); err != nil {
		return nil, err
	}
	if len(r.Fixed) > 0 {
		return list, nil
	}
	return list, a.remember(r, list)
}

// Path is where a package that was fetched for an architecture is.
func (s Store) Path(arch string, p Package) string {
	return filepath.Join(string(s), arch, "debs", p.File())
}

// apt calls apt-get with a state of its own, for an architecture that need not be the machine's.
type apt struct{ root, arch string }

func (a apt) debs() string { return filepath.Join(a.root, "debs") }

func (a apt) prepare() (unlock func(), err error) {
	for _, dir := range []string{"debs", "choosing", "state/lists/partial", "cache/archives/partial", "chosen"} {
		if err := os.MkdirAll(filepath.Join(a.root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(a.root, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		err = errors.Join(
			os.WriteFile(filepath.Join(a.root, "preferences"), []byte(preferences), 0o644),
			os.WriteFile(filepath.Join(a.root, "state/status"), nil, 0o644)) // nothing is installed: the image begins empty
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() { _ = lock.Close() }, nil
}

// get runs apt-get in the directory of packages.
func (a apt) get(ctx context.Context, args ...string) (string, error) {
	return a.getIn(ctx, a.debs(), args...)
}

func (a apt) getIn(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{
		"-q", "-y",
		"-o", "Dir::State=" + filepath.Join(a.root, "state"),
		"-o", "Dir::State::status=" + filepath.Join(a.root, "state/status"),
		"-o", "Dir::Cache=" + filepath.Join(a.root, "cache"),
		"-o", "Dir::Etc::preferences=" + filepath.Join(a.root, "preferences"),
		"-o", "Dir::Etc::preferencesparts=-",
		"-o", "APT::Architecture=" + a.arch,
		"-o", "APT::Architectures=" + a.arch,
		"-o", "APT::Install-Recommends=false",
		"-o", "APT::Sandbox::User=", // its user could not write here
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", errors.Join(context.Cause(ctx), fmt.Errorf("apt-get %s for %s: %w:\n%s%s", strings.Join(args, " "), a.arch, err, &complaints, &out))
	}
	return out.String(), nil
}

// chosen is the file with what was chosen for a request before.
func (a apt) chosen(r Request) string {
	sum := sha256.Sum256([]byte(strings.Join(r.Programs, " ") + "|" + strings.Join(r.Alone, " ")))
	return filepath.Join(a.root, "chosen", hex.EncodeToString(sum[:8]))
}

func (a apt) remember(r Request, list List) error {
	var text bytes.Buffer
	if err := list.Write(&text); err != nil {
		return err
	}
	return os.WriteFile(a.chosen(r), text.Bytes(), 0o644)
}

// choose returns the packages and versions for a request: those of the last time, or what apt would install on a
// machine that has nothing.
func (a apt) choose(ctx context.Context, r Request) (List, error) {
	if known, err := os.ReadFile(a.chosen(r)); err == nil && !r.Fresh {
		return ReadList(bytes.NewReader(known))
	}
	if _, err := a.get(ctx, "update"); err != nil {
		return nil, err
	}
	var list List
	for _, part := range []struct {
		command string
		names   []string
	}{{"install", r.Programs}, {"download", r.Alone}} {
		if len(part.names) == 0 {
			continue
		}
		// In a directory that stays empty: apt-get prints no URI for a package that is where it is started, and one that was
		// fetched once could not be chosen again.
		out, err := a.getIn(ctx, filepath.Join(a.root, "choosing"), append([]string{"--print-uris", part.command}, part.names...)...)
		if err != nil {
			return nil, err
		}
		printed, err := printedURIs(out)
		if err != nil {
			return nil, err
		}
		list = append(list, printed...)
	}
	slices.SortFunc(list, Package.compare)
	return slices.CompactFunc(list, func(p, q Package) bool { return p.compare(q) == 0 }), nil
}

// printedURIs reads apt-get's --print-uris: "'URI' FILE SIZE CHECKSUM" among other lines.
func printedURIs(out string) (List, error) {
	var list List
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "'") || len(fields) < 3 {
			continue
		}
		p, err := packageOfFile(fields[1])
		if err != nil {
			return nil, fmt.Errorf("apt-get --print-uris: %w", err)
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("apt-get --print-uris names no package:\n%s", out)
	}
	return list, nil
}

// download gets what is not there yet and checks what is known of each package.
func (a apt) download(ctx context.Context, list List) (List, error) {
	if missing := a.missing(list); len(missing) > 0 {
		args := append([]string{"download"}, missing...)
		if _, err := a.get(ctx, args...); err != nil { // the lists may be empty or old
			if _, err := a.get(ctx, "update"); err != nil {
				return nil, err
			}
			if _, err := a.get(ctx, args...); err != nil {
				return nil, fmt.Errorf("%w\nto build from versions that the archive has replaced, point the machine's apt at a snapshot of their time", err)
			}
		}
	}
	out := make(List, len(list))
	for i, p := range list {
		sum, err := fileSum(filepath.Join(a.debs(), p.File()))
		if err != nil {
			return nil, err
		}
		if p.SHA256 != "" && p.SHA256 != sum {
			return nil, fmt.Errorf("package %s %s for %s has the checksum %s, want %s as in the list", p.Name, p.Version, p.Arch, sum, p.SHA256)
		}
		out[i], out[i].SHA256 = p, sum
	}
	return out, nil
}

// missing names the packages that are not there, as apt-get wants them.
func (a apt) missing(list List) []string {
	var names []string
	for _, p := range list {
		if _, err := os.Stat(filepath.Join(a.debs(), p.File())); err != nil {
			names = append(names, p.Name+"="+p.Version)
		}
	}
	return names
}

func fileSum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
