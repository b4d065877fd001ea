package graph

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// FuzzCursor: whatever is sent as a token is either one that sign made, or refused.
func FuzzCursor(f *testing.F) {
	key := []byte("key")
	f.Add(cursor{Feed: "feed", Since: 7, Select: []string{"id"}}.sign(key))
	f.Add("")
	f.Add("AAAA====")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseCursor(key, "feed", text)
		if ok && c.sign(key) != text {
			t.Errorf("%q was taken but is not what sign makes of %+v", text, c)
		}
		if !ok && !reflect.DeepEqual(c, cursor{}) {
			t.Errorf("a refused token gave %+v", c)
		}
	})
}

// FuzzIDs: an id that is taken is exactly the one that is given out, so no two spellings name one thing.
func FuzzIDs(f *testing.F) {
	ids := newIDSpace(1, "owner")
	f.Add(ids.messageID(3, 0))
	f.Add(ids.messageID(3, 2))
	f.Add(ids.folderID(9))
	f.Add(ids.itemID(12))
	f.Fuzz(func(t *testing.T, text string) {
		if n, folder, ok := ids.parseMessageID(text); ok && ids.messageID(n, folder) != text {
			t.Errorf("message id %q is also %q", text, ids.messageID(n, folder))
		}
		if n, ok := ids.parseFolderID(text); ok && ids.folderID(n) != text {
			t.Errorf("folder id %q is also %q", text, ids.folderID(n))
		}
		if n, ok := ids.parseItemID(text); ok && ids.itemID(n) != text {
			t.Errorf("item id %q is also %q", text, ids.itemID(n))
		}
	})
}

// FuzzOptions: query options and preferences stay within their bounds.
func FuzzOptions(f *testing.F) {
	f.Add("$select=subject,isRead&$top=10&$skip=3", `IdType="ImmutableId", odata.maxpagesize=500`)
	f.Add("$skiptoken=x&includeHiddenFolders=true&$filter=a+eq+1", "odata.maxpagesize=99999999999999999999")
	f.Fuzz(func(t *testing.T, query, prefer string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		o, e := parseOptions(q, http.Header{"Prefer": {prefer}}, messageProperties)
		if e != nil {
			return
		}
		if n := o.size(outlookDefault, outlookMax); n < 1 && o.Top != 0 || n > outlookMax {
			t.Errorf("page size %d from %q, %q", n, query, prefer)
		}
		for _, s := range o.Select {
			if !strings.Contains(strings.Join(messageProperties, ","), s) {
				t.Errorf("%q was selected", s)
			}
		}
		_, _ = parseReceived(o.Filter)
	})
}

// FuzzCredentials: access tokens, client assertions and download tickets from outside never crash, and none is made up.
func FuzzCredentials(f *testing.F) {
	s, err := Start(f.Context(), Options{Seed: 1, People: sandbox.People(1, 1, "acme.example"), ClientID: testClient, ClientSecret: testSecret})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	cert, key := clientCertificate()
	s.opt.ClientCertificates = append(s.opt.ClientCertificates, cert)
	token := s.issue(time.Now())
	f.Add(token[:len(token)-5])
	f.Add(signAssertion(cert, key, "https://elsewhere.example/", nil))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if c, ok := s.readAccessToken(text, time.Now()); ok {
			t.Errorf("%q is taken as %+v", text, c)
		}
		if e := s.checkAssertion(assertionType, text, s.TenantID(), time.Now()); e == nil {
			t.Errorf("%q is taken as an assertion", text)
		}
		if c, ok := s.readTicket(text, time.Now()); ok {
			t.Errorf("%q is taken as %+v", text, c)
		}
	})
}

// FuzzRawMail: mail that somebody else wrote is read as far as it goes.
func FuzzRawMail(f *testing.F) {
	f.Add([]byte("Subject: =?utf-8?q?x?=\r\nTo: a@b, c@d\r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\n\r\nbody"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Disposition: attachment; filename=a\r\n\r\nb\r\n--x--\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		if head := readHead(raw, at); head.Sent.Year() < 1970 || len(head.To) > 50 {
			t.Errorf("%+v", head)
		}
		if list := readAttachments(raw); len(list) > maxAttachments {
			t.Errorf("%d attachments", len(list))
		}
	})
}

// FuzzJournal: a state file from elsewhere is replayed or refused, and what is replayed is as long as is said.
func FuzzJournal(f *testing.F) {
	people := sandbox.People(1, 2, "acme.example")
	head := `{"sandbox":1,"seed":1,"people":2,"messages":2,"files":2,"first":"` + people[0].GraphID + `"}` + "\n"
	f.Add([]byte(head + `{"op":"message.add","user":"` + people[0].UPN + `","into":"inbox","at":"2026-01-01T00:00:00Z"}` + "\n"))
	f.Add([]byte(head + `{"op":"item.delete","user":"` + people[0].UPN + `","item":"Documents"}` + "\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCompany(Options{Seed: 1, People: people, MessagesPerMailbox: 2, FilesPerDrive: 2})
		j := &journal{company: c}
		if good, err := j.replay(bytes.NewReader(b)); err == nil && (good > int64(len(b)) || good > 0 && b[good-1] != '\n') {
			t.Errorf("%d of %d bytes are good", good, len(b))
		}
	})
}

// A name finds nobody, or somebody who is called so: ids and names of the crowd are computed and in no index.
func FuzzFindAccount(f *testing.F) {
	o := Options{People: sandbox.People(7, 25, "acme.example"), ClientID: testClient, Seed: 7, Crowd: 1000, Domain: "acme.example"}
	d := newCompany(o).directory
	f.Add(d.crowdID(100))
	f.Add("crowd100@acme.example")
	f.Add("CROWD0100@acme.example")
	f.Add("crowd-1@acme.example")
	f.Add(o.People[0].UPN)
	f.Fuzz(func(t *testing.T, name string) {
		if e, ok := d.find(name, true); ok && !strings.EqualFold(e.id, name) && !strings.EqualFold(e.UPN, name) {
			t.Fatalf("%q finds %s, %s", name, e.id, e.UPN)
		}
	})
}

// A batch that is let through has few requests, each with an id of its own, none of which is a batch.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(`[{"id":"1","method":"GET","url":"/users"},{"id":"2","method":"GET","url":"/users/x?$select=id"}]`))
	f.Add([]byte(`[{"id":"1","method":"POST","url":"/users/x/checkMemberGroups","headers":{"Content-Type":"application/json"},"body":{"groupIds":[]}}]`))
	f.Add([]byte(`[{"id":"a","method":"GET","url":"/$batch"},{"id":"A","method":"POST","url":"//x"}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var requests []batchRequest
		if json.Unmarshal(raw, &requests) != nil || checkBatch(requests) != nil {
			return
		}
		seen := map[string]bool{}
		for _, q := range requests {
			if seen[strings.ToLower(q.ID)] || q.Method != "GET" && q.Method != "POST" || (q.Method == "GET") != (q.Body == nil) {
				t.Fatalf("%+v is let through", q)
			}
			seen[strings.ToLower(q.ID)] = true
		}
		if len(seen) == 0 || len(seen) > maxBatch {
			t.Fatalf("%d requests are let through", len(seen))
		}
	})
}
