package connector

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// createSecretFile writes a file of mode 0600 that is whole or absent after a crash, and never replaces one that is there:
// the content goes to a temporary name, is synced, and is linked to its own name, which fails with fs.ErrExist.
func createSecretFile(path string, content []byte) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text())
	if err := writeSynced(temporary, content); err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// replaceSecretFile does the same for a file that may be there.
func replaceSecretFile(path string, content []byte) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text())
	if err := writeSynced(temporary, content); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncFolder(filepath.Dir(path))
}

// overwriteSecretFile replaces a file and then overwrites the bytes of the old one where they lie. A disk that writes elsewhere than it is
// told (flash, snapshots) may keep them all the same.
func overwriteSecretFile(path string, content []byte) error {
	old, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return err
	}
	if err := replaceSecretFile(path, content); err != nil {
		return err
	}
	_, err = old.WriteAt(make([]byte, info.Size()), 0)
	return errors.Join(err, old.Sync())
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// readSecretFile reads at most limit bytes of a regular file that only its owner may read. fs.ErrNotExist is returned as it is.
func readSecretFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fileError("a secret file could not be opened", path, err)
	}
	defer f.Close()
	if err := checkSecretFile(f, path, limit); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fileError("a secret file could not be read", path, err)
	}
	return content, nil
}

func checkSecretFile(f *os.File, path string, limit int64) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return fileError("a secret file could not be looked at", path, err)
	case !info.Mode().IsRegular() || info.Size() > limit:
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
			Message: fmt.Sprintf("%s is not a regular file of at most %d bytes", path, limit), Hint: "name the right file"}
	case info.Mode().Perm()&0o077 != 0:
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
			Message: fmt.Sprintf("%s may be read by others (mode %#o)", path, info.Mode().Perm()),
			Hint:    "find out who could have read it, then: chmod 600 " + path}
	}
	return nil
}

// fileError classifies what the operating system says of a file; such errors name the path and hold no content.
func fileError(message, path string, err error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message,
		Hint: "look at " + path + ", its folder and who may write there", Cause: err}
}
