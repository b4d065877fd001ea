package ldap

import (
	"context"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// expired tells of those whose accountExpires came between two moments: nobody changes an entry when its day comes, so no feed tells.
// Another directory's shadowExpire has no order to ask by (RFC 2307, section 3); whoever it closes is seen by the next full listing.
func (r *reading) expired(ctx context.Context, after, until time.Time) error {
	d := r.d
	if d.kind != kindAD || !after.Before(until) {
		return nil
	}
	var page backup.EntryPage
	filter := fmt.Sprintf("(&%s(%s>=%d)(%s<=%d))", d.settings.Filter, accountExpires, fileTime(after)+1, accountExpires, fileTime(until))
	err := d.look(ctx, d.settings.BaseDN, filter, d.reader.attributes(), nil, func(e *ldap.Entry) error {
		p, hasID, err := d.person(ctx, e)
		if err == nil && hasID && r.members.has(e.DN) {
			page.Entries = append(page.Entries, p)
		}
		return err
	})
	if err != nil || len(page.Entries) == 0 {
		return err
	}
	return r.page(page)
}

// fileTime counts as accountExpires does.
func fileTime(at time.Time) int64 { return at.Unix()*fileTimeUnits + fileTimeEpoch }
