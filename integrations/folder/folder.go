// Package folder is the restore destination on the worker's own machine: an absolute folder.
//
// Everything happens through os.Root, so that no path and no symbolic link leads out of the folder, and links inside of it are
// not followed either. A file is written under a temporary name and renamed, so that it is whole or absent when the process is
// killed. (It is not synced one by one: after a power cut, repeat the restore.)
package folder

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	folderMode = 0o700
	fileMode   = 0o600
	bufferSize = 64 << 10
	// partPrefix starts the temporary names. A restore that was killed may leave such files.
	partPrefix = ".holdfast-part-"
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Folders opens folders.
type Folders struct{}

// OpenFolder prepares an absolute folder; it is made when it is not there.
func (Folders) OpenFolder(_ context.Context, path string) (*Folder, error) {
	if !filepath.IsAbs(path) {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
			Message: fmt.Sprintf("%q is not an absolute folder", path), Hint: "give the folder on the worker's machine from its root, like /srv/restore"}
	}
	path = filepath.Clean(path)
	if err := os.MkdirAll(path, folderMode); err != nil {
		return nil, classify(err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, classify(err)
	}
	return &Folder{path: path}, root.Close()
}

// Folder takes restored files. It is safe for concurrent use, and holds nothing open between calls.
type Folder struct{ path string }

// MakeFolder makes a folder and the ones above it. Folders that are there already stay as they are.
func (f *Folder) MakeFolder(ctx context.Context, path []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.within(path, func(root *os.Root, _ string) error { return makeFolders(root, path) })
}

// WriteFile writes content under a temporary name, sets its modification time (unless that is zero) and renames it to the
// path's last component; it makes the folders above it. n is the content's size in bytes. When a regular file with the same bytes
// stands there already, it is kept and nothing is replaced. A reader's error is returned as it is.
func (f *Folder) WriteFile(ctx context.Context, path []string, modified time.Time, content io.Reader) (n int64, kept bool, err error) {
	err = f.within(path, func(root *os.Root, name string) error {
		if err := makeFolders(root, path[:len(path)-1]); err != nil {
			return err
		}
		w := partFile{root: root, name: filepath.Join(filepath.Dir(name), partPrefix+rand.Text())}
		if n, err = w.fill(ctx, content); err != nil {
			return errors.Join(err, w.discard())
		}
		if kept, err = w.sameAs(ctx, name, n); err != nil || kept {
			return errors.Join(err, w.discard())
		}
		if err := w.finish(name, modified); err != nil {
			return errors.Join(err, w.discard())
		}
		return nil
	})
	return n, kept, err
}

// within opens the folder and checks the path before anything is touched.
func (f *Folder) within(path []string, do func(root *os.Root, name string) error) error {
	for _, c := range path {
		if c == "" || c == "." || c == ".." || strings.ContainsAny(c, "/\x00") || strings.ContainsRune(c, filepath.Separator) {
			return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: fmt.Sprintf("%q is not a name within the destination", c)}
		}
	}
	if len(path) == 0 {
		return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a restored item has no name"}
	}
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return classify(err)
	}
	defer root.Close()
	return classify(do(root, filepath.Join(path...)))
}

// makeFolders makes each folder of the path in turn. Whatever else stands in the way, a symbolic link included, is refused.
func makeFolders(root *os.Root, path []string) error {
	for i := range path {
		name := filepath.Join(path[:i+1]...)
		if err := root.Mkdir(name, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
				Message: fmt.Sprintf("%q in the destination is not a folder", name), Hint: "restore into an empty folder"}
		}
	}
	return nil
}

// partFile is a file under its temporary name.
type partFile struct {
	root *os.Root
	name string
	sum  []byte
}

func (w *partFile) fill(ctx context.Context, content io.Reader) (int64, error) {
	file, err := w.root.OpenFile(w.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return 0, err
	}
	h := sha256.New()
	n, err := copyAll(ctx, io.MultiWriter(file, h), content)
	w.sum = h.Sum(nil)
	return n, errors.Join(err, file.Close())
}

// sameAs tells whether a regular file of this name has the same size and hash.
func (w *partFile) sameAs(ctx context.Context, name string, size int64) (bool, error) {
	info, err := w.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false, err
	}
	file, err := w.root.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := copyAll(ctx, h, file); err != nil {
		return false, err
	}
	return bytes.Equal(h.Sum(nil), w.sum), nil
}

func (w *partFile) finish(name string, modified time.Time) error {
	if !modified.IsZero() {
		if err := w.root.Chtimes(w.name, modified, modified); err != nil {
			return err
		}
	}
	return w.root.Rename(w.name, name)
}

func (w *partFile) discard() error {
	if err := w.root.Remove(w.name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyAll copies through a pooled buffer and looks at the context before each part.
func copyAll(ctx context.Context, to io.Writer, from io.Reader) (n int64, err error) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		read, err := from.Read(buffer[:])
		if written, failed := to.Write(buffer[:read]); failed != nil {
			return n + int64(written), failed
		}
		n += int64(read)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// classify names what the file system refused. Errors of the content's reader and of the context pass through.
func classify(err error) error {
	var known *backup.Error
	var failed *fs.PathError
	var moved *os.LinkError
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &backup.Error{Code: backup.CodeDiskFull, Fault: backup.FaultOurs, Cause: err,
			Message: "the restore's folder has no room", Hint: "free some space on the worker's disk or restore to another folder"}
	case errors.Is(err, fs.ErrPermission):
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Cause: err,
			Message: "the worker may not write to the restore's folder", Hint: "give the worker's user the right to write there"}
	case errors.As(err, &failed), errors.As(err, &moved):
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Cause: err,
			Message: "the restore's folder cannot be written", Hint: "restore into an empty folder on the worker's machine"}
	}
	return err
}
