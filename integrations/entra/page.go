package entra

import (
	"context"
	"net/url"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

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
