package kopia_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// actorVariable makes this test program act as another process: "NAME ROOT".
const actorVariable = "HOLDFAST_TEST_ACTOR"

var actors = map[string]func(root string) error{"write": writeForever, "fill": fillSmallDisk, "rewrap": rewrapAndDie}

func TestMain(m *testing.M) {
	if actor := os.Getenv(actorVariable); actor != "" {
		name, root, _ := strings.Cut(actor, " ")
		if err := actors[name](root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if root, err := made(); err == nil {
			_ = os.RemoveAll(root)
		}
		os.Exit(code)
	}))
}

func act(t *testing.T, name, root string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), actorVariable+"="+name+" "+root)
	cmd.Stderr = os.Stderr
	return cmd
}

// writeForever puts items on top of the newest snapshot, checkpoints now and then, and says which items are safe.
func writeForever(root string) error {
	ctx := context.Background()
	r, err := kopia.New(kopia.Options{Root: root, FlushEvery: 20 * time.Millisecond}).OpenRepository(ctx, tenant, password)
	if err != nil {
		return err
	}
	base, err := r.Latest(ctx, "a1", backup.Microsoft365, backup.Mail)
	if err != nil {
		return err
	}
	w, err := r.Write(ctx, base)
	if err != nil {
		return err
	}
	next := 0
	if base != nil {
		next = int(base.State.Counts.Items)
	}
	fmt.Println(next)
	for ; ; next++ {
		if next%20 == 0 && next > 0 {
			if err := w.Checkpoint(ctx, state("run")); err != nil {
				return err
			}
			fmt.Println(next)
		}
		if _, err := w.Put(ctx, item(next, 1), bytes.NewReader(body(next, 1))); err != nil {
			return err
		}
	}
}

// TestKilledInMidWrite kills a writing process at random moments, again and again. Every time, the next one goes on from the last
// checkpoint, and at the end every item is there once.
func TestKilledInMidWrite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	safe := 0
	for range 8 {
		cmd := act(t, "write", f.root)
		out, err := cmd.StdoutPipe()
		f.must(err)
		f.must(cmd.Start())
		lines := bufio.NewScanner(out)
		checkpoints := rand.IntN(4)
		for n := 0; n <= checkpoints && lines.Scan(); n++ {
			var at int
			if _, err := fmt.Sscan(lines.Text(), &at); err != nil || at < safe {
				t.Fatalf("went on at %q after %d were safe", lines.Text(), safe)
			}
			safe = at
		}
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
		f.must(cmd.Process.Signal(syscall.SIGKILL))
		if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the writer ended by itself: %v", err)
		}
	}
	r := f.open()
	base := f.latest(r)
	if base == nil || int(base.State.Counts.Items) < safe {
		t.Fatalf("%d items were safe, found %+v", safe, base)
	}
	have := int(base.State.Counts.Items)
	f.check(r, base, numbers(0, have, 1))
	w := f.write(r, base)
	f.put(w, have, have+50)
	f.check(r, f.commit(w), numbers(0, have+50, 1))
	t.Logf("%d items survived 8 kills", have)
}

// TestFullDisk runs in a mount namespace of its own, on a file system of 6 MB.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	cmd := act(t, "fill", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	}
	f := fixture{T: t}
	f.must(cmd.Run())
}

func fillSmallDisk(root string) error {
	ctx := context.Background()
	if err := errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("tmpfs", root, "tmpfs", 0, "size=6m"),
	); err != nil {
		return err
	}
	repositories := kopia.New(kopia.Options{Root: root, FlushEvery: 50 * time.Millisecond})
	if _, err := repositories.EnsureRepository(ctx, tenant, password); err != nil {
		return err
	}
	r, err := repositories.OpenRepository(ctx, tenant, password)
	if err != nil {
		return err
	}
	defer r.Close(ctx)
	w, err := r.Write(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := w.Put(ctx, item(1, 1), bytes.NewReader(body(1, 1))); err != nil {
		return err
	}
	kept, err := w.Commit(ctx, state("first"))
	if err != nil {
		return err
	}
	if err := w.Close(ctx); err != nil {
		return err
	}
	if err := writeUntilFull(ctx, r, &kept); err != nil {
		return err
	}
	return stillThere(ctx, repositories, kept)
}

// writeUntilFull puts more than fits, and expects to be told.
func writeUntilFull(ctx context.Context, r *kopia.Repository, base *backup.SnapshotInfo) error {
	w, err := r.Write(ctx, base)
	if err != nil {
		return err
	}
	defer w.Close(ctx)
	random := rand.NewChaCha8([32]byte{1})
	for i := 0; i < 100 && err == nil; i++ {
		_, err = w.Put(ctx, item(100+i, 1), io.LimitReader(random, 1<<20))
	}
	if e := backup.AsError(err); e == nil || e.Code != backup.CodeDiskFull || e.Fault != backup.FaultOurs || e.Hint == "" {
		return fmt.Errorf("a full disk gives %w", err)
	}
	if _, err := w.Commit(ctx, state("second")); !backup.HasCode(err, backup.CodeDiskFull) {
		return fmt.Errorf("committing on a full disk gives %w", err)
	}
	return nil
}

// stillThere reads what was committed before, through a new handle, while the disk is full.
func stillThere(ctx context.Context, repositories *kopia.Repositories, kept backup.SnapshotInfo) error {
	r, err := repositories.OpenRepository(ctx, tenant, password)
	if err != nil {
		return err
	}
	defer r.Close(ctx)
	latest, err := r.Latest(ctx, kept.Account, kept.State.App, kept.Service)
	if err != nil {
		return err
	}
	if latest.ID != kept.ID {
		return fmt.Errorf("the newest snapshot is %s instead of %s", latest.ID, kept.ID)
	}
	reader, err := r.Read(ctx, latest)
	if err != nil {
		return err
	}
	content, err := reader.Open(ctx, id(1))
	if err != nil {
		return err
	}
	defer content.Close()
	if b, err := io.ReadAll(content); err != nil || !bytes.Equal(b, body(1, 1)) {
		return fmt.Errorf("the item is damaged: %w", err)
	}
	return nil
}
