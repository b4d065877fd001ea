package entra

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// reading is a read under way.
type reading struct {
	*Directory
	client *msgraph.Client
	at     position
	// members are listed by a full read; by one of changes only when many people are asked for.
	members members
	// next is where the feeds of groups go on behind this read; unfollowed: nowhere, as there are too many.
	next       following
	unfollowed bool
	// Of a read of changes: the named groups above each, whom the feeds of groups concern, of whom users/delta told, how many requests
	// asked for people's groups, and whom to ask for again.
	above     map[string][]string
	concerned map[userID]*concern
	told      map[userID]bool
	asked     int64
	again     map[userID]bool
}

// begin finds out where to begin, and hears of the groups. It is true when users/delta has no more to tell: the read broke off behind its last page.
func (r *reading) begin(ctx context.Context, from backup.ReadFrom, now time.Time) (ended bool, err error) {
	if len(from.Resume) > 0 {
		return r.resume(ctx, from, now)
	}
	why := ""
	if len(from.Since) > 0 {
		if why, err = r.goOn(ctx, from.Since, now); err != nil || why == "" {
			return false, err
		}
		why = "full: " + why
	}
	r.concerned = nil
	r.at = position{Version: cursorVersion, Of: r.of, Made: now.UTC(), Link: "/users/delta?$select=" + strings.Join(r.wanted.Select, ","), Note: why}
	err = r.list(ctx)
	r.at.Groups = r.next
	return false, err
}

// goOn begins where the last import ended, or says why that cannot be.
func (r *reading) goOn(ctx context.Context, cursor backup.DirectoryCursor, now time.Time) (why string, err error) {
	since, err := readPosition(cursor)
	if err != nil {
		return "the last import's cursor cannot be read", nil //nolint:nilerr // it is answered by a full listing
	}
	if why := r.unfit(since, now); why != "" {
		return why, nil
	}
	r.at = position{Version: cursorVersion, Of: r.of, Made: now.UTC(), Link: since.Link, Groups: since.Groups, Changes: true}
	return r.follow(ctx)
}

// resume goes on with a read. What changed in the groups since it began is heard anew, also in a full read: the pages that were kept were told
// with the members of then.
func (r *reading) resume(ctx context.Context, from backup.ReadFrom, now time.Time) (ended bool, err error) {
	if r.at, err = readPosition(from.Resume); err != nil {
		return false, err
	}
	why := r.unfit(r.at, now)
	if why == "" {
		why, err = r.follow(ctx)
	}
	if err == nil && why != "" {
		err = msgraph.CursorExpired("a read of the directory cannot go on: "+why, nil)
	}
	if err == nil && !r.at.Changes {
		// The feeds go on where they were followed to, which was before: what changed between is told by the next import.
		next := r.next
		err = r.list(ctx)
		next.Listing, r.next = r.next.Listing, next
	}
	return r.at.Ended, err
}

// unfit says why a position is of no use now, or nothing.
func (r *reading) unfit(p position, now time.Time) string {
	switch {
	case p.Of != r.of:
		return "the directory's description changed since"
	case len(p.Groups.Again) > mostAgain:
		return "many people left a group that they seemed to be in all the same"
	case now.Sub(p.Made) > cursorLife || now.Before(p.Made.Add(-time.Hour)):
		return "the last one is older than Microsoft keeps changes for (seven days)"
	}
	return ""
}

// page reads one page, gives it to yield and moves on. It is true behind the last one.
func (r *reading) page(ctx context.Context, yield func(backup.EntryPage) error) (last bool, err error) {
	link, err := r.client.Restore(r.at.Link)
	if err != nil {
		return false, msgraph.CursorExpired("the last import's cursor leads elsewhere", err)
	}
	p, err := r.client.Page(ctx, link, []string{pageSize})
	if err != nil {
		return false, r.judge(ctx, err)
	}
	out, err := r.entries(ctx, p)
	if err != nil {
		return false, err
	}
	next, last := p.Link()
	if r.at.Link, err = r.client.Shorten(next); err != nil {
		return false, msgraph.BadResponse(err.Error(), nil)
	}
	r.at.Ended = last
	return last, r.give(out, yield)
}

// give yields a page with the position behind it.
func (r *reading) give(out backup.EntryPage, yield func(backup.EntryPage) error) error {
	resume := r.at
	resume.Sums.Calls += r.client.Calls()
	if out.Resume = resume.encode(); r.unfollowed {
		out.Resume = nil // nothing would tell who came and went meanwhile
	}
	return yield(out)
}

// judge names the permission where a refusal is about that; other errors pass.
func (r *reading) judge(ctx context.Context, err error) error {
	if backup.HasCode(err, backup.CodeMissingRole) {
		return r.client.Lacks(ctx, msgraph.ReadUsers, err)
	}
	return err
}

// end is what stands at the end of a complete read.
func (r *reading) end() backup.ReadEnd {
	e := backup.ReadEnd{Mode: backup.FullRead, Calls: r.at.Sums.Calls + r.client.Calls(), Note: r.at.note()}
	if r.at.Changes {
		e.Mode = backup.ChangesRead
	} else {
		r.next.Price = e.Calls
	}
	for _, id := range slices.SortedFunc(maps.Keys(r.again), compareIDs) {
		if len(r.next.Again) <= mostAgain {
			r.next.Again = append(r.next.Again, id.String())
		}
	}
	e.Cursor = position{Version: cursorVersion, Of: r.at.Of, Made: r.at.Made, Link: r.at.Link, Groups: r.next}.encode()
	if r.unfollowed || len(e.Cursor) > cursorLimit {
		e.Cursor = nil
		e.Note = strings.TrimPrefix(e.Note+"; the groups, with those in them, are too many to be followed, so every import lists everybody", "; ")
	}
	return e
}
