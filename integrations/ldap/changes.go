package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// fullEvery is how long changes are followed without a full listing. No feed tells of a right to read that was given or taken, or of
	// entries that somebody put into the database by hand.
	fullEvery = 7 * 24 * time.Hour
	clockSkew = 10 * time.Minute // between workers

	// reread is how many entries are read again in one search, by their ids.
	reread = 100
	// maxChanged is how many changed entries of one search are held; there are better ways to read more than that.
	maxChanged = 1_000_000
)

// feed is a way to follow changes.
type feed interface {
	// begin says where changes are to be read from, once a listing that begins now is complete.
	begin(ctx context.Context, c *cursor) error
	// follow yields what changed since c and moves it on. The mode is FullRead when whoever it did not name is gone.
	// needsFull: what changed cannot be told person by person.
	follow(ctx context.Context, c *cursor, yield func(backup.EntryPage) error) (backup.ReadMode, error)
}

// needsFull is an error whose remedy is a full listing. It says why.
type needsFull string

func (e needsFull) Error() string { return string(e) }

// Read lists everybody, or tells what changed since from. Changes are only read when it is certain that they are the whole difference:
// same configuration, same server, same members in every group that matters, no container renamed or moved, and a full listing not too
// long ago. Everything else is a full listing, and the note says why.
func (d *Directory) Read(ctx context.Context, from backup.ReadFrom, yield func(backup.EntryPage) error) (backup.ReadEnd, error) {
	before := d.calls.Load()
	members, err := d.membership(ctx)
	if err != nil {
		return backup.ReadEnd{}, err
	}
	r := reading{d: d, members: members, yield: yield}
	end, err := r.run(ctx, from)
	end.Calls = d.calls.Load() - before
	return end, err
}

// reading is one read.
type reading struct {
	d       *Directory
	members *membership
	yield   func(backup.EntryPage) error
	pages   int   // yielded
	refused error // by yield: it is not the directory's
	note    string
}

func (r *reading) run(ctx context.Context, from backup.ReadFrom) (backup.ReadEnd, error) {
	now, follow, err := r.start(ctx)
	if err != nil {
		return backup.ReadEnd{}, err
	}
	why, end, err := r.changes(ctx, from, now, follow)
	if why == "" || err != nil {
		return end, err
	}
	if len(from.Resume) > 0 || r.pages > 0 { // those pages are of another read
		return backup.ReadEnd{}, retryable(customer(backup.CodeCursorExpired, "the changes cannot be read on: "+why, "everybody is listed instead"))
	}
	return r.full(ctx, now, follow, why)
}

// changes reads changes if they can be had; why is empty when they were, and the reason for a full listing otherwise.
func (r *reading) changes(ctx context.Context, from backup.ReadFrom, now cursor, follow feed) (why string, end backup.ReadEnd, err error) {
	raw := from.Since
	if len(from.Resume) > 0 {
		raw = from.Resume
	}
	if len(raw) == 0 {
		return "there is no cursor", end, nil
	}
	if follow == nil {
		return "the directory has no feed of changes", end, nil
	}
	c, err := parseCursor(raw)
	if err != nil {
		return "the cursor cannot be read", end, nil //nolint:nilerr // it is answered by a full listing
	}
	if why := c.stale(now, time.Now()); why != "" {
		return why, end, nil
	}
	end.Mode, err = follow.follow(ctx, &c, r.page)
	if err == nil {
		err = r.expired(ctx, c.Read, now.Read)
	}
	var full needsFull
	if errors.As(err, &full) {
		return full.Error(), backup.ReadEnd{}, nil
	}
	if r.refused != nil {
		return "", backup.ReadEnd{}, r.refused
	}
	if err != nil {
		return "", backup.ReadEnd{}, r.d.settings.classify(err)
	}
	if c.Read = now.Read; end.Mode == backup.FullRead {
		c.Full = now.Read
	}
	end.Cursor, end.Note = c.encode(), joinNotes(string(end.Mode)+": by "+string(c.Feed), r.note)
	return "", end, nil
}

// full lists everybody. The cursor is taken before, so that a change between the two is told twice rather than never.
func (r *reading) full(ctx context.Context, now cursor, follow feed, why string) (backup.ReadEnd, error) {
	if follow != nil {
		now.Full = now.Read
		if err := follow.begin(ctx, &now); err != nil {
			return backup.ReadEnd{}, r.d.settings.classify(err)
		}
	}
	err := r.d.list(ctx, r.members, func(entries []backup.DirectoryEntry) error {
		return r.page(backup.EntryPage{Entries: entries})
	})
	if err != nil {
		return backup.ReadEnd{}, err
	}
	end := backup.ReadEnd{Mode: backup.FullRead, Note: joinNotes("full: "+why, r.note)}
	if follow != nil {
		end.Cursor = now.encode()
	}
	return end, nil
}

func joinNotes(notes ...string) string {
	return strings.Join(slices.DeleteFunc(notes, func(n string) bool { return n == "" }), "; ")
}

// page says of each entry which of the named groups it is in.
func (r *reading) page(p backup.EntryPage) error {
	for i := range p.Entries {
		p.Entries[i].Groups = r.members.named(p.Entries[i].DN)
	}
	r.pages++
	r.refused = r.yield(p)
	return r.refused
}

// start chooses the feed and describes where things stand now.
func (r *reading) start(ctx context.Context) (now cursor, follow feed, err error) {
	d := r.d
	now = cursor{Version: cursorVersion, Read: time.Now().UTC(), Config: d.configDigest(), Groups: r.members.digests()}
	now.Feed, err = r.choose()
	if err != nil || now.Feed == backup.FeedNone {
		return now, nil, err
	}
	if now.Feed == backup.FeedSyncrepl {
		s := &syncrepl{d: d, members: r.members}
		err := s.locate(ctx, &now)
		if errors.Is(err, errNoSyncrepl) && d.settings.Changes != backup.FeedSyncrepl {
			r.note = "the database does not know syncrepl (overlay syncprov)"
			return now, nil, nil
		}
		return now, s, d.settings.classify(err)
	}
	return r.startAD(ctx, now)
}

// startAD takes DirSync where the account may, and uSNChanged otherwise.
func (r *reading) startAD(ctx context.Context, now cursor) (cursor, feed, error) {
	d := r.d
	ad, err := d.controller(ctx)
	if err != nil {
		return now, nil, d.settings.classify(err)
	}
	now.Server = ad.server
	resolve := resolver{d: d, members: r.members, context: ad.context}
	if now.Feed == backup.FeedDirSync {
		s := &dirSync{resolver: resolve}
		switch err := s.permitted(ctx); {
		case err == nil:
			return now, s, nil
		case !isRefusal(err):
			return now, nil, d.settings.classify(err)
		case d.settings.Changes == backup.FeedDirSync:
			return now, nil, customer(backup.CodeMissingRole, d.settings.BindDN+" may not use DirSync", "give it the right \"Replicating Directory Changes\" on "+ad.context)
		}
		now.Feed = backup.FeedUSN
		r.note = "uSNChanged, because the account has no right to use DirSync"
	}
	u := &usnFeed{resolver: resolve, highest: ad.highest}
	if err := u.seeDeleted(ctx); err != nil {
		return now, nil, d.settings.classify(err)
	}
	if !u.tombstones {
		r.note = joinNotes(r.note, fmt.Sprintf("deletions are seen by a full listing every %v, because the account may not read deleted objects", fullWithoutTombstones))
	}
	return now, u, nil
}

// choose takes the configured feed, or what the directory has. A feed names who is gone by the directory's own id; where another
// attribute is the id, nobody could be told to be gone.
func (r *reading) choose() (backup.ChangeFeed, error) {
	d, want := r.d, r.d.settings.Changes
	if want == backup.FeedNone {
		return want, nil
	}
	auto := want == "" || want == backup.FeedAuto
	own, choice := entryUUID, backup.FeedSyncrepl
	if d.kind == kindAD {
		own, choice = objectGUID, backup.FeedDirSync
	}
	switch {
	case auto && d.kind != kindAD && !slices.Contains(d.controls, ldap.ControlTypeSyncRequest):
		return backup.FeedNone, nil
	case !strings.EqualFold(d.reader.names.ID, own):
		if !auto {
			return "", badConfig("changes cannot be followed with "+d.reader.names.ID+" as the id", "leave attributes.id out, or set changes: none")
		}
		r.note = "changes are told by " + own + ", and the configured id is " + d.reader.names.ID
		return backup.FeedNone, nil
	case auto:
		return choice, nil
	case (want == backup.FeedSyncrepl) == (d.kind == kindAD):
		return "", badConfig("the directory is "+d.kind+" and does not know "+string(want), "set changes: auto")
	}
	return want, nil
}

func isRefusal(err error) bool {
	return ldap.IsErrorAnyOf(err, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultUnavailableCriticalExtension)
}

// look makes a search of which not much is expected, page by page. take is called for each entry after its page was complete.
func (d *Directory) look(ctx context.Context, base, filter string, attributes []string, more []ldap.Control, take func(*ldap.Entry) error) error {
	paging := ldap.NewControlPaging(uint32(d.settings.PageSize)) // 1 to maxPageSize
	request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, append(more, paging))
	for total := 0; ; {
		var found *ldap.SearchResult
		err := d.within(ctx, func(context.Context) (err error) {
			found, err = d.conn.Search(request)
			return err
		})
		if err != nil {
			return err
		}
		end, complete := ldap.FindControl(found.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !complete {
			return errNoPaging
		}
		for _, e := range found.Entries {
			if err := take(e); err != nil {
				return err
			}
		}
		if len(end.Cookie) == 0 {
			return nil
		}
		if total++; total > maxEntries/d.settings.PageSize {
			return errEndless
		}
		paging.SetCookie(end.Cookie)
	}
}

// context is the naming context that an entry is in; "" when none is known.
func (d *Directory) contextOf(dn string) string {
	best := ""
	for _, c := range d.namingContexts {
		if c != "" && below(dn, c) && len(c) > len(best) {
			best = c
		}
	}
	return best
}

// below tells whether an entry is the top or below it.
func below(dn, top string) bool {
	dn, top = canonicalDN(dn), canonicalDN(top)
	return dn == top || strings.HasSuffix(dn, ","+top)
}
