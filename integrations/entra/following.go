package entra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// list hears everything of the groups from the start, for a read of everybody.
func (r *reading) list(ctx context.Context) error {
	if len(r.wanted.Groups) == 0 {
		return nil
	}
	s, before := newSurvey(r.client, nest{}), r.client.Calls()
	err := s.open(ctx, lower(r.wanted.Groups))
	if errors.Is(err, errTooManyGroups) {
		r.unfollowed = true
		r.members, err = r.readMembers(ctx, r.wanted.Groups)
		return err
	}
	if err != nil {
		return err
	}
	if g := s.gone(r.wanted.Groups); g != "" {
		return noGroup(g, nil)
	}
	s.settle()
	r.members = s.members(r.wanted.Groups)
	r.next = following{Links: s.links, Nest: s.nest, Listing: r.client.Calls() - before}
	return nil
}

// innerDeleted is why a read is a full one.
const innerDeleted = "a group inside of one of the groups was deleted since"

// follow hears what changed in the groups, and finds out whom it concerns. why tells that this cannot be told, or is dearer than to list everybody.
func (r *reading) follow(ctx context.Context) (why string, err error) {
	was := r.at.Groups
	s := newSurvey(r.client, was.Nest.clone())
	if err := s.goOn(ctx, was.Links); err != nil {
		return "", err
	}
	if g := s.gone(r.wanted.Groups); g != "" {
		return "", noGroup(g, nil)
	}
	if s.gone(slices.Sorted(maps.Keys(was.Nest))) != "" {
		return innerDeleted, nil
	}
	err = s.open(ctx, s.found())
	if errors.Is(err, errTooManyGroups) {
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	s.settle()
	r.next = following{Links: s.links, Nest: s.nest, Listing: was.Listing, Price: was.Price}
	r.above = s.nest.above(r.wanted.Groups)
	return r.gather(ctx, s)
}

// goOn follows the links of the last import.
func (s *survey) goOn(ctx context.Context, links []string) error {
	for _, short := range links {
		link, err := s.client.Restore(short)
		if err != nil {
			return msgraph.CursorExpired("the last import's cursor leads elsewhere", err)
		}
		if err := s.round(ctx, link); err != nil {
			return err
		}
	}
	return nil
}

// concern is what the feed said of somebody in this read: the groups that were joined and left, directly or with a group.
type concern struct{ joined, left []string }

// gather finds the people whom the changes of groups concern.
func (r *reading) gather(ctx context.Context, s *survey) (why string, err error) {
	r.concerned = map[userID]*concern{}
	for g, moves := range s.moves {
		for _, m := range moves {
			r.note(m, g)
		}
	}
	if why, err = r.gatherNested(ctx, s); why != "" || err != nil {
		return why, err
	}
	for _, text := range r.at.Groups.Again {
		if id, ok := parseUserID(text); ok {
			r.concernOf(id)
		}
	}
	n := len(r.concerned)
	if n > 0 && calls(2*int64(n)) > max(2, r.at.Groups.Price) {
		return fmt.Sprintf("%d people joined or left the groups, and it takes less to list everybody", n), nil
	}
	r.at.Sums.Moved = n
	return "", nil
}

// gatherNested takes all who are in a group that came into another, or went out of it. Of a group that was not followed before, the moves were heard
// from their start.
func (r *reading) gatherNested(ctx context.Context, s *survey) (why string, err error) {
	was := r.at.Groups.Nest
	for _, e := range sortedEdges(s.edges) {
		if _, known := was[e.inner]; !known || s.edges[e] == was.has(e) {
			continue
		}
		ids, err := r.listMembers(ctx, e.inner)
		if notThere(err) {
			return innerDeleted, nil
		}
		if err != nil {
			return "", err
		}
		for _, id := range ids {
			if s.edges[e] {
				r.note(move{id, true}, e.inner)
			} else {
				r.note(move{id, false}, e.outer)
			}
		}
	}
	return "", nil
}

func (r *reading) note(m move, group string) {
	if c := r.concernOf(m.id); m.in {
		c.joined = append(c.joined, group)
	} else {
		c.left = append(c.left, group)
	}
}

func (r *reading) concernOf(id userID) *concern {
	c := r.concerned[id]
	if c == nil {
		c = &concern{}
		r.concerned[id] = c
	}
	return c
}

// calls is how many batches so many requests are.
func calls(requests int64) int64 { return (requests + batchSize - 1) / batchSize }
