package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// groupsPerLink is how many groups one chain of groups/delta may be filtered to. See https://learn.microsoft.com/graph/api/group-delta.
const groupsPerLink = 50

// groupChange is what a page of groups/delta says of one group. A large group comes on several pages, each with some of the members.
type groupChange struct {
	ID      string               `json:"id"`
	Removed *msgraph.RemovedMark `json:"@removed"`
	Members []memberChange       `json:"members@delta"`
}

// Key is the id.
func (g *groupChange) Key() string { return g.ID }

// memberChange is a member that came, or with Removed one that went.
type memberChange struct {
	Type    string               `json:"@odata.type"`
	ID      string               `json:"id"`
	Removed *msgraph.RemovedMark `json:"@removed"`
}

// move is a user who came into a group, or went.
type move struct {
	id userID
	in bool
}

// survey is what one read hears of groups.
type survey struct {
	client *msgraph.Client
	nest   nest
	links  []string // short ones, behind what was heard
	// Of a user or group in a group the last word counts: moves are in the order in which they came until settle.
	moves map[string][]move
	edges map[edge]bool
	heard int             // moves
	seen  map[string]bool // false: the group is gone
}

func newSurvey(c *msgraph.Client, n nest) *survey {
	return &survey{client: c, nest: n, moves: map[string][]move{}, edges: map[edge]bool{}, seen: map[string]bool{}}
}

// errTooManyGroups: there are more than can be followed.
var errTooManyGroups = errors.New("too many groups lie in the ones named")

// open begins to follow groups, then those found in them, wave by wave, none twice.
func (s *survey) open(ctx context.Context, groups []string) error {
	for len(groups) > 0 {
		if len(s.nest)+len(groups) > mostGroups {
			return errTooManyGroups
		}
		for chunk := range slices.Chunk(groups, groupsPerLink) {
			for _, g := range chunk {
				s.nest[g] = nil
			}
			if err := s.round(ctx, s.firstLink(chunk)); err != nil {
				return err
			}
			if err := s.miss(ctx, chunk); err != nil {
				return err
			}
		}
		groups = s.found()
	}
	return nil
}

func (s *survey) firstLink(groups []string) string {
	return s.client.At("$select=id,members&$filter="+url.QueryEscape("id eq '"+strings.Join(groups, "' or id eq '")+"'"), "groups", "delta")
}

// found are the groups inside of others that are not followed yet.
func (s *survey) found() (groups []string) {
	for _, e := range sortedEdges(s.edges) {
		if _, known := s.nest[e.inner]; s.edges[e] && !known && !slices.Contains(groups, e.inner) {
			groups = append(groups, e.inner)
		}
	}
	return groups
}

// miss looks for groups that were asked for and not told of: one that Graph has, and keeps quiet about, would look like one without members.
func (s *survey) miss(ctx context.Context, groups []string) error {
	for _, g := range groups {
		if _, told := s.seen[g]; told {
			continue
		}
		err := s.client.ReadJSON(ctx, msgraph.Call{URL: s.client.At("$select=id", "groups", g)}, new(struct{}))
		switch {
		case notThere(err):
			s.seen[g] = false
		case err != nil:
			return judgeGroup(ctx, s.client, g, err)
		default:
			return msgraph.BadResponse("Microsoft Graph does not tell who is in the group "+g, nil)
		}
	}
	return nil
}

// notThere tells whether Graph said that what was asked for does not exist.
func notThere(err error) bool {
	var r *msgraph.Refusal
	return errors.As(err, &r) && r.Missing()
}

// round follows a link to the end of its round.
func (s *survey) round(ctx context.Context, link string) error {
	next, err := s.client.DeltaRound(ctx, link, []string{pageSize}, s.take)
	switch {
	case backup.HasCode(err, backup.CodeMissingRole):
		return s.client.Lacks(ctx, readGroups, err)
	case err != nil:
		return err
	}
	short, err := s.client.Shorten(next)
	if err != nil {
		return msgraph.BadResponse(err.Error(), nil)
	}
	s.links = append(s.links, short)
	return nil
}

// take notes what is said of one group.
func (s *survey) take(raw json.RawMessage) error {
	var g groupChange
	if err := msgraph.Entry(raw, &g); err != nil {
		return err
	}
	group := strings.ToLower(g.ID)
	s.seen[group] = g.Removed == nil
	for _, m := range g.Members {
		switch m.Type {
		case "#microsoft.graph.group":
			if !guid.MatchString(m.ID) {
				return msgraph.BadResponse("a group in a group has no id", nil)
			}
			s.edges[edge{group, strings.ToLower(m.ID)}] = m.Removed == nil
		case "#microsoft.graph.user", "":
			id, ok := parseUserID(m.ID)
			if !ok {
				return msgraph.BadResponse("a member of a group has no id", nil)
			}
			if s.heard++; s.heard > mostMembers {
				return tooManyMembers()
			}
			s.moves[group] = append(s.moves[group], move{id, m.Removed == nil})
		}
	}
	return nil
}

// settle leaves the last word of each move and edge.
func (s *survey) settle() {
	for g, moves := range s.moves {
		slices.SortStableFunc(moves, func(a, b move) int { return bytes.Compare(a.id[:], b.id[:]) })
		last := moves[:0]
		for i, m := range moves {
			if i+1 == len(moves) || moves[i+1].id != m.id {
				last = append(last, m)
			}
		}
		s.moves[g] = last
	}
	s.nest.put(s.edges)
}

// members are those of the named groups, when everything was heard from its start.
func (s *survey) members(named []string) members {
	m := members{groups: named}
	for _, name := range named {
		var ids []userID
		for _, g := range s.nest.within(strings.ToLower(name)) {
			for _, v := range s.moves[g] {
				if v.in {
					ids = append(ids, v.id)
				}
			}
		}
		m.ids = append(m.ids, sorted(ids))
	}
	return m
}

// gone gives the first group of those given that is gone, or nothing.
func (s *survey) gone(groups []string) string {
	for _, g := range groups {
		if there, told := s.seen[strings.ToLower(g)]; told && !there {
			return g
		}
	}
	return ""
}

func lower(ids []string) []string {
	var all []string
	for _, id := range ids {
		if id = strings.ToLower(id); !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}
