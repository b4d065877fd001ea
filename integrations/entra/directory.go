package entra

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
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
// description and, in a full read, the members of groups are what they were; otherwise, and when Graph no longer knows one of the links, the error
// is CodeCursorExpired. A cursor that does not fit (another description, older than six and a half days, a change of groups that cannot be told
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
	since, note := position{}, ""
	if len(from.Since) > 0 {
		if since, err = readPosition(from.Since); err != nil {
			note = "the last import's cursor cannot be read"
		} else {
			note = r.unfit(since, now)
		}
	}
	r.at = position{Version: cursorVersion, Of: r.of, Made: now.UTC(), Link: since.Link, Groups: since.Groups, Changes: len(from.Since) > 0 && note == ""}
	if r.at.Changes {
		if note, err = r.follow(ctx); err != nil || note == "" {
			return false, err
		}
	}
	if note != "" {
		note = "full: " + note
	}
	r.concerned = nil
	r.at = position{Version: cursorVersion, Of: r.of, Made: now.UTC(), Link: "/users/delta?$select=" + strings.Join(r.wanted.Select, ","), Note: note}
	err = r.list(ctx)
	r.at.Members = r.members.digest
	return false, err
}

// resume goes on with a read. What it heard of the groups is heard again: in a read of changes it can only have become more.
func (r *reading) resume(ctx context.Context, from backup.ReadFrom, now time.Time) (ended bool, err error) {
	if r.at, err = readPosition(from.Resume); err != nil {
		return false, err
	}
	why := r.unfit(r.at, now)
	switch {
	case why != "":
	case r.at.Changes:
		why, err = r.follow(ctx)
	default:
		if err = r.list(ctx); r.at.Members != r.members.digest {
			why = "somebody joined or left one of the groups since"
		}
	}
	if err == nil && why != "" {
		err = msgraph.CursorExpired("a read of the directory cannot go on: "+why, nil)
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
	out.Resume = resume.encode()
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

// note tells a person what is not in the counts.
func (p position) note() string {
	var parts []string
	say := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	if p.Note != "" {
		parts = append(parts, p.Note)
	}
	say(p.Sums.SoftDeleted, "%d deleted, can be restored in Entra for 30 days")
	say(p.Sums.Deleted, "%d deleted for good")
	say(p.Sums.Fetched, "%d changes came without their properties and were fetched")
	say(p.Sums.Moved, "the groups of %d people were looked at, as members came or went")
	say(p.Sums.Closed, "%d mailboxes are closed to the app, so their kind is not known")
	return strings.Join(parts, "; ")
}

// entries turns a page of users into a page of entries. Of several objects with one id the last one counts.
func (r *reading) entries(ctx context.Context, p msgraph.Page) (out backup.EntryPage, err error) {
	at := make(map[string]int, len(p.Value))
	people := make([]*person, 0, len(p.Value))
	for _, raw := range p.Value {
		u, err := readPerson(raw, r.wanted.Attributes)
		if err != nil {
			return out, err
		}
		if i, again := at[u.ID]; again {
			people[i] = u
			continue
		}
		at[u.ID] = len(people)
		people = append(people, u)
	}
	if err := r.complete(ctx, people); err != nil {
		return out, err
	}
	var ids []string
	for _, u := range people {
		if id, ok := parseUserID(u.ID); ok && r.concerned[id] != nil {
			r.told[id] = true
		}
		if u.Removed == nil {
			ids = append(ids, u.ID)
		}
	}
	groups, err := r.belong(ctx, ids)
	if err != nil {
		return out, err
	}
	return r.sort(ctx, people, groups)
}

// sort tells those who are wanted from the others, who count as gone: an earlier page, or an earlier import, may have had them.
func (r *reading) sort(ctx context.Context, people []*person, groups map[string][]string) (out backup.EntryPage, err error) {
	var taken []*person
	for _, u := range people {
		switch {
		case u.Removed != nil:
			r.countGone(u.Removed.Reason)
			out.Gone = append(out.Gone, u.ID)
		case !r.wanted.selects(u, groups[u.ID]):
			out.Gone = append(out.Gone, u.ID)
		default:
			taken = append(taken, u)
		}
	}
	purposes, err := r.readPurposes(ctx, taken)
	if err != nil {
		return out, err
	}
	for _, u := range taken {
		out.Entries = append(out.Entries, r.wanted.entry(u, groups[u.ID], purposes[u.ID]))
	}
	return out, nil
}

// countGone: "changed" is a removal into the container of deleted users, "deleted" one for good.
func (r *reading) countGone(reason string) {
	if reason == "changed" {
		r.at.Sums.SoftDeleted++
	} else {
		r.at.Sums.Deleted++
	}
}

// complete fetches the objects that came without their properties. One that is not there any more is gone.
func (r *reading) complete(ctx context.Context, people []*person) error {
	var missing []int
	var ids []string
	for i, u := range people {
		if u.Removed == nil && !u.whole() {
			missing, ids = append(missing, i), append(ids, u.ID)
		}
	}
	fetched, err := r.fetch(ctx, ids)
	if err != nil {
		return err
	}
	for n, i := range missing {
		if fetched[n] == nil {
			people[i].Removed = &msgraph.RemovedMark{Reason: "changed"}
			continue
		}
		people[i] = fetched[n]
		r.at.Sums.Fetched++
	}
	return nil
}

// fetch gets people by their ids; one who is not there is nil.
func (r *reading) fetch(ctx context.Context, ids []string) ([]*person, error) {
	requests := make([]innerCall, 0, len(ids))
	for _, id := range ids {
		requests = append(requests, innerCall{path: "/users/" + url.PathEscape(id) + "?$select=" + strings.Join(r.wanted.Select, ",")})
	}
	answers, err := batch(ctx, r.client, requests)
	if err != nil {
		return nil, err
	}
	people := make([]*person, len(ids))
	for i, a := range answers {
		if a.refusal != nil && a.refusal.Missing() {
			continue
		}
		if a.refusal != nil {
			return nil, r.judge(ctx, a.refusal.Classify("GET /users/…"))
		}
		if people[i], err = readPerson(a.body, r.wanted.Attributes); err != nil {
			return nil, err
		}
		if people[i].ID != ids[i] || !people[i].whole() {
			return nil, msgraph.BadResponse("Microsoft Graph gave a user without the properties asked for", nil)
		}
	}
	return people, nil
}
