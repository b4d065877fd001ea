package entra

import (
	"maps"
	"slices"
	"strings"
)

const (
	// mostGroups bounds the groups that are followed, those inside of others included. Beyond it every import is a full listing.
	mostGroups = 2000
	// mostAgain bounds the people who are asked for again.
	mostAgain = 500
)

// following is how groups are followed from one import to the next: not who is in them, which Graph knows, but where their feeds go on.
type following struct {
	// Links lead on in groups/delta, each for at most fifty groups; without their host, like position.Link.
	Links []string `json:"links,omitempty"`
	// Nest are all groups that Links tell of.
	Nest nest `json:"nest,omitempty"`
	// Again are people of whom the feed said that they left a group, and Graph that they are in it all the same. Either they are, by another
	// group inside of it, or the one answered before it had heard of the other; so they are asked for once more.
	Again []string `json:"again,omitempty"`
	// Listing is how many calls it took to list all members, and Price those of everything that was listed: what following must not exceed.
	Listing int64 `json:"listing,omitempty"`
	Price   int64 `json:"price,omitempty"`
}

// nest is how groups lie in each other: by each one's id, those that are directly in it, sorted. Ids are in lower case.
type nest map[string][]string

func (n nest) clone() nest {
	own := make(nest, len(n))
	for g, inner := range n {
		own[g] = slices.Clone(inner)
	}
	return own
}

// within gives a group and those in it, directly or nested, each once: groups may lie in each other in circles.
func (n nest) within(group string) []string {
	all, seen := []string{group}, map[string]bool{group: true}
	for at := 0; at < len(all); at++ {
		for _, inner := range n[all[at]] {
			if !seen[inner] {
				seen[inner] = true
				all = append(all, inner)
			}
		}
	}
	return all
}

// above gives, for each group, those of the named ones that it is or lies in, as they are written.
func (n nest) above(named []string) map[string][]string {
	up := map[string][]string{}
	for _, name := range named {
		for _, g := range n.within(strings.ToLower(name)) {
			up[g] = append(up[g], name)
		}
	}
	return up
}

// edge is a group directly in another.
type edge struct{ outer, inner string }

// put makes the last word of each edge true.
func (n nest) put(edges map[edge]bool) {
	for _, e := range sortedEdges(edges) {
		at, found := slices.BinarySearch(n[e.outer], e.inner)
		switch {
		case edges[e] && !found:
			n[e.outer] = slices.Insert(n[e.outer], at, e.inner)
		case !edges[e] && found:
			n[e.outer] = slices.Delete(n[e.outer], at, at+1)
		}
	}
}

func (n nest) has(e edge) bool {
	_, found := slices.BinarySearch(n[e.outer], e.inner)
	return found
}

func sortedEdges(edges map[edge]bool) []edge {
	return slices.SortedFunc(maps.Keys(edges), func(a, b edge) int {
		return strings.Compare(a.outer+a.inner, b.outer+b.inner)
	})
}
