package kopia

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Rewrap makes the tenant's repository open with the new password and no longer with the old one. Data and kopia's own keys stay as they
// are. It may be killed at any line: until the journal is on the disk the old password opens the repository; from then on the first
// of the two that somebody opens it with, or the new one when Rewrap is called again. nil as well when it was done before.
// CodeWrongKey: it opens with neither.
func (r *Repositories) Rewrap(ctx context.Context, t backup.Tenant, old, new string) error {
	folder, err := r.folder(t)
	if err != nil {
		return err
	}
	if r.options.ReadOnly {
		return misused("a repository that is only read cannot be re-wrapped")
	}
	if err := mustHoldRepository(folder); err != nil {
		return classify(err, "re-wrapping it")
	}
	unlock, err := lockFolder(ctx, folder)
	if err != nil {
		return classify(err, "waiting to re-wrap it")
	}
	defer unlock()
	return classifyOpening(rewrap(ctx, folder, old, new), "re-wrapping it")
}

func rewrap(ctx context.Context, folder, old, new string) error {
	if err := settle(ctx, folder, new, old); err != nil {
		return err
	}
	current, err := readFormatBlobs(folder)
	if err != nil {
		return err
	}
	if opens, err := current.opensWith(ctx, new); err != nil || opens {
		return err
	}
	changed, err := current.changed(ctx, old, new)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // deriving a key takes its time; nothing is begun for a caller who has gone
		return err
	}
	if err := (journal{current, changed}).write(folder); err != nil {
		return err
	}
	return settle(ctx, folder, new)
}

// settled takes the folder's lock together with all who only open the repository, when no re-wrapping is under way; one that was
// interrupted is settled in favour of the password.
func settled(ctx context.Context, folder, password string) (unlock func(), err error) {
	for {
		unlock, err := shareFolder(ctx, folder)
		if err != nil {
			return nil, err
		}
		left, err := interrupted(folder)
		if err == nil && !left {
			return unlock, nil
		}
		unlock()
		if err != nil {
			return nil, err
		}
		if unlock, err = lockFolder(ctx, folder); err != nil {
			return nil, err
		}
		err = settle(ctx, folder, password)
		unlock()
		if err != nil {
			return nil, err
		}
	}
}
