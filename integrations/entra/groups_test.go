package entra

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
)

func (x *tenant) group(name string) string {
	x.Helper()
	return x.change(graph.Change{Op: graph.OpAddGroup, Name: name})
}

func (x *tenant) put(inner, outer string) {
	x.Helper()
	x.change(graph.Change{Op: graph.OpJoinGroup, Item: inner, Into: outer})
}

func (x *tenant) join(group string, people ...int) {
	x.Helper()
	for _, n := range people {
		x.change(graph.Change{Op: graph.OpJoinGroup, User: member(n), Into: group})
	}
}

func (x *tenant) leave(group string, people ...int) {
	x.Helper()
	for _, n := range people {
		x.change(graph.Change{Op: graph.OpLeaveGroup, User: member(n), Into: group})
	}
}

// numbers are so many of the crowd, from one on.
func numbers(from, count int) (all []int) {
	for n := range count {
		all = append(all, from+n)
	}
	return all
}

// ids are their ids, sorted.
func (x *tenant) ids(people ...int) (all []string) {
	for _, n := range people {
		all = append(all, x.id(member(n)))
	}
	slices.Sort(all)
	return all
}

func idsOf(told []backup.DirectoryEntry) (all []string) {
	for _, e := range told {
		all = append(all, e.ID)
	}
	slices.Sort(all)
	return all
}

// nested is a tenant with a group of 1,100 inside of a group that counts.
func nested(t *testing.T, edit ...func(*graph.Options)) (x *tenant, outer, inner string) {
	x = newTenant(t, edit...)
	outer, inner = x.group("outer"), x.group("inner")
	x.put(inner, outer)
	x.join(inner, numbers(100, 1100)...)
	x.config.Groups = []string{outer}
	return x, outer, inner
}

// plain is an end without its cursor.
func plain(end backup.ReadEnd) backup.ReadEnd {
	end.Cursor = nil
	return end
}

// Each change of a membership is told once, of exactly those whom it concerns, in few calls.
func TestMembershipIsFollowed(t *testing.T) {
	x, outer, inner := nested(t)
	if end, told, _ := x.read(); len(told) != 1100 || !slices.Equal(told[0].Groups, []string{outer}) || end.Calls != leastCalls(x.Users())+1+2 {
		t.Fatalf("%d told, %+v", len(told), plain(end))
	}
	// Two feeds of groups, as the inner one was found in the outer, and that of users.
	const unchanged = 3
	other := x.group("other")
	x.join(other, numbers(1500, 30)...)
	empty := x.group("empty")
	steps := []struct {
		name       string
		do         func()
		told, gone []string
		calls      int64
	}{
		{"nothing", func() {}, nil, nil, unchanged},
		{"one comes", func() { x.join(inner, 2000) }, x.ids(2000), nil, unchanged + 1},
		{"one goes", func() { x.leave(inner, 100) }, nil, x.ids(100), unchanged + 1},
		{"some come and go", func() { x.join(outer, 2001, 2002); x.leave(inner, 101, 102) }, x.ids(2001, 2002), x.ids(101, 102), unchanged + 2},
		{"one comes and goes between", func() { x.join(inner, 2003); x.leave(inner, 2003) }, nil, x.ids(2003), unchanged + 1},
		{"one goes and comes between", func() { x.leave(inner, 103); x.join(inner, 103) }, x.ids(103), nil, unchanged + 1},
		{"one comes another way", func() { x.join(outer, 104) }, x.ids(104), nil, unchanged + 1},
		{"and goes the first way", func() { x.leave(inner, 104) }, x.ids(104), nil, unchanged + 2},
		{"who is asked for again", func() {}, x.ids(104), nil, unchanged + 2},
		{"and no more", func() {}, nil, nil, unchanged},
		{"one comes who changes too", func() { x.join(inner, 2004); x.edit(member(2004), func(a *graph.Account) { a.Department = "New" }) }, x.ids(2004), nil, unchanged},
		{"one changes", func() { x.edit(member(105), func(a *graph.Account) { a.Department = "New" }) }, x.ids(105), nil, unchanged + 1},
		{"an outsider changes", func() { x.edit(member(3000), func(a *graph.Account) { a.Department = "New" }) }, nil, x.ids(3000), unchanged + 1},
		{"one goes who is deleted", func() {
			x.leave(inner, 106)
			x.change(graph.Change{Op: graph.OpDeleteUser, User: member(106)})
		}, nil, x.ids(106), unchanged},
		{"a group of thirty comes", func() { x.put(other, inner) }, x.ids(numbers(1500, 30)...), nil, unchanged + 1 + 2},
		{"one of them goes", func() { x.leave(other, 1500) }, nil, x.ids(1500), unchanged + 1 + 1},
		{"the group comes another way", func() { x.put(other, outer) }, x.ids(numbers(1501, 29)...), nil, unchanged + 1 + 1 + 2},
		{"the group goes the first way", func() { x.change(graph.Change{Op: graph.OpLeaveGroup, Item: other, Into: inner}) }, x.ids(numbers(1501, 29)...), nil, unchanged + 1 + 1 + 4},
		{"those in it are asked for again", func() {}, x.ids(numbers(1501, 29)...), nil, unchanged + 1 + 4},
		{"and no more now", func() {}, nil, nil, unchanged + 1},
		{"it goes and comes between", func() {
			x.change(graph.Change{Op: graph.OpLeaveGroup, Item: other, Into: outer})
			x.put(other, outer)
		}, nil, nil, unchanged + 1},
		{"and is a circle", func() { x.put(outer, other) }, nil, nil, 0},
		{"an empty one comes", func() { x.put(empty, other) }, nil, nil, unchanged + 1},
		{"which then has somebody", func() { x.join(empty, 2010) }, x.ids(2010), nil, unchanged + 1 + 1},
	}
	for _, s := range steps {
		s.do()
		if s.calls == 0 {
			x.read() // everybody is in what came: they are too many to be asked for
			continue
		}
		before := maps.Clone(x.known)
		end, told, gone := x.read()
		if end.Mode != backup.ChangesRead || !slices.Equal(idsOf(told), s.told) || !slices.Equal(slices.Sorted(slices.Values(gone)), s.gone) || end.Calls != s.calls {
			t.Errorf("%s: %d told, gone %v, %d calls instead of %d, %+v", s.name, len(told), gone, end.Calls, s.calls, plain(end))
		}
		if s.name == "nothing" && !reflect.DeepEqual(before, x.known) {
			t.Error("nothing changed, and others are known")
		}
	}
	x.same("after all steps")
}

// same compares who is known with what a reader says who begins now.
func (x *tenant) same(when string) {
	x.Helper()
	fresh := *x
	fresh.cursor, fresh.known = nil, known{}
	fresh.read()
	for id, e := range fresh.known {
		if !reflect.DeepEqual(e, x.known[id]) {
			x.Errorf("%s: known is %+v, and true %+v", when, x.known[id], e)
		}
	}
	for id, e := range x.known {
		if _, there := fresh.known[id]; !there {
			x.Errorf("%s: %+v is known and not there", when, e)
		}
	}
}

// Whatever happens to groups and people, and to the reads of them, in the end the same are known as to one who lists everybody.
func TestFollowingEqualsListing(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			x := newTenant(t, func(o *graph.Options) { o.Crowd = 900 })
			x.change(graph.Change{Op: graph.OpAddUser, Account: &graph.Account{UPN: "new@acme.example", DisplayName: "New"}})
			w := &whirl{tenant: x, random: rand.New(rand.NewPCG(seed, 8)), deleted: map[int]bool{}}
			for n := range 8 {
				w.groups = append(w.groups, x.group(fmt.Sprint("group ", n)))
				x.join(w.groups[n], numbers(100+60*n, 90)...)
			}
			x.config.Groups = w.groups[:2]
			x.rules = w.groups[1:4]
			changes := 0
			for turn := range 16 {
				for range 1 + w.random.IntN(12) {
					w.turn()
				}
				if turn%5 == 1 {
					x.inject(graph.Fault{Kind: graph.FaultShuffle}, graph.Fault{Kind: graph.FaultThrottle, Every: 4}, graph.Fault{Kind: graph.FaultCut, On: graph.CallGroupDelta, Every: 3})
				}
				if end := w.readBroken(); end.Mode == backup.ChangesRead {
					changes++
				}
				x.ClearFaults()
				x.same(fmt.Sprint("turn ", turn))
			}
			if changes < 5 {
				t.Errorf("%d of 16 reads were of changes", changes)
			}
		})
	}
}

// whirl changes things at random.
type whirl struct {
	*tenant
	random  *rand.Rand
	groups  []string
	deleted map[int]bool
}

func (w *whirl) turn() {
	n, g, h := 100+w.random.IntN(600), w.groups[w.random.IntN(len(w.groups))], w.groups[w.random.IntN(len(w.groups))]
	switch what := w.random.IntN(20); {
	case w.deleted[n]:
		w.change(graph.Change{Op: graph.OpRestoreUser, User: member(n)})
		delete(w.deleted, n)
	case what < 6:
		w.join(g, n)
	case what < 12:
		w.leave(g, n)
	case what < 14:
		w.edit(member(n), func(a *graph.Account) { a.Department = fmt.Sprint("Moved ", w.random.IntN(1000)) })
	case what < 16:
		w.change(graph.Change{Op: graph.OpDeleteUser, User: member(n)})
		w.deleted[n] = true
	case what < 18:
		w.put(g, h)
	default:
		w.change(graph.Change{Op: graph.OpLeaveGroup, Item: g, Into: h})
	}
}

// readBroken reads on, and now and then breaks off behind a page, while somebody changes.
func (w *whirl) readBroken() backup.ReadEnd {
	w.Helper()
	killed := errors.New("killed")
	from, pages := backup.ReadFrom{Since: w.cursor}, w.random.IntN(4)
	staged := known{}
	var gone []string
	for {
		end, err := w.open().Read(w.Context(), from, func(p backup.EntryPage) error {
			if pages--; pages == 0 {
				w.join(w.groups[w.random.IntN(len(w.groups))], 800+w.random.IntN(100))
				return killed
			}
			from.Resume = p.Resume
			gone = append(gone, p.Gone...)
			for _, e := range p.Entries {
				gone = slices.DeleteFunc(gone, func(id string) bool { return id == e.ID })
			}
			return staged.take(p)
		})
		switch {
		case errors.Is(err, killed):
			continue
		case backup.HasCode(err, backup.CodeCursorExpired):
			from, staged, gone = backup.ReadFrom{}, known{}, nil
			continue
		case err != nil:
			w.Fatal(err)
		}
		if end.Mode == backup.FullRead {
			w.known = known{}
		}
		for _, id := range gone {
			delete(w.known, id)
		}
		maps.Copy(w.known, staged)
		w.cursor = end.Cursor
		return end
	}
}

// A full read that breaks off goes on although memberships changed meanwhile, of people on pages that were kept and on those to come.
func TestMembersChangeWhileAReadIsBroken(t *testing.T) {
	killed := errors.New("killed")
	for at := 1; at <= 3; at++ {
		x, outer, inner := nested(t, func(o *graph.Options) { o.Crowd = 2400 })
		k, n := known{}, 0
		var from backup.ReadFrom
		_, err := x.open().Read(t.Context(), from, func(p backup.EntryPage) error {
			from.Resume = p.Resume
			k.take(p)
			if n++; n == at {
				return killed
			}
			return nil
		})
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		x.leave(inner, 100, 1199)
		x.join(outer, 50, 2300)
		end, err := x.open().Read(t.Context(), from, k.take)
		if err != nil || end.Mode != backup.FullRead {
			t.Fatal(plain(end), err)
		}
		x.known, x.cursor = k, end.Cursor
		x.same(fmt.Sprint("killed behind page ", at))
		if end, told, gone := x.read(); end.Mode != backup.ChangesRead || len(told)+len(gone) != 0 {
			t.Errorf("killed behind page %d, then: %d told, %d gone, %+v", at, len(told), len(gone), plain(end))
		}
		x.join(inner, 101, 2001)
		if _, told, _ := x.read(); !slices.Equal(idsOf(told), x.ids(2001)) {
			t.Errorf("killed behind page %d, then one comes: %v", at, idsOf(told))
		}
	}
}

// More groups than can be followed are listed each time, and a broken read begins anew.
func TestTooManyGroups(t *testing.T) {
	x := newTenant(t, func(o *graph.Options) { o.Crowd = 1500 })
	outer := x.group("outer")
	x.config.Groups = []string{outer}
	for n := range mostGroups - 1 {
		x.put(x.group(fmt.Sprint("group ", n)), outer)
	}
	last := x.group("last")
	x.join(outer, 100)
	x.join(last, 101)
	if x.read(); len(x.known) != 1 || x.cursor == nil {
		t.Fatalf("%d known, a cursor of %d bytes", len(x.known), len(x.cursor))
	}
	if end, told, gone := x.read(); end.Mode != backup.ChangesRead || len(told)+len(gone) != 0 {
		t.Errorf("nothing changed: %d told, %+v", len(told), plain(end))
	}
	x.put(last, outer)
	for range 2 {
		end, _, _ := x.read()
		if end.Mode != backup.FullRead || end.Cursor != nil || !strings.Contains(end.Note, "too many") || len(x.known) != 2 {
			t.Errorf("%d known, %+v", len(x.known), end)
		}
	}
	if _, err := x.open().Read(t.Context(), backup.ReadFrom{}, func(p backup.EntryPage) error {
		if p.Resume != nil {
			t.Error("a page says that a read may go on behind it")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A feed may tell of a member several times, on several pages; the last word counts.
func TestTheLastWordCounts(t *testing.T) {
	s := newSurvey(nil, nest{})
	for _, raw := range []string{
		`{"id":"G","members@delta":[{"id":"` + id(1) + `"},{"id":"` + id(2) + `","@removed":{"reason":"deleted"}}]}`,
		`{"id":"g","members@delta":[{"id":"` + id(3) + `"},{"id":"` + id(2) + `"},{"id":"` + id(1) + `","@removed":{"reason":"deleted"}}]}`,
		`{"id":"g","members@delta":[{"@odata.type":"#microsoft.graph.group","id":"` + strings.ToUpper("abcdef00"+id(4)[8:]) + `"}]}`,
		`{"id":"g","members@delta":[{"@odata.type":"#microsoft.graph.group","id":"` + id(5) + `"},{"@odata.type":"#microsoft.graph.group","id":"` + id(5) + `","@removed":{"reason":"deleted"}}]}`,
	} {
		if err := s.take([]byte(raw)); err != nil {
			t.Fatal(err)
		}
	}
	s.settle()
	var in []string
	for _, m := range s.moves["g"] {
		if m.in {
			in = append(in, m.id.String())
		}
	}
	if len(s.moves["g"]) != 3 || !slices.Equal(in, []string{id(2), id(3)}) || !reflect.DeepEqual(s.nest, nest{"g": {"abcdef00" + id(4)[8:]}}) {
		t.Errorf("%v, %v", s.moves, s.nest)
	}
}

// Groups that only rules name change what is said of people, not who is there.
func TestGroupsOfRules(t *testing.T) {
	x, outer, inner := nested(t)
	x.config.Groups, x.rules = nil, []string{outer, strings.ToUpper(inner)}
	both := slices.Sorted(slices.Values(x.rules))
	if x.read(); len(x.known) != x.Users() || !slices.Equal(x.known[x.id(member(100))].Groups, both) {
		t.Fatalf("%d known, %+v", len(x.known), x.known[x.id(member(100))])
	}
	x.leave(inner, 100)
	x.join(outer, 2000)
	end, told, gone := x.read()
	if end.Mode != backup.ChangesRead || !slices.Equal(idsOf(told), x.ids(100, 2000)) || len(gone) != 0 || len(x.known[x.id(member(100))].Groups) != 0 ||
		!slices.Equal(x.known[x.id(member(2000))].Groups, []string{outer}) {
		t.Errorf("%+v, gone %v, %+v", told, gone, plain(end))
	}
}

// Of more groups than one feed or one question takes, all are followed.
func TestManyGroups(t *testing.T) {
	x := newTenant(t, func(o *graph.Options) { o.Crowd = 3000 })
	outer := x.group("outer")
	x.config.Groups = []string{outer}
	for n := range 120 {
		g := x.group(fmt.Sprint("group ", n))
		x.join(g, 100+n)
		if n < 90 {
			x.put(g, outer)
		} else {
			x.config.Groups = append(x.config.Groups, g)
		}
	}
	if end, told, _ := x.read(); len(told) != 120 || end.Calls != leastCalls(x.Users())+1+2 {
		t.Fatalf("%d told, %+v", len(told), plain(end))
	}
	if end, told, gone := x.read(); len(told)+len(gone) != 0 || end.Calls != 4 || len(x.cursor) > 32<<10 {
		t.Errorf("%d told, %d gone, a cursor of %d bytes, %+v", len(told), len(gone), len(x.cursor), plain(end))
	}
	x.leave(x.config.Groups[30], 219)
	x.join(x.config.Groups[5], 219)
	if _, told, gone := x.read(); !slices.Equal(idsOf(told), x.ids(219)) || len(gone) != 0 || !slices.Equal(told[0].Groups, []string{x.config.Groups[5]}) {
		t.Errorf("%+v, %v", told, gone)
	}
	x.same("after one moved")
}

// Where following cannot tell, or costs more, everybody is listed, and the report says why. Nobody is gone because of it who is there.
func TestWhatCannotBeFollowedIsListed(t *testing.T) {
	x, outer, inner := nested(t)
	x.join(outer, 3000)
	x.read()
	x.join(outer, numbers(2000, 300)...)
	if end, _, _ := x.read(); end.Mode != backup.FullRead || !strings.Contains(end.Note, "300 people joined or left") {
		t.Errorf("%+v", plain(end))
	}
	x.same("after many came")
	x.change(graph.Change{Op: graph.OpDeleteGroup, Item: inner})
	if end, _, gone := x.read(); end.Mode != backup.FullRead || !strings.Contains(end.Note, "was deleted") || len(gone) != x.Users()-301 || len(x.known) != 301 {
		t.Errorf("%d gone, %d known, %+v", len(gone), len(x.known), plain(end))
	}
	x.change(graph.Change{Op: graph.OpDeleteGroup, Item: outer})
	for range 2 {
		if _, told, gone, err := x.try(); !backup.HasCode(err, backup.CodeBadConfig) || len(told)+len(gone) != 0 {
			t.Errorf("a group that is gone: %v", err)
		}
	}
	x.cursor = nil
	if _, _, _, err := x.try(); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Errorf("a group that is gone, from the start: %v", err)
	}
}

// A small group is listed rather than that many are asked whether they are in it.
func TestManyChangesOfPeopleAreCheap(t *testing.T) {
	x := newTenant(t)
	g := x.group("small")
	x.join(g, numbers(100, 10)...)
	x.config.Groups = []string{g}
	x.read()
	for n := range 400 {
		x.edit(member(100+n), func(a *graph.Account) { a.Department = "Moved" })
	}
	if end, told, gone := x.read(); end.Mode != backup.ChangesRead || len(told) != 10 || len(gone) != 390 || end.Calls != 3 {
		t.Errorf("%d told, %d gone, %+v", len(told), len(gone), plain(end))
	}
	x.same("after many changed")
}

// When either feed has forgotten, nobody is gone, and the listing that follows makes up for it.
func TestEitherFeedMayForget(t *testing.T) {
	for _, service := range []graph.Service{graph.Directory, graph.Groups} {
		x, _, inner := nested(t, func(o *graph.Options) { o.Crowd = 2000 })
		x.read()
		x.leave(inner, 100)
		x.join(inner, 1500)
		if err := x.ExpireDeltas(service); err != nil {
			t.Fatal(err)
		}
		if _, told, gone, err := x.try(); !backup.HasCode(err, backup.CodeCursorExpired) || len(told)+len(gone) != 0 {
			t.Fatalf("%s: %d told, %d gone, %v", service, len(told), len(gone), err)
		}
		x.cursor = nil
		if end, told, _ := x.read(); end.Mode != backup.FullRead || len(told) != 1100 {
			t.Errorf("%s: %d told, %+v", service, len(told), plain(end))
		}
		x.Advance(8 * 24 * time.Hour)
		if _, told, gone, err := x.try(); !backup.HasCode(err, backup.CodeCursorExpired) || len(told)+len(gone) != 0 {
			t.Errorf("%s after eight days: %v", service, err)
		}
	}
}

// What the service does to the feeds and questions of groups changes nothing of what is known.
func TestFaultsChangeNothingOfGroups(t *testing.T) {
	faults := map[string][]graph.Fault{
		"throttled feeds":     {{Kind: graph.FaultThrottle, On: graph.CallGroupDelta, Every: 2, RetryAfter: 3}},
		"throttled questions": {{Kind: graph.FaultThrottle, On: graph.CallCheckGroups, Every: 2}, {Kind: graph.FaultThrottle, On: graph.CallUser, Every: 3}},
		"cut connections":     {{Kind: graph.FaultCut, On: graph.CallGroupDelta, Every: 2}, {Kind: graph.FaultCut, On: graph.CallBatch, Every: 2}},
		"order and repeats":   {{Kind: graph.FaultShuffle}},
		"outages and tokens":  {{Kind: graph.FaultUnavailable, Every: 5}, {Kind: graph.FaultUnauthorized, On: graph.CallGroupDelta, Every: 2}},
	}
	for name, list := range faults {
		t.Run(name, func(t *testing.T) {
			x, outer, inner := nested(t, func(o *graph.Options) { o.Crowd = 2000 })
			x.inject(list...)
			if x.read(); len(x.known) != 1100 {
				t.Fatalf("%d known", len(x.known))
			}
			x.leave(inner, numbers(100, 12)...)
			x.join(outer, numbers(1500, 12)...)
			end, told, gone := x.read()
			if end.Mode != backup.ChangesRead || !slices.Equal(idsOf(told), x.ids(numbers(1500, 12)...)) || !slices.Equal(slices.Sorted(slices.Values(gone)), x.ids(numbers(100, 12)...)) {
				t.Errorf("%d told, %d gone, %+v", len(told), len(gone), plain(end))
			}
			x.ClearFaults()
			x.same(name)
		})
	}
	x, _, inner := nested(t, func(o *graph.Options) { o.Crowd = 2000 })
	x.read()
	x.leave(inner, 100)
	for _, call := range []graph.Call{graph.CallGroupDelta, graph.CallCheckGroups} {
		x.inject(graph.Fault{Kind: graph.FaultThrottle, On: call})
		if _, told, gone, err := x.try(); !backup.HasCode(err, backup.CodeThrottled) || len(told)+len(gone) != 0 {
			t.Errorf("%s does not recover: %v", call, err)
		}
		x.ClearFaults()
	}
	x.inject(graph.Fault{Kind: graph.FaultUnauthorized, On: graph.CallCheckGroups})
	if _, told, gone, err := x.try(); !backup.HasCode(err, backup.CodeBadCredential) || len(told)+len(gone) != 0 {
		t.Errorf("no token is good: %v", err)
	}
	x.ClearFaults()
	x.inject(graph.Fault{Kind: graph.FaultUnauthorized, On: graph.CallCheckGroups, Next: 1})
	if _, _, gone := x.read(); !slices.Equal(gone, x.ids(100)) {
		t.Errorf("the token ended: %v", gone)
	}
	x.RemoveRole("GroupMember.Read.All")
	if _, _, _, err := x.try(); !backup.HasCode(err, backup.CodeMissingRole) || !strings.Contains(err.Error(), "GroupMember.Read.All") {
		t.Errorf("without the permission: %v", err)
	}
}
