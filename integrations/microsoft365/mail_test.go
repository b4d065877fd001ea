package microsoft365

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// mailTenant has a mailbox whose folder tree and folders are pages of JSON by token; the first page of each has the token "". A page is written
// "entries -> token of the next page" or "entries => token of the next round".
func mailTenant(t *testing.T, pages map[string]string) *tenant {
	x := newTenant(t)
	serve := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			key := name + "?" + r.URL.Query().Get("token")
			if f := r.PathValue("folder"); f != "" {
				key = f + "?" + r.URL.Query().Get("token")
			}
			body, ok := pages[key]
			if !ok {
				refuse(404, graphError("ErrorItemNotFound", "no page "+key))(w, r)
				return
			}
			for arrow, link := range map[string]string{" -> ": "nextLink", " => ": "deltaLink"} {
				if entries, token, ok := strings.Cut(body, arrow); ok {
					body = fmt.Sprintf(`{"value":[%s],"@odata.%s":"%s/v1.0%s?token=%s"}`, entries, link, x.graphServer.URL, r.URL.Path, token)
				}
			}
			answer(body)(w, r)
		}
	}
	x.graph.HandleFunc("GET /users/{user}/mailFolders/delta", serve("folders"))
	x.graph.HandleFunc("GET /users/{user}/mailFolders/{folder}/messages/delta", serve(""))
	return x
}

func show(changes []backup.Change) []string {
	var list []string
	for _, c := range changes {
		i := c.Item
		if c.Removed {
			list = append(list, "-"+i.ID+" from "+i.Parent)
		} else {
			list = append(list, fmt.Sprintf("%s %s in %s %q v%s m%s", i.Kind, i.ID, i.Parent, i.Name, i.Version, i.MetaVersion))
		}
	}
	return list
}

func msg(id, key, folder, subject string) string {
	return fmt.Sprintf(`{"@odata.etag":"W/\"%s\"","id":%q,"changeKey":%q,"parentFolderId":%q,"subject":%q,"lastModifiedDateTime":"2026-01-02T03:04:05Z","isRead":true}`, key, id, key, folder, subject)
}

func TestMailChanges(t *testing.T) {
	pages := map[string]string{
		"folders?":   `{"id":"inbox","displayName":"Inbox","parentFolderId":"root"} -> f2`,
		"folders?f2": `{"id":"sub","displayName":"Sub","parentFolderId":"inbox"},{"id":"search","displayName":"Unread","parentFolderId":"root","@odata.type":"#microsoft.graph.mailSearchFolder"} => f3`,
		"inbox?":     msg("m1", "k1", "inbox", "One") + ` -> i2`,
		"inbox?i2":   ` -> i3`, // an empty page in the middle
		"inbox?i3":   msg("m2", "k1", "inbox", "Two") + ` => i4`,
		"sub?":       ` => s2`,
		"folders?f3": `{"id":"sub","displayName":"Renamed","parentFolderId":"inbox"},{"id":"new","displayName":"New","parentFolderId":"root"} => f4`,
		"inbox?i4":   `{"id":"m1","@removed":{"reason":"changed"}},{"id":"m2","isRead":true} => i5`,
		"sub?s2":     msg("m1", "k2", "sub", "One") + ` => s3`,
		"new?":       msg("m3", "k1", "new", "Three") + ` => n2`,
		"folders?f4": `{"id":"new","@removed":{"reason":"deleted"}} => f5`,
		"inbox?i5":   ` => i6`,
		"sub?s3":     ` => s4`,
		"folders?f5": ` => f6`,
		"inbox?i6":   ` => i7`,
		"sub?s4":     ` => s5`,
	}
	x := mailTenant(t, pages)
	x.graph.HandleFunc("GET /users/{user}/messages/m2", answer(msg("m2", "k9", "inbox", "Two")))
	s := x.source(backup.Mail)
	var cursor json.RawMessage
	for i, want := range [][]string{
		{`folder inbox in  "Inbox" v m91cd0ae29a7b03ef`, `folder sub in inbox "Sub" v mb2b0a2d6b9f3f5ba`, `message m1 in inbox "One" vk1 mk1`, `message m2 in inbox "Two" vk1 mk1`},
		{`folder sub in inbox "Renamed" v m`, `folder new in  "New" v m`, `-m1 from inbox`, `message m2 in inbox "Two" vk9 mk9`, `message m3 in new "Three" vk1 mk1`, `message m1 in sub "One" vk2 mk2`},
		{`-new from `},
		nil,
	} {
		changes, next, err := collect(t, s, cursor)
		if err != nil {
			t.Fatalf("round %d: %v", i+1, err)
		}
		got := show(changes)
		same := slices.EqualFunc(got, want, func(g, w string) bool {
			if strings.HasPrefix(w, "folder") { // a folder's version is any hash
				g, _, _ = strings.Cut(g, " v m")
				w, _, _ = strings.Cut(w, " v m")
			}
			return g == w
		})
		if !same {
			t.Errorf("round %d:\n%s\nwant\n%s", i+1, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		cursor = next
	}
	if strings.Contains(string(cursor), "http") {
		t.Errorf("the cursor names a host: %s", cursor)
	}
}

// A folder's record changes exactly when its name, place or visibility do.
func TestFolderVersions(t *testing.T) {
	base := mailFolder{ID: "f", Name: "A", Parent: "p"}
	same := base.item(nil, "root").MetaVersion
	for _, f := range []mailFolder{{ID: "f", Name: "B", Parent: "p"}, {ID: "f", Name: "A", Parent: "q"}, {ID: "f", Name: "A", Parent: "p", IsHidden: true}} {
		if f.item(nil, "root").MetaVersion == same {
			t.Errorf("%+v looks like %+v", f, base)
		}
	}
	if again := base.item(nil, "other").MetaVersion; again != same {
		t.Error("the same folder looks changed")
	}
}

// Every Outlook call asks for ids that survive a move, and delta calls for pages of a useful size.
func TestOutlookPreferences(t *testing.T) {
	x := mailTenant(t, map[string]string{"folders?": `{"id":"inbox","displayName":"Inbox"} => 2`, "inbox?": ` => 2`})
	if _, _, err := collect(t, x.source(backup.Mail), nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range x.requests {
		p := r.Header.Get("Prefer")
		if !strings.Contains(p, `IdType="ImmutableId"`) || strings.HasSuffix(r.URL.Path, "/delta") != strings.Contains(p, "odata.maxpagesize=") {
			t.Errorf("%s: Prefer: %s", r.URL, p)
		}
		if r.Header.Get("client-request-id") == "" || !strings.HasPrefix(r.UserAgent(), "ISV|Holdfast|Holdfast/") || r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%s: %v", r.URL, r.Header)
		}
	}
}

// A folder that goes away between the tree and its messages is nobody's failure, and is listed in full should it be there after all.
func TestFolderVanishesMeanwhile(t *testing.T) {
	pages := map[string]string{"folders?": `{"id":"a","displayName":"A"},{"id":"b","displayName":"B"} => 2`, "b?": msg("m1", "k", "b", "x") + ` => 2`}
	x := mailTenant(t, pages)
	there := false
	x.graph.HandleFunc("GET /users/{user}/mailFolders/{folder}", func(w http.ResponseWriter, r *http.Request) {
		if there {
			answer(`{"id":"a"}`)(w, r)
			return
		}
		refuse(404, graphError("ErrorItemNotFound", ""))(w, r)
	})
	s := x.source(backup.Mail)
	changes, next, err := collect(t, s, nil)
	if err != nil || len(changes) != 3 {
		t.Fatal(show(changes), err)
	}
	// A folder that is there and does not list its messages is no empty folder.
	there = true
	if _, _, err := collect(t, s, nil); !backup.HasCode(err, backup.CodeBadResponse) || !backup.AsError(err).Retryable {
		t.Fatalf("got %v", err)
	}
	pages["folders?2"], pages["a?"], pages["b?2"] = ` => 3`, msg("m2", "k", "a", "y")+` => 2`, ` => 3`
	changes, _, err = collect(t, s, next)
	if err != nil || len(changes) != 1 || changes[0].Item.ID != "m2" {
		t.Fatal(show(changes), err)
	}
}

// An expired token of any folder sends the whole mailbox back to a full listing.
func TestMailCursorExpired(t *testing.T) {
	x := mailTenant(t, map[string]string{"folders?": `{"id":"a","displayName":"A"} => 2`, "a?": ` => 2`, "folders?2": ` => 3`})
	s := x.source(backup.Mail)
	_, next, err := collect(t, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	x.graph = http.NewServeMux()
	x.graph.HandleFunc("GET /users/{user}/mailFolders/delta", answer(`{"value":[],"@odata.deltaLink":"`+x.graphServer.URL+`/v1.0/x"}`))
	x.graph.HandleFunc("GET /users/{user}/mailFolders/a/messages/delta", refuse(410, graphError("SyncStateNotFound", "")))
	_, _, err = collect(t, s, next)
	wantCode(t, err, backup.CodeCursorExpired)
}

// What yield says ends the listing and is the caller's own error.
func TestYieldEndsTheListing(t *testing.T) {
	x := mailTenant(t, map[string]string{"folders?": `{"id":"a","displayName":"A"} => 2`})
	_, err := x.source(backup.Mail).Changes(t.Context(), nil, func(backup.Change) error { return io.ErrShortWrite })
	if err != io.ErrShortWrite {
		t.Fatal(err)
	}
}

func TestMailAccess(t *testing.T) {
	tests := []struct {
		name         string
		user, folder http.HandlerFunc
		roles        []string
		code         backup.Code
		says         string
	}{
		{"unknown person", refuse(404, graphError("Request_ResourceNotFound", "")), nil, nil, backup.CodeNotFound, "anna@contoso.test"},
		{"no right to look people up", refuse(403, graphError("Authorization_RequestDenied", "")), nil, []string{"Mail.Read"}, backup.CodeMissingRole, "User.Read.All"},
		{"no mailbox", nil, refuse(404, graphError("MailboxNotEnabledForRESTAPI", "")), []string{"Mail.Read"}, backup.CodeNoService, "no mailbox"},
		{"invalid user", nil, refuse(404, graphError("ErrorInvalidUser", "")), []string{"Mail.Read"}, backup.CodeNoService, "no mailbox"},
		{"resource not found", nil, refuse(404, graphError("ResourceNotFound", "")), []string{"Mail.Read"}, backup.CodeNoService, "no mailbox"},
		{"fenced, by its words", nil, refuse(403, graphError("ErrorAccessDenied", "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.")), nil, backup.CodeFenced, ""},
		{"fenced, by the token", nil, refuse(403, graphError("ErrorAccessDenied", "Access is denied.")), []string{"Mail.ReadWrite"}, backup.CodeFenced, ""},
		{"missing role", nil, refuse(403, graphError("ErrorAccessDenied", "Access is denied.")), []string{"User.Read.All"}, backup.CodeMissingRole, "Mail.Read"},
		{"not enough", nil, refuse(403, graphError("ErrorAccessDenied", "Access is denied.")), []string{"Mail.ReadBasic.All"}, backup.CodeMissingRole, "Mail.ReadBasic.All is not enough"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			x.roles = tt.roles
			x.graph = http.NewServeMux()
			if tt.user == nil {
				tt.user = answer(`{"id":"` + testUser + `","userPrincipalName":"anna@contoso.test"}`)
			}
			x.graph.HandleFunc("GET /users/{user}", tt.user)
			if tt.folder != nil {
				x.graph.HandleFunc("GET /users/{user}/mailFolders/{folder}", tt.folder)
			}
			_, err := x.app().Source(t.Context(), backup.Account{UPN: "anna@contoso.test"}, backup.Mail)
			if e := wantCode(t, err, tt.code); !strings.Contains(e.Error(), tt.says) || e.Hint == "" {
				t.Errorf("%q, hint %q", e.Error(), e.Hint)
			}
		})
	}
	t.Run("no name", func(t *testing.T) {
		_, err := newTenant(t).app().Source(t.Context(), backup.Account{ID: "a1"}, backup.Mail)
		wantCode(t, err, backup.CodeNotFound)
	})
	t.Run("no such service", func(t *testing.T) {
		_, err := newTenant(t).app().Source(t.Context(), backup.Account{UPN: "a@b"}, "calendar")
		wantCode(t, err, backup.CodeBadConfig)
	})
}

func TestMessages(t *testing.T) {
	small, large := []byte("Subject: x\r\n\r\nHello"), noise(3<<20)
	serve := func(content []byte, cuts, at int) http.HandlerFunc {
		n := 0
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			if n++; n <= cuts {
				w.Header().Set("Content-Length", strconv.Itoa(len(content)))
				w.Write(content[:at])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			w.Write(content)
		}
	}
	tests := []struct {
		name  string
		value http.HandlerFunc
		want  []byte
		code  backup.Code
		skip  backup.SkipReason
	}{
		{"small", serve(small, 0, 0), small, "", ""},
		{"large", serve(large, 0, 0), large, "", ""},
		{"small, cut", serve(small, 2, 5), small, "", ""},
		{"large, cut within the window", serve(large, 1, 1000), large, "", ""},
		{"large, cut behind the window", serve(large, 1, 2<<20), nil, backup.CodeBadResponse, ""},
		{"gone", refuse(404, graphError("ErrorItemNotFound", "")), nil, backup.CodeNotFound, ""},
		{"corrupt, as a server error", refuse(500, graphError("ErrorCorruptData", "")), nil, "", backup.SkipCorrupt},
		{"cannot be rendered", refuse(400, graphError("ErrorMimeContentConversionFailed", "")), nil, "", backup.SkipCorrupt},
		{"too large", refuse(413, graphError("", "")), nil, "", backup.SkipTooLarge},
		{"fenced meanwhile", refuse(403, graphError("ErrorAccessDenied", "Access to OData is disabled")), nil, backup.CodeFenced, ""},
		{"no content", refuse(204, ""), nil, backup.CodeBadResponse, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			x.graph.HandleFunc("GET /users/{user}/messages/AA-_=/$value", tt.value)
			item, body, err := x.source(backup.Mail).Open(t.Context(), backup.Item{ID: "AA-_=", Kind: backup.Message, Version: "k1"})
			var content []byte
			if err == nil {
				content, err = io.ReadAll(body)
				body.Close()
			}
			switch {
			case tt.skip != "":
				wantSkip(t, err, tt.skip)
			case tt.code != "":
				wantCode(t, err, tt.code)
			case err != nil || !bytes.Equal(content, tt.want) || item.Version != "k1" || item.Size != -1:
				t.Fatalf("%d bytes, %+v, %v", len(content), item, err)
			}
		})
	}
}
