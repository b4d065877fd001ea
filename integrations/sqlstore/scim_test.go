package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/scim"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

var (
	_ scim.Store       = (*SCIM)(nil)
	_ scim.ImportStore = (*SCIM)(nil)
)

var okta = backup.SCIMScope{Tenant: acme, Directory: "okta"}

func pushedUser(name string) backup.SCIMUser {
	return backup.SCIMUser{ID: "id-" + name, UserName: name, ExternalID: "X-" + name, Active: true, Doc: json.RawMessage(`{"userName":"` + name + `"}`),
		Index: []backup.SCIMValue{{Path: "emails.value", Type: "work", Text: name + "@acme.example"}, {Path: "title", Text: "100%_sure"}}}
}

func push(t testing.TB, s *SCIM, scope backup.SCIMScope, names ...string) {
	t.Helper()
	for _, n := range names {
		got[backup.SCIMUser](t)(s.CreateUser(t.Context(), scope, pushedUser(n)))
	}
}

func pushGroup(t testing.TB, s *SCIM, name string, members ...string) {
	t.Helper()
	got[backup.SCIMGroup](t)(s.CreateGroup(t.Context(), okta, backup.SCIMGroup{ID: "g-" + name, DisplayName: name, Doc: json.RawMessage(`{}`)}, memberList(members...)))
}

func memberList(ids ...string) (all []backup.SCIMMember) {
	for _, id := range ids {
		all = append(all, backup.SCIMMember{Value: id})
	}
	return all
}

func userNames(users []backup.SCIMUser) string {
	var all []string
	for _, u := range users {
		all = append(all, u.UserName)
	}
	return fmt.Sprint(all)
}

// changeGroup changes members only, and returns the group's version.
func changeGroup(t testing.TB, s *SCIM, name string, m backup.SCIMMembers) int64 {
	t.Helper()
	g, err := s.ChangeGroup(t.Context(), okta, "g-"+name, 0, func(g backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error) { return g, m, nil })
	must(t, err)
	return g.Version
}

// changes shows the feed after a sequence as "ann[staff] -bea".
func changes(t testing.TB, s *SCIM, after int64, groups ...string) (string, int64) {
	t.Helper()
	text := ""
	for {
		page := got[[]backup.SCIMChange](t)(s.ChangedUsers(t.Context(), okta, groups, after, 2))
		for _, c := range page {
			if c.Sequence <= after {
				t.Fatalf("sequence %d comes after %d", c.Sequence, after)
			}
			after = c.Sequence
			sign := " "
			if c.Gone {
				sign = " -"
			}
			text += sign + c.User.ID
			if len(c.Groups) > 0 {
				text += fmt.Sprint(c.Groups)
			}
		}
		if len(page) == 0 {
			return text, after
		}
	}
}

func TestPushedUsersAreKeptFoundAndBuried(t *testing.T) {
	store := newStore(t)
	s := store.SCIM()
	_, err := s.User(t.Context(), okta, "id-ann")
	wantCode(t, err, backup.CodeNotFound)
	push(t, s, okta, "Ann", "bea", "cid")
	_, err = s.CreateUser(t.Context(), okta, backup.SCIMUser{ID: "other", UserName: "aNN", Doc: json.RawMessage(`{}`)})
	wantCode(t, err, backup.CodeConflict)
	push(t, s, backup.SCIMScope{Tenant: acme, Directory: "entra"}, "dan")
	_, err = s.User(t.Context(), okta, "id-dan")
	wantCode(t, err, backup.CodeNotFound) // another directory's

	u, err := s.ChangeUser(t.Context(), okta, "id-bea", 1, func(u backup.SCIMUser) (backup.SCIMUser, error) { u.Active = false; return u, nil })
	if err != nil || u.Version != 2 || u.Active {
		t.Errorf("changed, it is %+v, %v", u, err)
	}
	_, err = s.ChangeUser(t.Context(), okta, "id-bea", 1, func(u backup.SCIMUser) (backup.SCIMUser, error) { return u, nil })
	wantCode(t, err, backup.CodeDifferenceChanged)
	u, err = s.ChangeUser(t.Context(), okta, "id-bea", 0, func(u backup.SCIMUser) (backup.SCIMUser, error) { return u, nil })
	if err != nil || u.Version != 2 {
		t.Errorf("unchanged, it is %+v, %v", u, err)
	}
	_, err = s.ChangeUser(t.Context(), okta, "id-bea", 0, func(u backup.SCIMUser) (backup.SCIMUser, error) { u.UserName = "ANN"; return u, nil })
	wantCode(t, err, backup.CodeConflict)
	refusal := errors.New("no")
	if _, err = s.ChangeUser(t.Context(), okta, "id-bea", 0, func(u backup.SCIMUser) (backup.SCIMUser, error) { return u, refusal }); !errors.Is(err, refusal) {
		t.Errorf("a refusal comes back as %v", err)
	}

	must(t, s.DeleteUser(t.Context(), okta, "id-Ann", 0))
	wantCode(t, s.DeleteUser(t.Context(), okta, "id-Ann", 0), backup.CodeNotFound)
	got[backup.SCIMUser](t)(s.CreateUser(t.Context(), okta, backup.SCIMUser{ID: "again", UserName: "ann", Doc: json.RawMessage(`{}`)}))
	users, total, err := s.ListUsers(t.Context(), okta, backup.SCIMFilter{}, backup.SCIMPage{StartIndex: 2, Count: 1})
	if err != nil || total != 3 || userNames(users) != "[cid]" {
		t.Errorf("listed are %s of %d, %v", userNames(users), total, err)
	}
	if _, n, err := s.LastChange(t.Context(), okta); n != 3 || err != nil {
		t.Errorf("%d users are stored, %v", n, err)
	}
}

func TestFiltersOfPushedUsers(t *testing.T) {
	s := newStore(t).SCIM()
	push(t, s, okta, "ann", "bea", "cid")
	pushGroup(t, s, "staff", "id-bea", "nobody")
	u := got[backup.SCIMUser](t)(s.User(t.Context(), okta, "id-ann"))
	is := func(path string, op backup.SCIMOperator, text string) backup.SCIMFilter {
		return backup.SCIMFilter{Path: path, Op: op, Text: text}
	}
	work := is("emails.value", "eq", "bea@acme.example")
	work.Type = "work"
	home := work
	home.Type = "home"
	deep := is("username", "eq", "ann")
	for range maxFilterDepth + 1 {
		inner := deep
		deep = backup.SCIMFilter{Not: &inner}
	}
	for name, c := range map[string]struct {
		filter backup.SCIMFilter
		want   string
	}{
		"name":            {is("username", "eq", "bea"), "[bea]"},
		"nobody":          {is("username", "eq", "x' OR '1'='1"), "[]"},
		"id":              {is("id", "eq", "id-cid"), "[cid]"},
		"external, exact": {is("externalid", "eq", "x-ann"), "[]"},
		"external":        {is("externalid", "sw", "X-a"), "[ann]"},
		"case":            {is("externalid", "co", "x-"), "[]"},
		"ends":            {is("externalid", "ew", "cid"), "[cid]"},
		"longer than it":  {is("username", "ew", "a-very-long-cid"), "[]"},
		"percent":         {is("title", "co", "%_"), "[ann bea cid]"},
		"no wildcard":     {is("title", "sw", "1__"), "[]"},
		"work":            {work, "[bea]"},
		"home":            {home, "[]"},
		"greater":         {is("username", "gt", "ann"), "[bea cid]"},
		"not equal":       {is("emails.value", "ne", "ann@acme.example"), "[bea cid]"},
		"present":         {is("title", "pr", ""), "[ann bea cid]"},
		"absent":          {is("nickname", "pr", ""), "[]"},
		"active":          {is("active", "eq", "false"), "[]"},
		"group":           {is("groups.value", "eq", "g-staff"), "[bea]"},
		"since":           {is("meta.lastmodified", "ge", u.Modified.Format(scim.TimeText)), "[ann bea cid]"},
		"after the first": {is("meta.created", "lt", u.Created.Format(scim.TimeText)), "[]"},
		"and":             {backup.SCIMFilter{And: []backup.SCIMFilter{is("active", "eq", "true"), is("username", "eq", "cid")}}, "[cid]"},
		"or":              {backup.SCIMFilter{Or: []backup.SCIMFilter{is("username", "eq", "ann"), is("id", "eq", "id-cid")}}, "[ann cid]"},
		"not":             {backup.SCIMFilter{Not: &backup.SCIMFilter{Path: "username", Op: "eq", Text: "ann"}}, "[bea cid]"},
	} {
		users, total, err := s.ListUsers(t.Context(), okta, c.filter, backup.SCIMPage{StartIndex: 1, Count: 10})
		if err != nil || userNames(users) != c.want || total != len(users) {
			t.Errorf("%s: %s of %d, %v; want %s", name, userNames(users), total, err, c.want)
		}
		if _, only, err := s.ListUsers(t.Context(), okta, c.filter, backup.SCIMPage{StartIndex: 1}); err != nil || only != total {
			t.Errorf("%s: counted alone %d, %v; want %d", name, only, err, total)
		}
	}
	_, _, err := s.ListUsers(t.Context(), okta, deep, backup.SCIMPage{StartIndex: 1, Count: 10})
	wantCode(t, err, backup.CodeBadConfig)
	groups, _, err := s.ListGroups(t.Context(), okta, backup.SCIMFilter{And: []backup.SCIMFilter{is("displayname", "eq", "staff"), is("members.value", "eq", "id-bea")}}, backup.SCIMPage{Count: 9})
	if err != nil || len(groups) != 1 {
		t.Errorf("found %+v, %v", groups, err)
	}
}

func TestMembersChangeInSetsAndTouchWhoIsConcerned(t *testing.T) {
	s := newStore(t).SCIM()
	push(t, s, okta, "ann", "bea", "cid")
	pushGroup(t, s, "all", "g-staff")
	pushGroup(t, s, "staff", "g-all") // a circle
	_, after := changes(t, s, 0)
	expect := func(want string, groups ...string) {
		t.Helper()
		var have string
		if have, after = changes(t, s, after, groups...); have != want {
			t.Errorf("the feed has %q, want %q", have, want)
		}
	}
	if v := changeGroup(t, s, "staff", backup.SCIMMembers{Add: memberList("id-ann", "id-bea", "unknown", "id-ann")}); v != 2 {
		t.Errorf("version %d", v)
	}
	expect(" id-ann[All staff] id-bea[All staff]", "staff", "All", "others")
	if v := changeGroup(t, s, "staff", backup.SCIMMembers{Add: memberList("id-ann"), Remove: []string{"stranger", "id-ann"}}); v != 2 {
		t.Errorf("nothing was changed, but the version is %d", v)
	}
	expect("")
	changeGroup(t, s, "staff", backup.SCIMMembers{Clear: true, Add: memberList("id-bea", "id-cid")})
	members := got[[]backup.SCIMMember](t)(s.GroupMembers(t.Context(), okta, "g-staff", "", 10))
	if fmt.Sprint(members) != "[{id-bea User } {id-cid User }]" {
		t.Errorf("members are %v", members)
	}
	expect(" id-ann id-bea[staff] id-cid[staff]", "staff") // the circle ends, too: who was in it by all is concerned
	_, err := s.ChangeGroup(t.Context(), okta, "g-all", 0, func(g backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error) {
		g.DisplayName = "everybody"
		return g, backup.SCIMMembers{}, nil
	})
	must(t, err)
	expect(" id-bea[everybody] id-cid[everybody]", "everybody", "all")
	must(t, s.DeleteUser(t.Context(), okta, "id-cid", 0))
	expect(" -id-cid", "staff")
	if g := got[map[string][]backup.SCIMMember](t)(s.GroupsOfUsers(t.Context(), okta, []string{"id-ann", "id-bea", "id-cid"})); len(g) != 1 || g["id-bea"][0].Value != "g-staff" {
		t.Errorf("groups are %v", g)
	}
	must(t, s.DeleteGroup(t.Context(), okta, "g-staff", 0))
	expect(" id-bea", "staff", "everybody")
}

// A user's groups are part of what its version stands for: those that list it, and not those above them.
func TestVersionsOfUsersFollowTheirGroups(t *testing.T) {
	s := newStore(t).SCIM()
	push(t, s, okta, "ann", "bea", "cid")
	pushGroup(t, s, "all", "g-staff", "id-cid")
	pushGroup(t, s, "staff", "id-bea")
	expect := func(what, want string) {
		t.Helper()
		var versions []int64
		for _, id := range []string{"id-ann", "id-bea", "id-cid"} {
			u := got[backup.SCIMUser](t)(s.User(t.Context(), okta, id))
			versions = append(versions, u.Version)
			if later := u.Modified.After(u.Created); later != (u.Version > 1) {
				t.Errorf("%s: version %d of %s is of %v, and it was created %v", what, u.Version, id, u.Modified, u.Created)
			}
		}
		if have := fmt.Sprint(versions); have != want {
			t.Errorf("%s: the versions are %s, want %s", what, have, want)
		}
	}
	rename := func(name, to string) {
		t.Helper()
		_, err := s.ChangeGroup(t.Context(), okta, "g-"+name, 0, func(g backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error) {
			g.DisplayName = to
			return g, backup.SCIMMembers{}, nil
		})
		must(t, err)
	}
	expect("two groups were created with members", "[1 2 2]")
	changeGroup(t, s, "staff", backup.SCIMMembers{Add: memberList("id-ann", "id-bea")})
	expect("one joins, one is there already", "[2 2 2]")
	rename("staff", "crew")
	expect("renamed", "[3 3 2]")
	rename("all", "everybody")
	expect("the group above is renamed", "[3 3 3]")
	_, err := s.ChangeUser(t.Context(), okta, "id-ann", 2, func(u backup.SCIMUser) (backup.SCIMUser, error) { return u, nil })
	wantCode(t, err, backup.CodeDifferenceChanged)
	wantCode(t, s.DeleteUser(t.Context(), okta, "id-ann", 2), backup.CodeDifferenceChanged)
	changeGroup(t, s, "staff", backup.SCIMMembers{Clear: true, Add: memberList("id-bea")})
	expect("one leaves, one stays", "[4 3 3]")
	must(t, s.DeleteGroup(t.Context(), okta, "g-staff", 0))
	expect("the group is deleted", "[4 4 3]")
}

func TestConcurrentPatchesOfOneGroupLoseNothing(t *testing.T) {
	a, b := twoStores(t)
	stores := []*SCIM{a.SCIM(), b.SCIM()}
	pushGroup(t, stores[0], "staff")
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			for n := range 10 {
				id := fmt.Sprintf("u-%d-%02d", c, n)
				_, err := stores[c%2].ChangeGroup(t.Context(), okta, "g-staff", 0, func(g backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error) {
					return g, backup.SCIMMembers{Add: memberList(id)}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	g := got[backup.SCIMGroup](t)(stores[1].Group(t.Context(), okta, "g-staff"))
	members := got[[]backup.SCIMMember](t)(stores[0].GroupMembers(t.Context(), okta, "g-staff", "", 500))
	if len(members) != 80 || g.Version != 81 {
		t.Errorf("%d members at version %d, want 80 at 81", len(members), g.Version)
	}
}

// A request that fails, panics or gives up takes nothing of the others with it.
func TestRequestsCommittedTogetherFailAlone(t *testing.T) {
	s := newStore(t).SCIM()
	push(t, s, okta, "ann")
	var clients sync.WaitGroup
	for n := range 30 {
		clients.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			switch n % 3 {
			case 0:
				got[backup.SCIMUser](t)(s.CreateUser(ctx, okta, pushedUser(fmt.Sprint("user", n))))
			case 1:
				_, err := s.CreateUser(ctx, okta, backup.SCIMUser{ID: fmt.Sprint("twin", n), UserName: "ANN", Doc: json.RawMessage(`{}`)})
				if !backup.HasCode(err, backup.CodeConflict) {
					t.Errorf("a taken name gives %v", err)
				}
			case 2:
				_, err := s.ChangeUser(ctx, okta, "id-ann", 0, func(backup.SCIMUser) (backup.SCIMUser, error) { panic("a mistake") })
				if !backup.HasCode(err, backup.CodeInternal) {
					t.Errorf("a panic gives %v", err)
				}
			}
		})
	}
	clients.Wait()
	if _, total, err := s.ListUsers(t.Context(), okta, backup.SCIMFilter{}, backup.SCIMPage{}); total != 11 || err != nil {
		t.Errorf("%d users, %v; want 11", total, err)
	}
}

func TestTokensRotateTwoAtATime(t *testing.T) {
	store := newStore(t)
	saveTenant(t, store, acmeWith())
	s := store.SCIM()
	token := func(label string, created time.Time) backup.SCIMToken {
		return backup.SCIMToken{SCIMScope: okta, Label: label, Hash: hashOf(label), Created: created, Expires: created.Add(time.Hour), By: "anna@acme.example"}
	}
	for range 2 {
		must(t, store.AddSCIMToken(t.Context(), token("old", noon)))
	}
	twin := token("old", noon)
	twin.Hash = hashOf("another")
	wantCode(t, store.AddSCIMToken(t.Context(), twin), backup.CodeConflict)
	must(t, store.AddSCIMToken(t.Context(), token("new", noon)))
	wantCode(t, store.AddSCIMToken(t.Context(), token("third", noon)), backup.CodeNotAllowed)
	found, err := s.TokenScope(t.Context(), hashOf("old"))
	if err != nil || found.SCIMScope != okta || found.Label != "old" {
		t.Errorf("found %+v, %v", found, err)
	}
	if again, _ := s.TokenScope(t.Context(), hashOf("old")); again.LastUsed.IsZero() {
		t.Error("its use was not remembered")
	}
	for range 2 {
		must(t, store.RevokeSCIMToken(t.Context(), okta, "old", noon))
	}
	wantCode(t, store.RevokeSCIMToken(t.Context(), okta, "never", noon), backup.CodeNotFound)
	_, err = s.TokenScope(t.Context(), hashOf("old"))
	wantCode(t, err, backup.CodeNotFound)
	must(t, store.AddSCIMToken(t.Context(), token("third", noon)))
	must(t, store.AddSCIMToken(t.Context(), token("fourth", noon.Add(2*time.Hour)))) // the others have expired
	if all := got[[]backup.SCIMToken](t)(store.SCIMTokens(t.Context(), acme, noon.Add(2*time.Hour))); len(all) != 1 {
		t.Errorf("good are %+v", all)
	}
}

func BenchmarkEightClientsPushUsers(b *testing.B) {
	s := newStore(b).SCIM()
	b.SetParallelism(4)
	var mu sync.Mutex
	n := 0
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mu.Lock()
			n++
			name := fmt.Sprintf("user%07d", n)
			mu.Unlock()
			if _, err := s.CreateUser(b.Context(), okta, pushedUser(name)); err != nil {
				b.Error(err)
			}
		}
	})
}

// What a PATCH costs must not grow with who is in the group already: each new member would be compared with all of them.
func TestNewMembersAreNotComparedWithAll(t *testing.T) {
	if onPostgres {
		return // it plans by statistics
	}
	store := newStore(t)
	plan := got[[]string](t)(list(t.Context(), store.write, func(r row) (detail string, err error) {
		var id, parent, unused int
		return detail, r.Scan(&id, &parent, &unused, &detail)
	}, `EXPLAIN QUERY PLAN `+fmt.Sprintf(touchStatement, `SELECT member FROM scim_staged_member WHERE scope = $1`), 1, 2, 3))
	text := strings.Join(plan, "\n")
	for _, step := range []string{"SEARCH g USING INDEX sqlite_autoindex_scim_group_2 (scope=? AND id=?)", "SEARCH m USING COVERING INDEX sqlite_autoindex_scim_member_1 (scope=? AND in_group=?)", "SEARCH u USING INDEX sqlite_autoindex_scim_user_2 (scope=? AND id=?)"} {
		if !strings.Contains(text, step) {
			t.Errorf("the plan lacks %s:\n%s", step, text)
		}
	}
}

// A first push is over before PostgreSQL counts rows by itself, and joins of tables that it takes for empty take minutes.
func TestRowsAreCountedWhileADirectoryGrows(t *testing.T) {
	if !onPostgres {
		return // SQLite plans by the indexes that there are
	}
	store := newStore(t)
	s := store.SCIM()
	for n := range 600 {
		push(t, s, okta, fmt.Sprintf("user%03d", n))
	}
	var counted float64
	must(t, store.read.QueryRowContext(t.Context(), `SELECT reltuples FROM pg_class WHERE oid = 'scim_user'::regclass`).Scan(&counted))
	if counted < 500 {
		t.Errorf("PostgreSQL counts on %v users, of 600", counted)
	}
}
