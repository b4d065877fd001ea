package graph

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// admin calls the administration endpoint; body is bytes as they are, or anything else as JSON.
func (t *tester) admin(method, path string, body any) answer {
	t.Helper()
	contentType, b := "application/json", []byte(nil)
	if raw, ok := body.([]byte); ok {
		contentType, b = "message/rfc822", raw
	} else if body != nil {
		b = must(json.Marshal(body))
	}
	req := must(http.NewRequest(method, t.AdminURL()+path, bytes.NewReader(b)))
	req.Header.Set("Authorization", "Bearer "+t.AdminToken())
	req.Header.Set("Content-Type", contentType)
	return t.do(req)
}

func TestAdministration(t *testing.T) {
	c := start(t, 25)
	upn := c.opt.People[0].UPN
	ok := func(method, path string, body any) answer {
		t.Helper()
		a := c.admin(method, path, body)
		if a.status != 200 {
			t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
		}
		return a
	}
	if people := ok("GET", "/people", nil).json["people"].([]any); len(people) != 24 {
		t.Errorf("%d people", len(people))
	}
	ok("POST", "/faults", Fault{Kind: FaultThrottle, Next: 1})
	if a := c.get("/users"); a.status != 429 {
		t.Errorf("the fault did not strike: %d", a.status)
	}
	ok("POST", "/faults", Fault{Kind: FaultThrottle})
	ok("DELETE", "/faults?kind=throttle", nil)
	c.want("/users")
	ok("POST", "/expire", object{"what": "tokens"})
	if a := c.get("/users"); a.status != 401 {
		t.Errorf("the token did not expire: %d", a.status)
	}
	ok("PUT", "/roles", object{"roles": []string{"User.Read.All"}})
	c.token = ""
	if a := c.get("/users/" + upn + "/drive"); a.status != 403 {
		t.Errorf("the role was not taken: %d", a.status)
	}
	ok("DELETE", "/calls", nil)
	c.want("/users")
	if total := ok("GET", "/calls", nil).json["total"]; total != 1.0 {
		t.Errorf("%v calls", total)
	}
	if id := text(ok("POST", "/changes", Change{Op: OpAddMessage, User: upn, Into: "inbox"}).json, "id"); id == "" {
		t.Error("no id")
	}
	if done := ok("POST", "/mutate", object{"seed": 3}).json["done"].([]any); len(done) < 20 {
		t.Errorf("%d changes", len(done))
	}
	ok("POST", "/expire", object{"what": "mail"})
}

func TestAdministrationPutsAndGetsContent(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	raw := []byte("Subject: raw\r\n\r\nbody\r\n")
	path := filepath.Join(t.TempDir(), "mail.eml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, body := range []any{raw, object{"path": path}} {
		id := text(c.admin("POST", "/users/"+upn+"/messages?folder=Inbox/Projects", body).json, "id")
		if a := c.admin("GET", "/users/"+upn+"/messages/"+id+"/content", nil); !bytes.Equal(a.body, raw) {
			t.Errorf("message: %d %q", a.status, a.body)
		}
	}
	id := text(c.admin("POST", "/users/"+upn+"/files?folder=Documents&name="+url.QueryEscape("a b.bin"), raw).json, "id")
	if a := c.admin("GET", "/users/"+upn+"/files/"+id+"/content", nil); !bytes.Equal(a.body, raw) {
		t.Errorf("file: %d %q", a.status, a.body)
	}
	list := c.admin("GET", "/users/"+upn+"/messages", nil).json["messages"].([]any)
	if len(list) != 42 || text(list[0].(map[string]any), "sha256") == "" {
		t.Errorf("%d messages, the first %v", len(list), list[0])
	}
	if list := c.admin("GET", "/users/"+upn+"/files", nil).json["files"].([]any); len(list) < 13 {
		t.Errorf("%d files", len(list))
	}
}

func TestAdministrationRefuses(t *testing.T) {
	c := start(t, 1)
	for _, token := range []string{"", "wrong", c.AdminToken() + "x"} {
		req := must(http.NewRequest(http.MethodGet, c.AdminURL()+"/people", nil))
		req.Header.Set("Authorization", "Bearer "+token)
		if a := c.do(req); a.status != 401 {
			t.Errorf("token %q: %d", token, a.status)
		}
	}
	upn := c.opt.People[0].UPN
	for path, body := range map[string]any{
		"/faults":                             object{"kind": "throttle", "nxt": 3},
		"/expire":                             object{"what": "everything"},
		"/changes":                            object{"op": "explode"},
		"/users/nobody/messages?folder=inbox": []byte("x"),
		"/users/" + upn + "/messages?folder=inbox":       object{"path": "relative.eml"},
		"/users/" + upn + "/messages?folder=inbox&again": object{"path": "/"},
		"/mutate": object{"seed": 1, "counts": object{"filesAdded": -1}},
	} {
		if a := c.admin("POST", path, body); a.status != 400 || a.json["error"] == nil {
			t.Errorf("POST %s %v: %d %s", path, body, a.status, a.body)
		}
	}
	for _, o := range []Options{
		{People: c.opt.People}, {ClientID: "x"}, {People: c.opt.People, ClientID: "x", AdminListen: "0.0.0.0:0"},
		{People: c.opt.People, ClientID: "x", PlainHTTP: true, Listen: "0.0.0.0:0"}, {People: c.opt.People, ClientID: "x", StateFile: "/nonexistent/folder/state"},
	} {
		if s, err := Start(t.Context(), o); err == nil {
			s.Close()
			t.Errorf("started with %+v", o)
		}
	}
}
