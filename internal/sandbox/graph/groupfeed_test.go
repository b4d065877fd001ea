package graph

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// groupDelta is the first link of a round over groups.
func groupDeltaOf(ids ...string) string {
	return "/groups/delta?$select=id,members&$filter=" + url.QueryEscape(groupFilter(ids))
}

// membersOf adds up what a round says of a group: whom it has come and go, by id, and on how many objects.
func membersOf(items []map[string]any, group string) (came, went []string, objects int) {
	for _, o := range items {
		if text(o, "id") != group {
			continue
		}
		objects++
		list, _ := o["members@delta"].([]any)
		for _, m := range list {
			m := m.(map[string]any)
			if m["@removed"] != nil {
				went = append(went, text(m, "id"))
			} else {
				came = append(came, text(m, "id"))
			}
		}
	}
	return came, went, objects
}

func newGroups(t *testing.T, edit ...func(*Options)) (c *tester, outer, inner string) {
	c = start(t, 25, append(edit, func(o *Options) { o.Crowd, o.Roles = 3000, append(DefaultRoles(), "GroupMember.Read.All") })...)
	outer, inner = c.change(Change{Op: OpAddGroup, Name: "outer"}), c.change(Change{Op: OpAddGroup, Name: "inner"})
	c.change(Change{Op: OpJoinGroup, Item: inner, Into: outer})
	return c, outer, inner
}

func (t *tester) join(n int, group string) {
	t.change(Change{Op: OpJoinGroup, User: fmt.Sprintf("crowd%d@acme.example", n), Into: group})
}

func (t *tester) leave(n int, group string) {
	t.change(Change{Op: OpLeaveGroup, User: fmt.Sprintf("crowd%d@acme.example", n), Into: group})
}

func (t *tester) idOf(n int) string {
	_, id, _ := t.Account(fmt.Sprintf("crowd%d@acme.example", n))
	return id
}

func TestGroupDeltaTellsEachChangeOnce(t *testing.T) {
	c, outer, inner := newGroups(t)
	for n := range 2500 {
		c.join(100+n, inner)
	}
	c.join(2700, c.change(Change{Op: OpAddGroup, Name: "other"}))
	items, link, pages := c.round(groupDeltaOf(outer, inner), "Prefer", "odata.maxpagesize=999")
	came, went, objects := membersOf(items, inner)
	if len(came) != 2500 || len(went) != 0 || objects != 3 || pages != 3 {
		t.Fatalf("%d came, %d went, %d objects, %d pages", len(came), len(went), objects, pages)
	}
	if came, _, _ := membersOf(items, outer); !slices.Equal(came, []string{inner}) {
		t.Errorf("in the outer group: %v", came)
	}
	steps := []struct {
		do         func()
		group      string
		came, went []string
	}{
		{func() {}, inner, nil, nil},
		{func() { c.join(2650, inner); c.join(2651, inner); c.leave(2651, inner); c.leave(100, inner) }, inner, []string{c.idOf(2650)}, []string{c.idOf(2651), c.idOf(100)}},
		{func() { c.leave(101, inner); c.join(101, inner) }, inner, []string{c.idOf(101)}, nil},
		{func() { c.change(Change{Op: OpLeaveGroup, Item: inner, Into: outer}) }, outer, nil, []string{inner}},
		{func() { c.change(Change{Op: OpJoinGroup, Item: inner, Into: outer}) }, outer, []string{inner}, nil},
	}
	for i, s := range steps {
		s.do()
		items, link, _ = c.round(link)
		came, went, _ := membersOf(items, s.group)
		if !slices.Equal(came, s.came) || !slices.Equal(went, s.went) || len(items) > 1 {
			t.Errorf("step %d: %v", i, items)
		}
	}
	c.change(Change{Op: OpDeleteGroup, Item: inner})
	items, _, _ = c.round(link)
	if text := fmt.Sprint(items); len(items) != 2 || !strings.Contains(text, "@removed:map[reason:changed] id:"+inner) {
		t.Errorf("a group that is deleted: %s", text)
	}
	if items, _, _ := c.round(groupDeltaOf(inner)); len(items) != 0 {
		t.Errorf("a group that is not there: %v", items)
	}
}

func TestGroupDeltaUnderFaults(t *testing.T) {
	c, _, inner := newGroups(t)
	for n := range 500 {
		c.join(100+n, inner)
	}
	c.Inject(Fault{Kind: FaultShuffle})
	items, link, _ := c.round(groupDeltaOf(inner))
	came, _, _ := membersOf(items, inner)
	slices.Sort(came)
	if repeated := len(came); len(slices.Compact(came)) != 500 || repeated == 500 {
		t.Errorf("%d came, %d of them told again", repeated, repeated-500)
	}
	c.ClearFaults()
	c.Inject(Fault{Kind: FaultThrottle, On: CallGroupDelta, Next: 1, RetryAfter: 7})
	if a := c.get(link); a.status != 429 || a.header.Get("Retry-After") != "7" {
		t.Errorf("%d %s", a.status, a.body)
	}
	next := text(c.want(groupDeltaOf(inner)).json, "@odata.nextLink")
	c.Advance(deltaLife + 1e9)
	if a := c.get(link); a.status != http.StatusGone || a.header.Get("Location") == "" {
		t.Errorf("an old deltaLink: %d %s", a.status, a.body)
	} else if items, link, _ = c.round(a.header.Get("Location")); len(items) == 0 {
		t.Error("the new round has nobody")
	}
	if a := c.get(next); a.status != 400 || a.code() != "Directory_ExpiredPageToken" {
		t.Errorf("an old nextLink: %d %s", a.status, a.body)
	}
	_, users, _ := c.round(userDelta)
	if err := c.ExpireDeltas(Groups); err != nil {
		t.Fatal(err)
	}
	if a := c.get(link); a.status != http.StatusGone || a.code() != "SyncStateNotFound" {
		t.Errorf("an expired one: %d %s", a.status, a.body)
	}
	c.want(users)
	c.RemoveRole("GroupMember.Read.All")
	if a := c.get(groupDeltaOf(inner)); a.status != 403 {
		t.Errorf("without the permission: %d", a.status)
	}
}

func TestGroupDeltaRefusesOtherQuestions(t *testing.T) {
	c, outer, _ := newGroups(t)
	many := make([]string, maxFiltered+1)
	for i := range many {
		many[i] = guid(uint64(i), "any")
	}
	c.want(groupDeltaOf(many[:maxFiltered]...))
	for _, bad := range []string{groupDeltaOf(many...), groupDeltaOf(outer) + "&$top=5", groupDeltaOf(outer) + "&$expand=members", "/groups/delta?$filter=" + url.QueryEscape("displayName eq 'x'"),
		"/groups/delta?$deltatoken=x", "/groups/delta?$select=nothing"} {
		if a := c.get(bad); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	if items, _, _ := c.round("/groups/delta?$select=id"); len(items) != 2 || strings.Contains(fmt.Sprint(items), "members@delta") {
		t.Errorf("without members: %v", items)
	}
	if items, _, _ := c.round(groupDeltaOf(outer) + "&$deltatoken=latest"); len(items) != 0 {
		t.Errorf("from now on: %v", items)
	}
}

func TestCheckMemberGroups(t *testing.T) {
	c, outer, inner := newGroups(t)
	c.change(Change{Op: OpJoinGroup, Item: outer, Into: inner}) // in a circle
	other := c.change(Change{Op: OpAddGroup, Name: "other"})
	c.join(100, inner)
	check := func(n int, ids ...string) batchRequest {
		body := []byte(`{"groupIds":["` + strings.Join(ids, `","`) + `"]}`)
		return batchRequest{ID: fmt.Sprint(n), Method: "POST", URL: fmt.Sprintf("/users/crowd%d@acme.example/checkMemberGroups", n), Headers: map[string]string{"Content-Type": "application/json"}, Body: body}
	}
	a := c.post([]batchRequest{check(100, outer, other, inner), check(101, outer), check(102, "x")})
	list, _ := a.json["responses"].([]any)
	told := map[string]string{}
	for _, r := range list {
		r := r.(map[string]any)
		body, _ := r["body"].(map[string]any)
		told[text(r, "id")] = fmt.Sprint(r["status"], body["value"])
	}
	if told["100"] != fmt.Sprint(200, []string{outer, inner}) || told["101"] != "200 []" || told["102"] != "400 <nil>" {
		t.Errorf("%v", told)
	}
	bare := check(100, outer)
	bare.Headers = nil
	if a := c.post([]batchRequest{bare}); a.status != 400 {
		t.Errorf("a body without its type: %d", a.status)
	}
}

func TestGroupFeedOutlivesARestart(t *testing.T) {
	file, listen := t.TempDir()+"/state.json", freePort(t)
	same := func(o *Options) { o.StateFile, o.Listen = file, listen }
	first, _, inner := newGroups(t, same)
	first.join(100, inner)
	_, link, _ := first.round(groupDeltaOf(inner))
	first.join(101, inner)
	first.leave(100, inner)
	want := []string{first.idOf(101), first.idOf(100)}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, 25, same, func(o *Options) { o.Crowd, o.Roles = 3000, append(DefaultRoles(), "GroupMember.Read.All") })
	items, _, _ := second.round(link)
	if came, went, _ := membersOf(items, inner); !slices.Equal(append(came, went...), want) {
		t.Errorf("%v", items)
	}
}

// FuzzGroupFilter: a filter that is understood has few ids, and is the same when it is written and read again.
func FuzzGroupFilter(f *testing.F) {
	f.Add(groupFilter([]string{guid(1, "a"), guid(2, "b")}))
	f.Add("id eq 'x' or ")
	f.Fuzz(func(t *testing.T, filter string) {
		ids, e := parseGroupFilter(filter)
		if e != nil || filter == "" {
			return
		}
		again, e := parseGroupFilter(groupFilter(ids))
		if e != nil || !slices.Equal(ids, again) || len(ids) == 0 || len(ids) > maxFiltered {
			t.Fatalf("%q is %v, then %v, %v", filter, ids, again, e)
		}
	})
}
