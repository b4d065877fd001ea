package entra

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// pageSize is the largest page of the directory: the fewer there are, the fewer calls are made.
const pageSize = "odata.maxpagesize=999"

// Directory is one Entra directory.
type Directory struct {
	client *msgraph.Client
	wanted wanted
	of     string // digest of the description
}

// Close has nothing to end: the connections are the adapter's.
func (d *Directory) Close() error { return nil }

// Read follows users/delta and, where groups count, groups/delta. A read that broke off goes on at the page of from.Resume, as long as the
// description is what it was; otherwise, and when Graph no longer knows one of the links or cannot tell what changed in the groups meanwhile, the
// error is CodeCursorExpired. A cursor that does not fit (another description, older than six and a half days, a change of groups that cannot be told
// or is dearer to follow than everybody to list) makes the read a full one, and its note says so.
func (d *Directory) Read(ctx context.Context, from backup.ReadFrom, yield func(backup.EntryPage) error) (backup.ReadEnd, error) {
	r := &reading{Directory: d, client: d.client.Counting(), told: map[userID]bool{}, again: map[userID]bool{}}
	ended, err := r.begin(ctx, from, time.Now())
	for range msgraph.MostPages {
		if err != nil || ended {
			break
		}
		ended, err = r.page(ctx, yield)
	}
	if err == nil && !ended {
		err = msgraph.TooManyPages()
	}
	if err == nil {
		err = r.yieldConcerned(ctx, yield)
	}
	if err != nil {
		return backup.ReadEnd{}, err
	}
	return r.end(), nil
}
