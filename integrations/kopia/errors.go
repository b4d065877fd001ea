package kopia

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// classify names what kopia or the file system reported while doing something. Errors that are classified already and those of a
// context that ended pass through. kopia's texts name blobs and paths, never passwords or contents.
func classify(err error, doing string) error {
	var known *backup.Error
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, repo.ErrInvalidPassword):
		// It was open: kopia reads the repository's format again every quarter of an hour.
		return &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultOurs, Retryable: true,
			Message: "the repository was re-wrapped for another key while it was open",
			Hint:    "nothing to do: it is opened again with the new key"}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return &backup.Error{Code: backup.CodeDiskFull, Fault: backup.FaultOurs, Cause: err,
			Message: "the repository's disk is full while " + doing,
			Hint:    "free or add space on the disk of the repository's folder; snapshots that stand are unharmed, and the next run goes on"}
	case errors.Is(err, repo.ErrRepositoryNotInitialized):
		return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultOurs,
			Message: "there is no repository in the tenant's folder",
			Hint:    "check that the right disk is mounted there; a new tenant's repository is made by onboarding"}
	}
	return &backup.Error{Code: backup.CodeRepository, Fault: backup.FaultOurs, Cause: err, Retryable: mayPass(err),
		Message: "the repository cannot be read or written while " + doing, Hint: repositoryHint(err)}
}

// classifyOpening is classify for what is done with a password that was given just now. kopia's text of a wrong one adds nothing.
func classifyOpening(err error, doing string) error {
	if errors.Is(err, repo.ErrInvalidPassword) {
		return &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer,
			Message: "the repository does not open with this key",
			Hint:    "make sure that the key's holder has the key that the repository was made with"}
	}
	return classify(err, doing)
}

// mayPass tells trouble of the disk or network drive, which may go away, from missing and damaged data, which will not.
func mayPass(err error) bool {
	if missing(err) {
		return false
	}
	var refused syscall.Errno
	return errors.As(err, &refused) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist)
}

func missing(err error) bool {
	return errors.Is(err, blob.ErrBlobNotFound) || errors.Is(err, content.ErrContentNotFound) || errors.Is(err, object.ErrObjectNotFound)
}

func repositoryHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "give the worker's user the right to read and write the repository's folder"
	case mayPass(err):
		return "check the disk of the repository's folder"
	}
	return "check that the repository's folder is complete and its disk sound; kopia's own 'snapshot verify' tells which data is damaged"
}

// damaged reports content that decrypts but is not what this program writes.
func damaged(format string, args ...any) error {
	return &backup.Error{Code: backup.CodeRepository, Fault: backup.FaultOurs,
		Message: "the snapshot is damaged: " + fmt.Sprintf(format, args...),
		Hint:    "restore from another snapshot, and report this with the snapshot's id"}
}

// misused reports a call that cannot be answered.
func misused(format string, args ...any) error {
	return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: fmt.Sprintf(format, args...)}
}
