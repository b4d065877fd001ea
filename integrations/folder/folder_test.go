package folder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/folder"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

var _ activities.Destination = (*folder.Folder)(nil)

func TestMain(m *testing.M) {
	if os.Getenv("HOLDFAST_TEST_SMALL_DISK") != "" {
		os.Exit(fillSmallDisk())
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T) (*folder.Folder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made", "by", "us")
	f, err := folder.Folders{}.OpenFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return f, dir
}

func write(t *testing.T, f *folder.Folder, content string, path ...string) (int64, bool) {
	t.Helper()
	n, kept, err := f.WriteFile(t.Context(), path, time.Unix(1_700_000_000, 0), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return n, kept
}

// files lists what stands in dir, temporary names included.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWriteFile(t *testing.T) {
	f, dir := open(t)
	if n, kept := write(t, f, "one", "a", "b", "x.txt"); n != 3 || kept {
		t.Errorf("first: %d bytes, kept %v", n, kept)
	}
	info, err := os.Stat(filepath.Join(dir, "a/b/x.txt"))
	if err != nil || !info.ModTime().Equal(time.Unix(1_700_000_000, 0)) || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	before := info.Sys().(*syscall.Stat_t).Ino
	if n, kept := write(t, f, "one", "a", "b", "x.txt"); n != 3 || !kept {
		t.Errorf("same bytes: %d bytes, kept %v", n, kept)
	}
	info, _ = os.Stat(filepath.Join(dir, "a/b/x.txt"))
	if after := info.Sys().(*syscall.Stat_t).Ino; after != before {
		t.Error("a file with the same bytes was replaced")
	}
	if _, kept := write(t, f, "two", "a", "b", "x.txt"); kept {
		t.Error("other bytes of the same size were taken for the same")
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a/b/x.txt")); string(got) != "two" {
		t.Errorf("got %q", got)
	}
	if names := files(t, dir); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
}

func TestFailedReaderLeavesWhatStoodThere(t *testing.T) {
	f, dir := open(t)
	write(t, f, "old", "x")
	broken := errors.New("connection lost")
	_, _, err := f.WriteFile(t.Context(), []string{"x"}, time.Time{}, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "x")); string(got) != "old" || len(files(t, dir)) != 1 {
		t.Errorf("now %q, files %q", got, files(t, dir))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := f.WriteFile(ctx, []string{"x"}, time.Time{}, strings.NewReader("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNothingLeavesTheFolder(t *testing.T) {
	f, dir := open(t)
	outside := t.TempDir()
	for _, link := range []string{"link", "file"} {
		target := outside
		if link == "file" {
			target = filepath.Join(outside, "secret")
		}
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "inner")); err != nil {
		t.Fatal(err)
	}
	for _, path := range [][]string{{"..", "x"}, {"a", "..", "..", "x"}, {"../x"}, {""}, {}, {"."}, {"/x"}, {"a/b"}, {"nul\x00"}, {"link", "x"}, {"inner", "x"}} {
		if _, _, err := f.WriteFile(t.Context(), path, time.Time{}, strings.NewReader("x")); err == nil {
			t.Errorf("%q was written", path)
		}
		if err := f.MakeFolder(t.Context(), path); err == nil {
			t.Errorf("%q was made", path)
		}
	}
	// A link in the file's own place is replaced, not followed.
	write(t, f, "mine", "file")
	if names := files(t, outside); len(names) != 0 {
		t.Errorf("written outside: %q", names)
	}
	if names := files(t, filepath.Join(dir, "real")); len(names) != 0 {
		t.Errorf("written through a link: %q", names)
	}
}

func TestOpenFolderRefusesWhatIsNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"relative", "", file, filepath.Join(file, "below")} {
		if _, err := (folder.Folders{}).OpenFolder(t.Context(), path); !backup.HasCode(err, backup.CodeBadConfig) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestConcurrentWritesOfOneFileAreWhole(t *testing.T) {
	f, dir := open(t)
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			body := bytes.Repeat([]byte{byte('a' + i)}, 100_000)
			if _, _, err := f.WriteFile(t.Context(), []string{"d", "x"}, time.Time{}, bytes.NewReader(body)); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	got, err := os.ReadFile(filepath.Join(dir, "d", "x"))
	if err != nil || !bytes.Equal(got, bytes.Repeat(got[:1], 100_000)) || len(files(t, dir)) != 1 {
		t.Errorf("%d bytes, %v, %q", len(got), err, files(t, dir))
	}
}

// TestFullDisk runs this test program again in a mount namespace of its own, with a file system of 1 MB.
func TestFullDisk(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "HOLDFAST_TEST_SMALL_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillSmallDisk() int {
	dir := os.Getenv("HOLDFAST_TEST_SMALL_DISK")
	err := func() error {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			return err
		}
		f, err := folder.Folders{}.OpenFolder(context.Background(), dir)
		if err != nil {
			return err
		}
		if _, _, err := f.WriteFile(context.Background(), []string{"small"}, time.Time{}, strings.NewReader("kept")); err != nil {
			return err
		}
		_, _, err = f.WriteFile(context.Background(), []string{"large"}, time.Time{}, bytes.NewReader(make([]byte, 2<<20)))
		if !backup.HasCode(err, backup.CodeDiskFull) || backup.AsError(err).Hint == "" {
			return fmt.Errorf("got %v", err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			return fmt.Errorf("left behind: %v, %v", entries, err)
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
