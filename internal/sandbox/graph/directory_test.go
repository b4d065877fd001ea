package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const userDelta = "/users/delta?$select=displayName,userPrincipalName,accountEnabled"

// change makes a change that cannot fail.
func (t *tester) change(c Change) string {
	t.Helper()
	id, err := t.Apply(c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// edit changes an account.
func (t *tester) edit(name string, edit func(*Account)) {
	t.Helper()
	a, _, ok := t.Account(name)
	if !ok {
		t.Fatalf("nobody is called %q", name)
	}
	edit(&a)
	t.change(Change{Op: OpEditUser, User: name, Account: &a})
}

func TestUserDeltaTellsEachChangeOnce(t *testing.T) {
	c := start(t, 25, func(o *Options) { o.Crowd = 3000 })
	items, link, pages := c.round(userDelta, "Prefer", "odata.maxpagesize=999")
	if len(items) != c.Users() || len(state(items)) != len(items) || pages != 4 {
		t.Fatalf("%d users on %d pages, %d different, of %d", len(items), pages, len(state(items)), c.Users())
	}
	anna, crowd := c.opt.People[0].UPN, "crowd1000@acme.example"
	added := c.change(Change{Op: OpAddUser, Account: &Account{UPN: "new@acme.example", DisplayName: "New"}})
	steps := []struct {
		do   func()
		want string
	}{
		{func() {}, ""},
		{func() { c.edit("new@acme.example", func(a *Account) { a.DisplayName = "Newer" }) }, added + " Newer new@acme.example"},
		{func() { c.edit(anna, func(a *Account) { a.UPN = "anna.b@acme.example" }) }, c.opt.People[0].GraphID + " Anna"},
		{func() { c.edit(crowd, func(a *Account) { a.Disabled = true }) }, "accountEnabled:false"},
		{func() { c.change(Change{Op: OpDeleteUser, User: crowd}) }, "reason:changed"},
		{func() { c.change(Change{Op: OpRestoreUser, User: crowd}) }, crowd},
		{func() {
			c.change(Change{Op: OpDeleteUser, User: added})
			c.change(Change{Op: OpPurgeUser, User: added})
		}, "reason:deleted"},
	}
	if items, link, _ = c.round(link); len(items) != 1 {
		t.Fatalf("%v instead of the new one", items)
	}
	for i, s := range steps {
		s.do()
		items, link, _ = c.round(link)
		told := strings.ReplaceAll(fmt.Sprint(items), "displayName:", "")
		for _, part := range strings.Fields(s.want) {
			if len(items) != 1 || !strings.Contains(told, part) {
				t.Errorf("step %d: %s, want one with %s", i, told, s.want)
			}
		}
		if s.want == "" && len(items) > 0 {
			t.Errorf("step %d: %s", i, told)
		}
	}
	if a := c.get("/users/" + anna); a.status != 404 {
		t.Errorf("the old UPN answers %d", a.status)
	}
	c.want("/users/anna.b@acme.example/mailFolders")
}

func TestUserDeltaUnderFaults(t *testing.T) {
	c := start(t, 25, func(o *Options) { o.Crowd = 500 })
	straight, link, _ := c.round(userDelta)
	c.Inject(Fault{Kind: FaultShuffle})
	shuffled, _, _ := c.round(userDelta)
	if len(shuffled) <= len(straight) || len(state(shuffled)) != len(straight) {
		t.Errorf("%d items, %d different, of %d", len(shuffled), len(state(shuffled)), len(straight))
	}
	c.ClearFaults()
	c.Inject(Fault{Kind: FaultCut, On: CallUserDelta, Next: 1})
	resp, err := c.http.Do(c.request(userDelta))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || len(b) == 0 {
		t.Errorf("%d bytes and %v; want some and an error", len(b), err)
	}
	c.edit("crowd100@acme.example", func(a *Account) { a.DisplayName = "Partial" })
	c.Inject(Fault{Kind: FaultPartial, Next: 1})
	if items, _, _ := c.round(link); len(items) != 1 || len(items[0]) != 2 {
		t.Errorf("%v instead of one with one property", items)
	}
}

func TestDeltaTokensOfTheDirectoryLiveSevenDays(t *testing.T) {
	c := start(t, 25, func(o *Options) { o.Crowd = 500 })
	next := text(c.want(userDelta).json, "@odata.nextLink")
	_, link, _ := c.round(userDelta)
	c.Advance(deltaLife - time.Minute)
	_, fresh, _ := c.round(link)
	c.Advance(2 * time.Minute)
	if a := c.get(link); a.status != http.StatusGone || a.header.Get("Location") == "" {
		t.Errorf("an old deltaLink: %d %s", a.status, a.body)
	} else if items, _, _ := c.round(a.header.Get("Location")); len(items) != c.Users() {
		t.Errorf("the new round has %d", len(items))
	}
	if a := c.get(next); a.status != 400 || a.code() != "Directory_ExpiredPageToken" {
		t.Errorf("an old nextLink: %d %s", a.status, a.body)
	}
	c.want(fresh)
	if err := c.ExpireDeltas(Directory); err != nil {
		t.Fatal(err)
	}
	if a := c.get(fresh); a.status != http.StatusGone {
		t.Errorf("an expired one: %d", a.status)
	}
	for _, bad := range []string{"&$top=5", "&$filter=x", "&$deltatoken=x", "&$orderby=mail"} {
		if a := c.get(userDelta + bad); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	if items, _, _ := c.round(userDelta + "&$deltatoken=latest"); len(items) != 0 {
		t.Errorf("from now on: %d", len(items))
	}
}

func TestGroupsFlatten(t *testing.T) {
	c := start(t, 25, func(o *Options) { o.Crowd, o.Roles = 1500, append(DefaultRoles(), "GroupMember.Read.All") })
	outer, inner := c.change(Change{Op: OpAddGroup, Name: "outer"}), c.change(Change{Op: OpAddGroup, Name: "inner"})
	c.change(Change{Op: OpJoinGroup, Item: inner, Into: outer})
	c.change(Change{Op: OpJoinGroup, Item: outer, Into: inner}) // in a circle
	c.change(Change{Op: OpJoinGroup, User: c.opt.People[0].UPN, Into: outer})
	for n := range 1200 {
		c.change(Change{Op: OpJoinGroup, User: fmt.Sprintf("crowd%d@acme.example", 100+n), Into: inner})
	}
	list := func() (users, groups, pages int) {
		for link := "/groups/" + outer + "/transitiveMembers?$select=id&$top=999"; link != ""; pages++ {
			a := c.want(link)
			for _, m := range values(a) {
				if text(m, "@odata.type") == "#microsoft.graph.user" {
					users++
				} else {
					groups++
				}
			}
			link = text(a.json, "@odata.nextLink")
		}
		return users, groups, pages
	}
	if users, groups, pages := list(); users != 1201 || groups != 1 || pages != 2 {
		t.Errorf("%d users, %d groups, %d pages", users, groups, pages)
	}
	c.change(Change{Op: OpDeleteUser, User: "crowd100@acme.example"})
	c.change(Change{Op: OpLeaveGroup, User: "crowd101@acme.example", Into: inner})
	if users, _, _ := list(); users != 1199 {
		t.Errorf("%d users after one was deleted and one left", users)
	}
	if n := len(values(c.want("/directory/deletedItems/microsoft.graph.user?$select=id,deletedDateTime"))); n != 1 {
		t.Errorf("%d deleted users", n)
	}
	c.want("/groups/" + outer)
	c.change(Change{Op: OpDeleteGroup, Item: inner})
	if a := c.get("/groups/" + inner); a.status != 404 || a.code() != "Request_ResourceNotFound" {
		t.Errorf("%d %s", a.status, a.body)
	}
	c.RemoveRole("GroupMember.Read.All")
	if a := c.get("/groups/" + outer); a.status != 403 || a.code() != "Authorization_RequestDenied" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// post sends a batch.
func (t *tester) post(requests any) answer {
	t.Helper()
	body, err := json.Marshal(object{"requests": requests})
	if err != nil {
		t.Fatal(err)
	}
	req := t.request("/$batch", "Content-Type", "application/json")
	req.Method, req.Body = http.MethodPost, io.NopCloser(bytes.NewReader(body))
	return t.do(req)
}

func TestBatchesAreJudgedOneByOne(t *testing.T) {
	c := start(t, 25)
	c.change(Change{Op: OpAddUser, Account: &Account{UPN: "desk@acme.example", Mail: "desk@acme.example", DisplayName: "Desk", Disabled: true, Purpose: "shared"}})
	c.Inject(Fault{Kind: FaultThrottle, On: CallUser, Next: 1, RetryAfter: 9})
	ask := []batchRequest{{ID: "a", Method: "GET", URL: "/users/desk@acme.example/mailboxSettings/userPurpose"},
		{ID: "b", Method: "GET", URL: "/users/nobody@acme.example"}, {ID: "c", Method: "GET", URL: "/users/desk@acme.example?$select=id"}}
	a := c.post(ask)
	told := map[string]map[string]any{}
	list, _ := a.json["responses"].([]any)
	for _, r := range list {
		told[text(r.(map[string]any), "id")] = r.(map[string]any)
	}
	purpose, _ := told["a"]["body"].(map[string]any)
	headers, _ := told["c"]["headers"].(map[string]any)
	if len(told) != 3 || text(purpose, "value") != "shared" || told["b"]["status"] != 404.0 || told["c"]["status"] != 429.0 || text(headers, "Retry-After") != "9" {
		t.Errorf("%s", a.body)
	}
	long := make([]batchRequest, 21)
	for i := range long {
		long[i] = batchRequest{ID: fmt.Sprint(i), Method: "GET", URL: "/users"}
	}
	for _, bad := range []any{long, []batchRequest{}, []batchRequest{ask[0], ask[0]}, []batchRequest{{ID: "x", Method: "GET", URL: "/$batch"}}, "nothing"} {
		if a := c.post(bad); a.status != 400 {
			t.Errorf("%v: %d", bad, a.status)
		}
	}
}

func TestDirectoryOutlivesARestart(t *testing.T) {
	file, listen := t.TempDir()+"/state.json", freePort(t)
	same := func(o *Options) { o.StateFile, o.Listen, o.Crowd = file, listen, 100 }
	first := start(t, 25, same)
	_, link, _ := first.round(userDelta)
	first.edit("crowd50@acme.example", func(a *Account) { a.DisplayName = "Kept" })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, 25, same)
	if items, _, _ := second.round(link); len(items) != 1 || text(items[0], "displayName") != "Kept" {
		t.Errorf("%v", items)
	}
}
