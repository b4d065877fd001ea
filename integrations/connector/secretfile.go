package connector

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// createSecretFile writes a file of mode 0600 that is whole or absent after a crash, and never replaces one that is there:
// the content goes to a temporary name, is synced, and is linked to its own name, which fails with fs.ErrExist.
func createSecretFile(path string, content []byte) error {
	temporary := temporaryOf(path, rand.Text())
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
	temporary := temporaryOf(path, rand.Text())
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
	if err := replaceSecretFile(path, content); err != nil {
		return err
	}
	return blank(old)
}

// blank overwrites a file's bytes.
func blank(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, info.Size()), 0)
	return errors.Join(err, f.Sync())
}

// temporaryOf is a hidden name beside a file, for content that is not whole yet. random is of rand.Text.
func temporaryOf(path, random string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+random)
}

// temporaryEnd is what rand.Text makes: 26 characters of base32.
var temporaryEnd = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// sweepSecretFile overwrites and removes what processes that were killed left of a file under temporary names: the content may be one
// that was given up since. Nobody may be writing the file meanwhile.
func sweepSecretFile(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return fileError("the key file's folder could not be read", path, err)
	}
	for _, e := range entries {
		end, ours := strings.CutPrefix(e.Name(), filepath.Base(temporaryOf(path, "")))
		if !ours || !temporaryEnd.MatchString(end) || !e.Type().IsRegular() {
			continue
		}
		if err := removeTemporary(path, temporaryOf(path, end)); err != nil {
			return fileError("what a killed process left of the key file could not be removed", path, err)
		}
	}
	return nil
}

// removeTemporary leaves the bytes alone when they are the file's own: a process may be killed between giving it its name and taking the
// temporary one away.
func removeTemporary(path, temporary string) error {
	whole, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !os.SameFile(whole, info) {
		err = blank(f)
	}
	return errors.Join(err, os.Remove(temporary))
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
