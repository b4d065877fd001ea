package entra

import (
	"context"
	"fmt"
	"net/url"
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

// Read follows users/delta. A read that broke off goes on at the page of from.Resume, as long as the description and the groups are what
// they were; otherwise, and when Graph no longer knows the link, the error is CodeCursorExpired. A cursor that does not fit (another
// description, other members, older than six and a half days) makes the read a full one, and its note says so.
func (d *Directory) Read(ctx context.Context, from backup.ReadFrom, yield func(backup.EntryPage) error) (backup.ReadEnd, error) {
	r := &reading{Directory: d, client: d.client.Counting()}
	var err error
	if r.members, err = r.readMembers(ctx, d.wanted.Groups); err != nil {
		return backup.ReadEnd{}, err
	}
	ended, err := r.begin(from, time.Now())
	for range msgraph.MostPages {
		if err != nil || ended {
			break
		}
		ended, err = r.page(ctx, yield)
	}
	switch {
	case err != nil:
		return backup.ReadEnd{}, err
	case !ended:
		return backup.ReadEnd{}, msgraph.TooManyPages()
	}
	return r.end(), nil
}

// reading is a read under way.
type reading struct {
	*Directory
	client  *msgraph.Client
	members members
	at      position
}

// begin finds out where to begin. It is true when nothing is left: the read broke off behind its last page.
func (r *reading) begin(from backup.ReadFrom, now time.Time) (ended bool, err error) {
	if len(from.Resume) > 0 {
		if r.at, err = readPosition(from.Resume); err != nil {
			return false, err
		}
		if why := r.unfit(r.at, now); why != "" {
			return false, msgraph.CursorExpired("a read of the directory cannot go on: "+why, nil)
		}
		return r.at.Ended, nil
	}
	r.at = position{Version: cursorVersion, Of: r.of, Members: r.members.digest, Made: now.UTC(), Link: "/users/delta?$select=" + strings.Join(r.wanted.Select, ",")}
	if len(from.Since) == 0 {
		return false, nil
	}
	since, err := readPosition(from.Since)
	if err != nil {
		r.at.Note = "full: the last import's cursor cannot be read"
	} else if why := r.unfit(since, now); why != "" {
		r.at.Note = "full: " + why
	} else {
		r.at.Link, r.at.Changes = since.Link, true
	}
	return false, nil
}

// unfit says why a position is of no use now, or nothing.
func (r *reading) unfit(p position, now time.Time) string {
	switch {
	case p.Of != r.of:
		return "the directory's description changed since"
	case p.Members != r.members.digest:
		return "somebody joined or left one of the groups since"
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
	resume := r.at
	resume.Sums.Calls += r.client.Calls()
	out.Resume = resume.encode()
	return last, yield(out)
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
	cursor := position{Version: cursorVersion, Of: r.at.Of, Members: r.at.Members, Made: r.at.Made, Link: r.at.Link}
	e := backup.ReadEnd{Mode: backup.FullRead, Cursor: cursor.encode(), Calls: r.at.Sums.Calls + r.client.Calls(), Note: r.at.note()}
	if r.at.Changes {
		e.Mode = backup.ChangesRead
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
	return r.sort(ctx, people)
}

// sort tells those who are wanted from the others, who count as gone: an earlier page, or an earlier import, may have had them.
func (r *reading) sort(ctx context.Context, people []*person) (out backup.EntryPage, err error) {
	var taken []*person
	for _, u := range people {
		switch {
		case u.Removed != nil:
			r.countGone(u.Removed.Reason)
			out.Gone = append(out.Gone, u.ID)
		case !r.wanted.selects(u, r.members.of(u.ID)):
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
		out.Entries = append(out.Entries, r.wanted.entry(u, r.members.of(u.ID), purposes[u.ID]))
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
	var paths []string
	for i, u := range people {
		if u.Removed == nil && !u.whole() {
			missing = append(missing, i)
			paths = append(paths, "/users/"+url.PathEscape(u.ID)+"?$select="+strings.Join(r.wanted.Select, ","))
		}
	}
	answers, err := batch(ctx, r.client, paths)
	if err != nil {
		return err
	}
	for n, i := range missing {
		switch a := answers[n]; {
		case a.refusal == nil:
			id := people[i].ID
			if people[i], err = readPerson(a.body, r.wanted.Attributes); err != nil {
				return err
			}
			if people[i].ID != id || !people[i].whole() {
				return msgraph.BadResponse("Microsoft Graph gave a user without the properties asked for", nil)
			}
			r.at.Sums.Fetched++
		case a.refusal.Missing():
			people[i].Removed = &msgraph.RemovedMark{Reason: "changed"}
		default:
			return r.judge(ctx, a.refusal.Classify("GET /users/…"))
		}
	}
	return nil
}
