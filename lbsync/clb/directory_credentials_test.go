// SPDX-License-Identifier: Apache-2.0

package clb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mounted is a Secret as the kubelet mounts it: files are links through ..data, which is turned to a new directory at once.
type mounted struct {
	*testing.T
	dir string
	n   int
}

func (m *mounted) put(files map[string]string) {
	m.Helper()
	m.n++
	version := filepath.Join(m.dir, "..v"+strings.Repeat("i", m.n))
	if err := os.Mkdir(version, 0o700); err != nil {
		m.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(version, name), []byte(text), 0o600); err != nil {
			m.Fatal(err)
		}
		_ = os.Remove(filepath.Join(m.dir, name))
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil {
			m.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Base(version), filepath.Join(m.dir, "..next")); err != nil {
		m.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.dir, "..next"), filepath.Join(m.dir, "..data")); err != nil {
		m.Fatal(err)
	}
}

func TestAMountedSecretIsFollowed(t *testing.T) {
	bare(t)
	m := &mounted{T: t, dir: t.TempDir()}
	m.put(map[string]string{"secretID": "old\n", "secretKey": "k1", "token": "t1"})
	synctest.Test(t, func(t *testing.T) {
		c, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Credentials: Credentials{Directory: m.dir}, Transport: cloudServices(inAnHour)})
		if err != nil {
			t.Fatal(err)
		}
		if id, key, token := c.keys.GetCredential(); id != "old" || key != "k1" || token != "t1" {
			t.Errorf("got %s, %s, %s", id, key, token)
		}
		m.put(map[string]string{"secretID": "new", "secretKey": "k2"})
		use(t, c, "old")
		<-time.After(fileAge)
		use(t, c, "new")
		if _, key, token := c.keys.GetCredential(); key != "k2" || token != "" {
			t.Errorf("the new ID has the key %s and the token %q", key, token)
		}
		// A Secret that is broken, or gone, does not take away what works.
		m.put(map[string]string{"secretID": "newer"})
		<-time.After(fileAge)
		use(t, c, "new")
		m.put(map[string]string{"secretID": "newest", "secretKey": "k3"})
		<-time.After(fileAge)
		use(t, c, "newest")
	})
}

// The ID of one version with the key of another would be refused, and look as if the new key were wrong.
func TestTheFilesOfOneVersionAreReadTogether(t *testing.T) {
	bare(t)
	m := &mounted{T: t, dir: t.TempDir()}
	m.put(map[string]string{"secretID": "id-0", "secretKey": "key-0"})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; i < 200; i++ {
			select {
			case <-stop:
				return
			default:
			}
			n := string(rune('0' + i%10))
			m.put(map[string]string{"secretID": "id-" + n, "secretKey": "key-" + n})
		}
	}()
	cfg := Config{Credentials: Credentials{Directory: m.dir}}
	for range 300 {
		s, err := cfg.readDirectory(t.Context())
		if err != nil {
			continue // the links of this test are replaced one by one; the kubelet's stay
		}
		if strings.TrimPrefix(s.id, "id-") != strings.TrimPrefix(s.key, "key-") {
			t.Fatalf("%s with %s", s.id, s.key)
		}
	}
	close(stop)
	<-done
}

func TestWrongCredentialsDirectories(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"an empty one":               {map[string]string{}, "secretID: no such file or directory"},
		"one without a key":          {map[string]string{"secretID": "a"}, "secretKey: no such file or directory"},
		"one with an empty key":      {map[string]string{"secretID": "a", "secretKey": "\n"}, "secretKey is empty"},
		"one with two words":         {map[string]string{"secretID": "a", "secretKey": "MARKED secret"}, "secretKey is empty, or more than one word"},
		"one with a whole file":      {map[string]string{"secretID": "a", "secretKey": strings.Repeat("MARKED", 20000)}, "more than 65536 bytes"},
		"one with an empty token":    {map[string]string{"secretID": "a", "secretKey": "b", "token": ""}, "token is empty"},
		"one with what is no letter": {map[string]string{"secretID": "a", "secretKey": "b\x00c"}, "secretKey"},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t)
			m := &mounted{T: t, dir: t.TempDir()}
			m.put(c.files)
			_, err := New(t.Context(), Config{Region: "r", VPCID: "vpc-1", Credentials: Credentials{Directory: m.dir}, Transport: cloudServices(inAnHour)})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "credentials directory") {
				t.Errorf("got %v, want %q in it: the search must not go on to another account's credentials", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "MARKED") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}
