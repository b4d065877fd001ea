package kopia_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"

	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// newPassword is what the repository is to open with instead of password.
var newPassword = strings.Repeat("0ddba1", 10) + "4567"

// kept puts some items into the repository and returns their snapshot.
func (f *fixture) kept() *backup.SnapshotInfo {
	f.Helper()
	r, err := kopia.New(f.Options).OpenRepository(f.Context(), tenant, password)
	f.must(err)
	w, err := r.Write(f.Context(), nil)
	f.must(err)
	f.put(w, 0, 20)
	info := f.commit(w)
	f.must(w.Close(f.Context()))
	f.must(r.Close(f.Context()))
	return info
}

// opens tells whether a password opens the repository; if so, all data is read. Any failure but a wrong password ends the test.
func (f *fixture) opens(password string, s *backup.SnapshotInfo) bool {
	f.Helper()
	r, err := kopia.New(f.Options).OpenRepository(f.Context(), tenant, password)
	if backup.HasCode(err, backup.CodeWrongKey) && !backup.AsError(err).Retryable {
		return false
	}
	f.must(err)
	f.check(r, s, numbers(0, 20, 1))
	f.must(r.Close(f.Context()))
	return true
}

func (f *fixture) rewrap(old, new string) {
	f.Helper()
	f.must(kopia.New(f.Options).Rewrap(f.Context(), tenant, old, new))
}

// opensOnlyWith fails unless the one password opens the repository and the other does not, and nothing is left over.
func (f *fixture) opensOnlyWith(right, wrong string, s *backup.SnapshotInfo) {
	f.Helper()
	if !f.opens(right, s) || f.opens(wrong, s) {
		f.Fatal("the repository does not open with exactly the password that it should")
	}
	if left, err := filepath.Glob(filepath.Join(f.root, tenant.ID, "*holdfast*")); err != nil || len(left) > 0 {
		f.Fatalf("left over: %v, %v", left, err)
	}
}

func TestRewrap(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.kept()
	f.rewrap(password, newPassword)
	f.opensOnlyWith(newPassword, password, s)
	f.rewrap(password, newPassword) // once more is the same
	f.opensOnlyWith(newPassword, password, s)
	f.rewrap(newPassword, password) // and back
	f.opensOnlyWith(password, newPassword, s)
	err := kopia.New(f.Options).Rewrap(t.Context(), tenant, newPassword, newPassword+"x")
	if !backup.HasCode(err, backup.CodeWrongKey) || backup.AsError(err).Retryable {
		t.Errorf("with two wrong passwords: %v", err)
	}
	f.opensOnlyWith(password, newPassword, s)
	for name, c := range map[string]struct {
		options kopia.Options
		tenant  string
		want    backup.Code
	}{
		"read only":         {kopia.Options{Root: f.root, ReadOnly: true}, tenant.ID, backup.CodeInternal},
		"without a tenant":  {f.Options, "", backup.CodeBadConfig},
		"of nobody we know": {f.Options, "nobody", backup.CodeNotFound},
	} {
		if err := kopia.New(c.options).Rewrap(t.Context(), backup.Tenant{ID: c.tenant}, password, newPassword); !backup.HasCode(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := kopia.New(f.Options).Rewrap(ctx, tenant, password, newPassword); err == nil {
		t.Error("somebody who had gone was served")
	}
	f.opensOnlyWith(password, newPassword, s)
}

// rewrapAndDie re-wraps "ROOT STEP OLD NEW" and kills itself after a step, from 1.
func rewrapAndDie(arguments string) error {
	fields := strings.Fields(arguments)
	at, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	step := 0
	kopia.AfterStep(func(string) {
		if step++; step == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	return kopia.New(kopia.Options{Root: fields[0]}).Rewrap(context.Background(), tenant, fields[2], fields[3])
}

// dieAt has another process re-wrap and end after a step, and tells whether there was one.
func (f *fixture) dieAt(step int, old, new string) bool {
	f.Helper()
	cmd := act(f.T, "rewrap", fmt.Sprintf("%s %d %s %s", f.root, step, old, new))
	err := cmd.Run()
	if err == nil {
		return false
	}
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		f.Fatalf("it ended by itself: %v", err)
	}
	return true
}

// TestRewrapKilled ends the re-wrapping process after every one of its steps. Whoever opens the repository then settles it: exactly one
// password opens it, all data is there, and a repeated re-wrapping ends well.
func TestRewrapKilled(t *testing.T) {
	t.Parallel()
	const steps = 10
	for step := 1; step <= steps; step++ {
		t.Run(fmt.Sprint("after step ", step), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			s := f.kept()
			if !f.dieAt(step, password, newPassword) {
				t.Fatalf("there are fewer than %d steps", step)
			}
			first, second := password, newPassword
			if step%2 == 0 {
				first, second = second, first
			}
			if f.opens(first, s) == f.opens(second, s) {
				t.Fatal("both passwords do the same")
			}
			if step%3 == 0 {
				f.dieAt(1+step%5, password, newPassword) // killed while it is repeated
			}
			f.rewrap(password, newPassword)
			f.opensOnlyWith(newPassword, password, s)
		})
	}
	f := newFixture(t)
	if f.dieAt(steps+1, password, newPassword) {
		t.Errorf("there are more than %d steps", steps)
	}
}

// What was interrupted can be taken back as well as finished, by opening alone, and while that is interrupted, too.
func TestRewrapTakenBack(t *testing.T) {
	t.Parallel()
	for _, step := range []int{3, 6, 8, 10} { // the journal stands; each pair of the two blobs
		t.Run(fmt.Sprint("after step ", step), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			s := f.kept()
			if !f.dieAt(step, password, newPassword) {
				t.Fatal("it was not killed")
			}
			f.dieAt(1+step%4, newPassword, password)
			f.rewrap(newPassword, password)
			f.opensOnlyWith(password, newPassword, s)
		})
	}
}

// A stranger's password settles nothing.
func TestInterruptedRewrapAndAStranger(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.kept()
	if !f.dieAt(7, password, newPassword) {
		t.Fatal("it was not killed")
	}
	if f.opens(newPassword+"x", s) {
		t.Fatal("opened by a stranger")
	}
	f.rewrap(password, newPassword)
	f.opensOnlyWith(newPassword, password, s)
}

// TestKopiaIgnoresTheJournal lists what is in the folder by kopia's own means while a journal lies in it.
func TestKopiaIgnoresTheJournal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.kept()
	list := func() (ids []blob.ID) {
		storage, err := filesystem.New(t.Context(), &filesystem.Options{Path: filepath.Join(f.root, tenant.ID)}, false)
		f.must(err)
		defer storage.Close(t.Context())
		f.must(storage.ListBlobs(t.Context(), "", func(b blob.Metadata) error {
			ids = append(ids, b.BlobID)
			return nil
		}))
		return ids
	}
	before := list()
	if !f.dieAt(3, password, newPassword) {
		t.Fatal("it was not killed")
	}
	if after := list(); fmt.Sprint(after) != fmt.Sprint(before) || len(after) < 4 {
		t.Errorf("kopia lists %v instead of %v", after, before)
	}
}

// Whoever opens the repository while it is re-wrapped, again and again, never hears of damage or of anything but a wrong password. Nor does
// he keep those waiting who want it alone.
func TestOpenedWhileRewrapped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.kept()
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	var opened [2]atomic.Int64
	for i, p := range []string{password, newPassword} {
		readers.Go(func() {
			for ctx.Err() == nil {
				if f.opens(p, s) {
					opened[i].Add(1)
				}
			}
		})
	}
	for range 2 {
		for i := range opened {
			for seen := opened[i].Load(); opened[i].Load() == seen && !t.Failed(); {
				time.Sleep(10 * time.Millisecond)
			}
			if i == 0 {
				f.rewrap(password, newPassword)
			} else {
				f.rewrap(newPassword, password)
			}
		}
	}
	cancel()
	readers.Wait()
	f.opensOnlyWith(password, newPassword, s)
	t.Logf("opened %d times with one and %d times with the other", opened[0].Load(), opened[1].Load())
}

// A session that is open while the password changes works on until kopia reads the format again, and then ends with an error that
// says to try again. What was committed stands, and nothing is damaged.
func TestSessionOutlivesItsPassword(t *testing.T) {
	f := newFixture(t)
	s := f.kept()
	f.Options.AgeFormat(300 * time.Millisecond)
	r, err := kopia.New(f.Options).OpenRepository(t.Context(), tenant, password)
	f.must(err)
	w, err := r.Write(t.Context(), s)
	f.must(err)
	f.put(w, 20, 30)
	f.rewrap(password, newPassword)
	time.Sleep(400 * time.Millisecond)
	var failed error
	for i := 30; i < 40 && failed == nil; i++ {
		_, failed = w.Put(t.Context(), item(i, 1), bytes.NewReader(body(i, 1)))
	}
	if failed == nil {
		_, failed = w.Commit(t.Context(), state("run"))
	}
	if e := backup.AsError(failed); failed == nil || e.Code != backup.CodeWrongKey || !e.Retryable {
		t.Errorf("the old session: %v", failed)
	}
	_ = w.Close(t.Context())
	_ = r.Close(t.Context())
	f.Options.AgeFormat(0)
	f.opensOnlyWith(newPassword, password, s)
}

// A cache on a disk must not keep the replaced password alive.
func TestCacheForgetsThePassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.CacheDir = t.TempDir()
	s := f.kept()
	f.rewrap(password, newPassword)
	f.opensOnlyWith(newPassword, password, s)
}
