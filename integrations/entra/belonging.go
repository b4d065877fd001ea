package entra

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	// groupsPerCheck is how many groups one checkMemberGroups looks at. See https://learn.microsoft.com/graph/api/user-checkmembergroups.
	groupsPerCheck = 20
	// concernedPerPage is how many people the changes of groups put on one page.
	concernedPerPage = 1000
)

// belong gives the named groups that each of the people is in, as they are written, sorted: what the feed and what Graph says.
func (r *reading) belong(ctx context.Context, ids []string) (map[string][]string, error) {
	in := make(map[string][]string, len(ids))
	if len(r.wanted.Groups) == 0 || len(ids) == 0 {
		return in, nil
	}
	var open []string
	for _, id := range ids {
		if in[id] = r.joined(id); len(in[id]) < len(r.wanted.Groups) {
			open = append(open, id)
		}
	}
	said, err := r.say(ctx, open)
	if err != nil {
		return nil, err
	}
	for _, id := range open {
		groups := said(id)
		r.doubt(id, groups)
		in[id] = append(in[id], groups...)
		slices.Sort(in[id])
		in[id] = slices.Compact(in[id])
	}
	return in, nil
}

// say finds out the groups of people. A full read has listed them all. A read of changes asks Graph for those few whom it is about, until that would
// have cost as much as the list, which it then takes.
func (r *reading) say(ctx context.Context, ids []string) (said func(id string) []string, err error) {
	r.asked += int64(len(ids) * ((len(r.wanted.Groups) + groupsPerCheck - 1) / groupsPerCheck))
	if r.members.ids == nil && calls(r.asked) <= max(1, r.at.Groups.Listing) {
		return r.check(ctx, ids)
	}
	if r.members.ids == nil {
		r.members, err = r.readMembers(ctx, r.wanted.Groups)
	}
	return r.members.of, err
}

// joined are the named groups that somebody is in by what the feed said in this read. It needs no other's word, which may be older.
func (r *reading) joined(id string) (groups []string) {
	if u, ok := parseUserID(id); ok && r.concerned[u] != nil {
		for _, g := range r.concerned[u].joined {
			groups = append(groups, r.above[g]...)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// doubt remembers whom the feed says to have left a group that Graph says they are in.
func (r *reading) doubt(id string, groups []string) {
	u, ok := parseUserID(id)
	if !ok || r.concerned[u] == nil {
		return
	}
	for _, g := range r.concerned[u].left {
		if slices.ContainsFunc(r.above[g], func(name string) bool { return slices.Contains(groups, name) }) {
			r.again[u] = true
		}
	}
}

// check asks for each person which of the groups they are in. One whom Graph does not know is in none.
func (r *reading) check(ctx context.Context, ids []string) (said func(id string) []string, err error) {
	written := map[string][]string{}
	for _, name := range r.wanted.Groups {
		written[strings.ToLower(name)] = append(written[strings.ToLower(name)], name)
	}
	var asked []string
	var requests []innerCall
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(written)), groupsPerCheck) {
		body, err := json.Marshal(map[string][]string{"groupIds": chunk})
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			asked = append(asked, id)
			requests = append(requests, innerCall{"/users/" + url.PathEscape(id) + "/checkMemberGroups", body})
		}
	}
	answers, err := batch(ctx, r.client, requests)
	if err != nil {
		return nil, err
	}
	in := map[string][]string{}
	for i, a := range answers {
		groups, err := r.checked(ctx, a)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			in[asked[i]] = append(in[asked[i]], written[strings.ToLower(g)]...)
		}
	}
	return func(id string) []string { return in[id] }, nil
}

func (r *reading) checked(ctx context.Context, a inner) (groups []string, err error) {
	switch {
	case a.refusal != nil && a.refusal.Missing():
		return nil, nil
	case a.refusal != nil && a.refusal.Status == http.StatusForbidden:
		return nil, r.client.Lacks(ctx, readGroups, a.refusal.Classify("POST checkMemberGroups"))
	case a.refusal != nil:
		return nil, a.refusal.Classify("POST checkMemberGroups")
	}
	var said struct {
		Value []string `json:"value"`
	}
	if json.Unmarshal(a.body, &said) != nil || said.Value == nil {
		return nil, msgraph.BadResponse("a person's groups are not what they should be", nil)
	}
	return said.Value, nil
}

// yieldConcerned gives those whom only the changes of groups concern; of whom users/delta told, that was with their groups.
func (r *reading) yieldConcerned(ctx context.Context, yield func(backup.EntryPage) error) error {
	left := slices.SortedFunc(maps.Keys(r.concerned), compareIDs)
	left = slices.DeleteFunc(left, func(id userID) bool { return r.told[id] })
	for chunk := range slices.Chunk(left, concernedPerPage) {
		out, err := r.concernedPage(ctx, chunk)
		if err != nil {
			return err
		}
		if err := r.give(out, yield); err != nil {
			return err
		}
	}
	return nil
}

// concernedPage fetches those who are in one of the groups. Somebody who is not there any more is left to users/delta, which tells of it.
func (r *reading) concernedPage(ctx context.Context, chunk []userID) (out backup.EntryPage, err error) {
	ids := make([]string, 0, len(chunk))
	for _, id := range chunk {
		ids = append(ids, id.String())
	}
	groups, err := r.belong(ctx, ids)
	if err != nil {
		return out, err
	}
	var fetch, gone []string
	for _, id := range ids {
		if r.wanted.inGroups(groups[id]) {
			fetch = append(fetch, id)
		} else {
			gone = append(gone, id)
		}
	}
	people, err := r.fetch(ctx, fetch)
	if err != nil {
		return out, err
	}
	people = slices.DeleteFunc(people, func(p *person) bool { return p == nil })
	out, err = r.sort(ctx, people, groups)
	out.Gone = append(out.Gone, gone...)
	return out, err
}
