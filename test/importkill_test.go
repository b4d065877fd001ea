package test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/postgres"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

// importJob is one import, as a test describes it to a process of its own, in this variable.
const importJob = "HOLDFAST_TEST_IMPORT"

type importOnce struct {
	URL, CAFile, Store, Pass string
	// Attempt numbers the processes that try, from 1.
	Attempt int32
}

const directoryPassword = "only-of-this-test"

// A process that is killed at any moment of an import from a real directory, from the first page to the last commit, leaves nothing that the
// next one could stumble over: in the end the store is as one into which nobody broke. HOLDFAST_KILLS and HOLDFAST_PEOPLE say how often,
// and of how many.
func TestKillsLeaveTheStoreOfACleanImport(t *testing.T) {
	ca, err := sandbox.NewCA("kills")
	if err != nil {
		t.Fatal(err)
	}
	d, err := slapd.Start(t.Context(), slapd.Options{CA: ca, Password: directoryPassword, People: sandbox.People(3, people(t), "acme.example"), Changes: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	pg, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pg.Close() })
	stores := map[string]func(t *testing.T, name string) string{
		"SQLite": func(t *testing.T, name string) string {
			return "sqlite://" + filepath.Join(t.TempDir(), name+".db")
		},
		"PostgreSQL": func(t *testing.T, name string) string {
			if err := pg.CreateDatabase(t.Context(), name, ""); err != nil {
				t.Fatal(err)
			}
			return pg.URL(name)
		},
	}
	for kind, open := range stores {
		t.Run(kind, func(t *testing.T) {
			k := killing{T: t, directory: d}
			clean, began := open(t, "clean"), time.Now()
			k.run(importOnce{Store: clean, Pass: "clean", Attempt: 1})
			k.span = time.Since(began)
			want := k.sum(clean)
			for n := 1; k.hits < kills(t); n++ {
				if n > 4*kills(t) {
					t.Fatalf("only %d of %d kills hit an import", k.hits, n-1)
				}
				name := fmt.Sprintf("killed%d", n)
				store := open(t, name)
				k.breakInto(importOnce{Store: store, Pass: name})
				if have := k.sum(store); have != want {
					t.Errorf("the store of %s is not that of a clean import", name)
				}
			}
			t.Logf("%d kills within %v", k.hits, k.span)
		})
	}
}

// killing imports into one kind of store.
type killing struct {
	*testing.T
	directory *slapd.Server
	span      time.Duration // how long a clean import takes
	hits      int           // kills of an import that was under way
}

// breakInto imports, while every other process on average is killed.
func (k *killing) breakInto(j importOnce) {
	k.Helper()
	for j.Attempt = 1; j.Attempt < 10 && (j.Attempt == 1 || rand.IntN(2) == 0); j.Attempt++ {
		cmd := k.command(j)
		if err := cmd.Start(); err != nil {
			k.Fatal(err)
		}
		time.Sleep(rand.N(k.span))
		_ = cmd.Process.Kill() // an import that has ended is not hit
		if err := cmd.Wait(); err == nil {
			return
		}
		k.hits++
	}
	k.run(j)
}

func (k *killing) command(j importOnce) *exec.Cmd {
	k.Helper()
	j.URL, j.CAFile = k.directory.URL, k.directory.CAFile
	text, err := json.Marshal(j)
	if err != nil {
		k.Fatal(err)
	}
	cmd := exec.CommandContext(k.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), importJob+"="+string(text))
	return cmd
}

func (k *killing) run(j importOnce) {
	k.Helper()
	if out, err := k.command(j).CombinedOutput(); err != nil {
		k.Fatalf("%v: %s", err, out)
	}
}

// sum digests all that an import leaves, but for when it was.
func (k *killing) sum(address string) string {
	k.Helper()
	store, err := sqlstore.Open(k.Context(), address)
	if err != nil {
		k.Fatal(err)
	}
	defer store.Close()
	sum := sha256.New()
	n := write(k.T, sum, func(after string) ([]backup.Account, string, error) {
		return store.ListAccounts(k.Context(), "acme", "", after, 0)
	}, func(a *backup.Account) { a.Since = time.Time{} })
	if want := people(k.T) * 9 / 10; n < want {
		k.Errorf("%d accounts; want at least %d", n, want)
	}
	write(k.T, sum, func(after string) ([]backup.KnownEntry, string, error) {
		return store.ListEntries(k.Context(), "acme", "", after, 0)
	}, func(*backup.KnownEntry) {})
	reports, err := store.ListImports(k.Context(), "acme", "", 0)
	if err != nil {
		k.Fatal(err)
	}
	if len(reports) != 1 || reports[0].Outcome != backup.ImportApplied || reports[0].Digest == "" {
		k.Fatalf("the reports are %+v", reports)
	}
	fmt.Fprintln(sum, reports[0].Counts, reports[0].Digest)
	write(k.T, sum, func(after string) ([]backup.ImportChange, string, error) {
		return store.ListChanges(k.Context(), "acme", reports[0].Number, after, 0)
	}, func(*backup.ImportChange) {})
	return hex.EncodeToString(sum.Sum(nil))
}

// write writes every row of a list, and returns how many there were.
func write[T any](t testing.TB, sum hash.Hash, list func(after string) ([]T, string, error), timeless func(*T)) (n int) {
	t.Helper()
	to := json.NewEncoder(sum)
	for after, more := "", true; more; more = after != "" {
		page, next, err := list(after)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page {
			timeless(&page[i])
			if err := to.Encode(page[i]); err != nil {
				t.Fatal(err)
			}
		}
		n += len(page)
		after = next
	}
	return n
}

// importInChild makes the calls of activities.Importing and of ApplyImport, in their order, as often as it takes one worker after another.
func importInChild(ctx context.Context, description string) error {
	var j importOnce
	if err := json.Unmarshal([]byte(description), &j); err != nil {
		return err
	}
	config := backup.DirectoryConfig{Name: "ldap", Kind: backup.LDAP, LDAP: &backup.LDAPConfig{URL: j.URL, CAFile: j.CAFile, BindDN: ldapserver.DefaultBindDN,
		BindPassword: "env:PASSWORD", BaseDN: ldapserver.DefaultBaseDN, Filter: "(objectClass=inetOrgPerson)", PageSize: 500}}
	t := backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{config}}
	store, err := sqlstore.Open(ctx, j.Store)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.SaveTenant(ctx, t); err != nil {
		return err
	}
	pass := backup.Pass{Tenant: t.ID, Directory: config.Name, ID: j.Pass, Attempt: j.Attempt}
	if err := readInChild(ctx, store, t, config, pass); err != nil && !backup.HasCode(err, backup.CodeNotFound) { // not found: it was applied already
		return err
	}
	d, err := store.ComparePass(ctx, t, pass)
	if err != nil {
		return err
	}
	_, err = store.ApplyPass(ctx, t, pass, d.Digest, "", time.Now())
	return err
}

func readInChild(ctx context.Context, store *sqlstore.Store, t backup.Tenant, config backup.DirectoryConfig, pass backup.Pass) error {
	from, err := store.BeginPass(ctx, pass, backup.ImportStart{})
	if err != nil {
		return err
	}
	secrets := func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(directoryPassword), nil }
	dir, err := ldap.New(secrets).OpenDirectory(ctx, t, config)
	if err != nil {
		return err
	}
	defer dir.Close()
	staging := store.Stage(ctx, pass)
	end, err := dir.Read(ctx, from, staging.Page)
	if kept := staging.Close(); err == nil {
		err = kept
	}
	if err != nil {
		return err
	}
	return store.EndRead(ctx, pass, end)
}
