// SPDX-License-Identifier: Apache-2.0

package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A complaint that a page calls held and no test holds is a promise that nobody keeps.
func TestEachComplaintIsHeldByWhatThePageSays(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "complaints.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := goTests(t, root)
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[0]) == "Complaint" {
			continue
		}
		rows++
		for name := range strings.SplitSeq(cells[3], ",") {
			name = strings.TrimSpace(name)
			if strings.HasPrefix(name, "Test") {
				if !tests[name] {
					t.Errorf("%s: there is no test %s", strings.TrimSpace(cells[0]), name)
				}
				continue
			}
			if _, err := os.Stat(filepath.Join(root, "lbsync", "testdata", name+".txtar")); err != nil {
				t.Errorf("%s: there is no scenario %s", strings.TrimSpace(cells[0]), name)
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d rows, want the 30 and more that there are", rows)
	}
}

// goTests are the names of all tests of the repository, the lab's included.
func goTests(t *testing.T, root string) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
