package test

import (
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/format"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// A thief has a copy of Temporal's database, of the store and of the repository's folder, and all the time in the world. Nothing that
// stands in them opens the repository: not as a password, and not as an ekey.
func TestStolenDatabasesOpenNothing(t *testing.T) {
	t.Parallel()
	for _, kms := range []bool{false, true} {
		c := devOn(t, stage.Options{People: 6, Messages: 2, Files: 2, KMS: kms})
		tenant := c.kmsTenantOr(kms)
		if !kms {
			p, err := c.StartConnector()
			started(t, p, err)
		}
		c.applyTenant(tenant)
		c.onboarded(recovery)
		c.provenRun(1)
		loot := c.steal()
		found := candidates(t, loot)
		// The thief's tool works: given the key, it opens.
		lease, err := c.EKey()
		if err != nil {
			t.Fatal(err)
		}
		password, err := lease.RepositoryPassword(stage.Tenant, stage.Tenant)
		lease.Close()
		if err != nil {
			t.Fatal(err)
		}
		lock := newLock(t, filepath.Join(loot, "repository"))
		if !lock.opens(password) {
			t.Fatal("not even the right password opens the stolen repository")
		}
		tried := 0
		for _, p := range found.passwords() {
			if tried++; p == password || lock.opens(p) {
				t.Fatalf("something in the stolen databases opens the repository")
			}
			if tried == stolenTries {
				break
			}
		}
		if slices.Contains(found.passwords(), password) {
			t.Fatal("the repository's password stands in the stolen databases")
		}
		t.Logf("kms %v: %d strings, %d values of 32 bytes; none is the password or leads to it; %d tried on the lock itself", kms, len(found.text), len(found.keys), tried)
	}
}

// stolenTries bounds how many candidates are tried on the repository itself: each takes a tenth of a second, by design. All of them are
// compared with the right password.
const stolenTries = 60

func (c *company) kmsTenantOr(kms bool) backup.Tenant {
	if kms {
		return c.kmsTenant()
	}
	return c.tenant()
}

// steal copies what a thief would find, as it stands on the disk.
func (c *company) steal() (folder string) {
	c.t.Helper()
	folder = c.t.TempDir()
	for from, to := range map[string]string{c.repositoryFolder(): filepath.Join(folder, "repository")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, pattern := range []string{"holdfast.db*", "temporal.db*"} {
		files, err := filepath.Glob(c.Path("holdfast", pattern))
		if err != nil || len(files) == 0 {
			c.t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, filepath.Base(f)), b, 0o600)
			}
			if err != nil {
				c.t.Fatal(err)
			}
		}
	}
	return folder
}

// loot is whatever could be a key.
type loot struct{ text, keys map[string]bool }

var wordlike = regexp.MustCompile(`[A-Za-z0-9+/=_:.-]{16,}`)

// candidates are every word of the stolen files, and every value of 32 bytes that one decodes to.
func candidates(t *testing.T, folder string) loot {
	t.Helper()
	found := loot{map[string]bool{}, map[string]bool{}}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, w := range wordlike.FindAll(b, -1) {
			found.text[string(w)] = true
			for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, base64.RawURLEncoding.DecodeString, base64.URLEncoding.DecodeString} {
				if v, err := decode(string(w)); err == nil && len(v) == backup.EKeySize {
					found.keys[string(v)] = true
				}
			}
		}
		return err
	})
	if err != nil || len(found.text) == 0 {
		t.Fatal("nothing was stolen", err)
	}
	return found
}

// passwords are what to try: first what each value of 32 bytes would derive to if it were the ekey, then the words themselves.
func (l loot) passwords() []string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		lease, err := backup.NewLease([]byte(key), 1, 0)
		if err != nil {
			continue
		}
		if p, err := lease.RepositoryPassword(stage.Tenant, stage.Tenant); err == nil {
			all = append(all, p)
		}
		lease.Close()
		all = append(all, hex.EncodeToString([]byte(key)))
	}
	return append(all, slices.Sorted(maps.Keys(l.text))...)
}

// lock is the repository's outermost envelope.
type lock struct {
	t      *testing.T
	folder string
}

func newLock(t *testing.T, folder string) lock { return lock{t, folder} }

func (l lock) opens(password string) bool {
	st, err := filesystem.New(l.t.Context(), &filesystem.Options{Path: l.folder}, false)
	if err != nil {
		l.t.Fatal(err)
	}
	defer st.Close(l.t.Context())
	_, err = format.NewManager(l.t.Context(), st, "", 0, password, nil)
	return err == nil
}
