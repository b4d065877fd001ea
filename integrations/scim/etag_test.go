package scim_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/integrations/scim"
)

// reply is what a test looks at of an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask makes one request with headers: "Name: value".
func (p *provider) ask(method, path, body string, headers ...string) reply {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.URL+scim.BasePath+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer a-token")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := p.Client().Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, string(text)}
}

type userResource struct {
	ID     string
	Groups []struct{ Value, Display string }
	Meta   struct{ Version string }
}

func (p *provider) newUser(name string) string {
	p.t.Helper()
	var u userResource
	p.send(201, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+name+`"}`, &u)
	return u.ID
}

func patchOf(ops string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + ops + `]}`
}

// TestTagsOfUsersCoverTheirGroups: whoever has a user's tag has its groups, too; what is asked for on condition of an older one is refused.
func TestTagsOfUsersCoverTheirGroups(t *testing.T) {
	p := newProvider(t, scim.Options{})
	ada, staff := p.newUser("ada"), p.newGroup("Staff")
	at := "/Users/" + ada
	tag := func(groups ...string) string {
		t.Helper()
		var u userResource
		p.send(200, "GET", at, "", &u)
		var names []string
		for _, g := range u.Groups {
			names = append(names, g.Display)
		}
		if strings.Join(names, ",") != strings.Join(groups, ",") {
			t.Errorf("the groups are %q, want %q", names, groups)
		}
		if a := p.ask("GET", at, "", "If-None-Match: "+u.Meta.Version); a.status != 304 || a.header.Get("ETag") != u.Meta.Version {
			t.Errorf("the tag of what is there gives %d with %s", a.status, a.header.Get("ETag"))
		}
		return u.Meta.Version
	}
	tags := []string{tag()}
	for _, step := range []struct{ method, body, group string }{
		{"PATCH", patchOf(`{"op":"add","path":"members","value":[{"value":"` + ada + `"}]}`), "Staff"},
		{"PATCH", patchOf(`{"op":"replace","path":"displayName","value":"Crew"}`), "Crew"},
		{"PATCH", patchOf(`{"op":"remove","path":"members[value eq \"` + ada + `\"]"}`), ""},
		{"PATCH", patchOf(`{"op":"add","path":"members","value":[{"value":"` + ada + `"}]}`), "Crew"},
		{"DELETE", "", ""},
	} {
		p.send(204, step.method, "/Groups/"+staff, step.body, nil)
		tags = append(tags, tag(strings.Fields(step.group)...))
		before := "If-Match: " + tags[len(tags)-2]
		if a := p.ask("GET", at, "", "If-None-Match: "+tags[len(tags)-2]); a.status != 200 {
			t.Errorf("%s: a read with the tag of before gives %d", step.body, a.status)
		}
		title := patchOf(`{"op":"replace","path":"title","value":"lost"}`)
		if a, b := p.ask("PATCH", at, title, before), p.ask("DELETE", at, "", before); a.status != 412 || b.status != 412 {
			t.Errorf("%s: with the tag of before, a PATCH gives %d and a DELETE %d", step.body, a.status, b.status)
		}
	}
	p.send(204, "PATCH", "/Groups/"+p.newGroup("Others"), membersPatch("add", 0, 3), nil)
	if last := tags[len(tags)-1]; tag() != last {
		t.Error("another group's members change the tag")
	} else if a := p.ask("PATCH", at, patchOf(`{"op":"replace","path":"title","value":"kept"}`), "If-Match: "+last+`, W/"99"`); a.status != 200 || !strings.Contains(a.body, "kept") {
		t.Errorf("with the tag of now, a PATCH gives %d: %s", a.status, a.body)
	}
}
