package microsoft365

import (
	"errors"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// skipped turns a refusal that is about one item alone into the outcome it is; other errors pass.
func skipped(err error) error {
	var r *msgraph.Refusal
	if errors.As(err, &r) && r.PerItem() {
		return &backup.SkipError{Reason: r.Skip(), Detail: r.Error()}
	}
	return err
}
