package graph

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"testing"
)

// mailbox is what a client knows of one person's mail: it follows the deltas as an adapter does.
type mailboxClient struct {
	*tester
	upn     string
	folders map[string]map[string]any
	tree    string // deltaLink of the folders
	links   map[string]string
	held    map[string]string // message id → folder id
}

func (t *tester) mailboxClient(upn string) *mailboxClient {
	m := &mailboxClient{tester: t, upn: upn, folders: map[string]map[string]any{}, links: map[string]string{}, held: map[string]string{}}
	m.tree = "/users/" + upn + "/mailFolders/delta?includeHiddenFolders=true"
	return m
}

// sync follows all feeds once, the folders in an order that is drawn from the map.
func (m *mailboxClient) sync() {
	m.Helper()
	items, link, _ := m.round(m.tree, "Prefer", "odata.maxpagesize=5")
	m.tree = link
	for _, f := range items {
		id := text(f, "id")
		if f["@removed"] != nil {
			delete(m.folders, id)
			delete(m.links, id)
			for message, folder := range m.held {
				if folder == id {
					delete(m.held, message)
				}
			}
			continue
		}
		m.folders[id] = f
	}
	for id, f := range m.folders {
		if f["@odata.type"] != "#microsoft.graph.mailSearchFolder" {
			m.syncFolder(id)
		}
	}
}

func (m *mailboxClient) syncFolder(id string) {
	m.Helper()
	link := m.links[id]
	if link == "" {
		link = "/users/" + m.upn + "/mailFolders/" + id + "/messages/delta?$select=subject,parentFolderId,isRead"
	}
	items, next, _ := m.round(link, "Prefer", immutable+", odata.maxpagesize=3")
	m.links[id] = next
	for _, it := range items {
		switch message := text(it, "id"); {
		case it["@removed"] == nil:
			m.held[message] = text(it, "parentFolderId")
		case m.held[message] == id: // not when it has turned up elsewhere meanwhile
			delete(m.held, message)
		}
	}
}

// check compares what the client knows with what is there.
func (m *mailboxClient) check(when string) {
	m.Helper()
	live := must(m.Messages(m.upn))
	want := map[string]string{}
	for _, l := range live {
		want[l.ID] = strings.Join(l.Folder, "/")
	}
	got := map[string]string{}
	for id, folder := range m.held {
		got[id] = m.folderPath(folder)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		m.Errorf("%s: the client holds %d messages, there are %d", when, len(got), len(want))
		for id := range want {
			if got[id] != want[id] {
				m.Errorf("  %s is in %q, the client thinks %q", id, want[id], got[id])
			}
		}
	}
}

func (m *mailboxClient) folderPath(id string) string {
	var path []string
	for f := m.folders[id]; f != nil; f = m.folders[text(f, "parentFolderId")] {
		path = append(path, text(f, "displayName"))
	}
	slices.Reverse(path)
	return strings.Join(path, "/")
}

// A client that does nothing but follow the deltas must know the mailbox after every round, whatever happened to it.
func TestMailDeltaFollowsEverything(t *testing.T) {
	for _, shuffled := range []bool{false, true} {
		t.Run(fmt.Sprintf("shuffled=%v", shuffled), func(t *testing.T) {
			c := start(t, 1)
			if shuffled {
				if err := c.Inject(Fault{Kind: FaultShuffle}); err != nil {
					t.Fatal(err)
				}
			}
			m := c.mailboxClient(c.opt.People[0].UPN)
			m.sync()
			m.check("at first")
			for seed := range uint64(12) {
				done := must(c.Mutate(seed, SomeOfEverything()))
				if len(done) < 20 {
					t.Fatalf("only %d changes were made", len(done))
				}
				m.sync()
				m.check(fmt.Sprintf("after the changes of seed %d", seed))
			}
			m.sync()
			m.check("after a round without changes")
		})
	}
}

func TestMailDeltaWithoutChangesIsEmpty(t *testing.T) {
	c := start(t, 1)
	_, link, _ := c.round("/users/"+c.opt.People[0].UPN+"/mailFolders/inbox/messages/delta", "Prefer", "odata.maxpagesize=500")
	items, again, pages := c.round(link)
	if len(items) != 0 || pages != 1 {
		t.Errorf("%d items on %d pages although nothing changed", len(items), pages)
	}
	if items, _, _ := c.round(again); len(items) != 0 {
		t.Errorf("%d items in the third round", len(items))
	}
}

// What changes between two pages of a round turns up in the same round or in the next.
func TestChangesBetweenPages(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	first := c.want("/users/"+upn+"/mailFolders/inbox/messages/delta", "Prefer", immutable+", odata.maxpagesize=5")
	seen := values(first)
	later := must(c.Messages(upn))
	inbox := slices.DeleteFunc(later, func(m LiveMessage) bool { return len(m.Folder) != 1 || m.Folder[0] != "Inbox" })
	apply := func(ch Change) string { ch.User = upn; return must(c.Apply(ch)) }
	apply(Change{Op: OpDeleteMessage, Item: inbox[0].ID})            // already seen
	apply(Change{Op: OpReadMessage, Item: inbox[1].ID})              // already seen
	apply(Change{Op: OpDeleteMessage, Item: inbox[len(inbox)-1].ID}) // not seen yet
	added := apply(Change{Op: OpAddMessage, Into: "inbox"})
	away := apply(Change{Op: OpMoveMessage, Item: inbox[len(inbox)-2].ID, Into: "archive"})
	rest, _, _ := c.round(first.json["@odata.nextLink"].(string), "Prefer", immutable+", odata.maxpagesize=5")
	got := state(append(seen, rest...))
	for id, want := range map[string]bool{inbox[0].ID: false, inbox[1].ID: true, inbox[len(inbox)-1].ID: false, added: true, away: false} {
		if _, have := got[id]; have != want {
			t.Errorf("%s: held = %v, want %v", id, have, want)
		}
	}
	if len(got) != len(inbox)-2 {
		t.Errorf("%d messages held, want %d", len(got), len(inbox)-2)
	}
}

func TestMoveKeepsImmutableIDOnly(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	folder := "/users/" + upn + "/mailFolders/inbox/messages/delta?$select=subject"
	mutable, mutableLink, _ := c.round(folder)
	fixed, fixedLink, _ := c.round(folder, "Prefer", immutable)
	if text(mutable[0], "id") == text(fixed[0], "id") {
		t.Fatal("both forms of the id are the same")
	}
	id := text(fixed[0], "id")
	if moved := must(c.Apply(Change{Op: OpMoveMessage, User: upn, Item: id, Into: "archive"})); moved != id {
		t.Errorf("the immutable id changed from %s to %s", id, moved)
	}
	c.want("/users/" + upn + "/messages/" + id)
	if a := c.get("/users/" + upn + "/messages/" + text(mutable[0], "id")); a.status != 404 {
		t.Errorf("the default id of the old folder: %d", a.status)
	}
	// Both links tell of the removal in the form of id that the request asks for.
	gone, _, _ := c.round(fixedLink, "Prefer", immutable)
	if len(gone) != 1 || text(gone[0], "id") != id || gone[0]["@removed"] == nil {
		t.Errorf("removal from the old folder: %v", gone)
	}
	gone, _, _ = c.round(mutableLink)
	if len(gone) != 1 || text(gone[0], "id") != text(mutable[0], "id") {
		t.Errorf("removal in the default form: %v", gone)
	}
	arrived, _, _ := c.round("/users/"+upn+"/mailFolders/archive/messages/delta", "Prefer", immutable)
	if !slices.Contains(names(arrived, "id"), id) {
		t.Error("the message is not in its new folder")
	}
}

func TestMessageBytes(t *testing.T) {
	c := start(t, 1, func(o *Options) { o.MessagesPerMailbox = 120 })
	upn := c.opt.People[0].UPN
	for i, l := range must(c.Messages(upn)) {
		a := c.want("/users/" + upn + "/messages/" + l.ID + "/$value")
		want := must(io.ReadAll(must(c.OpenMessage(upn, l.ID))))
		if !bytes.Equal(a.body, want) || int64(len(want)) != l.Size {
			t.Fatalf("message %d: %d bytes, want %d", i, len(a.body), l.Size)
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
			t.Errorf("Content-Type %q", a.header.Get("Content-Type"))
		}
		parsed, err := mail.ReadMessage(bytes.NewReader(a.body))
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		meta := c.want("/users/"+upn+"/messages/"+l.ID, "Prefer", immutable)
		if id := parsed.Header.Get("Message-Id"); id != text(meta.json, "internetMessageId") || decodeWords(parsed.Header.Get("Subject")) != text(meta.json, "subject") {
			t.Errorf("message %d: header and properties differ: %q, %q", i, id, parsed.Header.Get("Subject"))
		}
		if attachments := values(c.want("/users/" + upn + "/messages/" + l.ID + "/attachments")); meta.json["hasAttachments"] == true && len(attachments) == 0 {
			t.Errorf("message %d says that it has attachments", i)
		}
	}
}

func TestAttachmentValueEqualsContentBytes(t *testing.T) {
	c := start(t, 1, func(o *Options) { o.MessagesPerMailbox = 80 })
	upn, compared := c.opt.People[0].UPN, 0
	for _, l := range must(c.Messages(upn)) {
		path := "/users/" + upn + "/messages/" + l.ID + "/attachments"
		for _, a := range values(c.want(path)) {
			if a["@odata.type"] != "#microsoft.graph.fileAttachment" {
				continue
			}
			value := c.want(path + "/" + text(a, "id") + "/$value")
			want := must(base64.StdEncoding.DecodeString(text(a, "contentBytes")))
			if !bytes.Equal(value.body, want) || float64(len(want)) != a["size"] {
				t.Errorf("%s: %d bytes, want %d", text(a, "name"), len(value.body), len(want))
			}
			compared++
		}
	}
	if compared < 5 {
		t.Errorf("only %d attachments were compared", compared)
	}
}

// Mail that somebody else wrote comes back as it is, however broken.
func TestRawMessages(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	for name, raw := range map[string][]byte{
		"plain":         []byte("From: a@b.example\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\n\r\nHello\r\n"),
		"bare LF":       []byte("Subject: x\n\nbody\n"),
		"no header":     []byte("just text without anything"),
		"empty":         {},
		"not UTF-8":     []byte("Subject: \xff\xfe\x80\r\n\r\n\x00\x01\x02"),
		"bad multipart": []byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!"),
	} {
		id := must(c.AddMessage(upn, "Inbox/Projects", raw))
		if a := c.want("/users/" + upn + "/messages/" + id + "/$value"); !bytes.Equal(a.body, raw) {
			t.Errorf("%s: %q came back as %q", name, raw, a.body)
		}
		c.want("/users/" + upn + "/messages/" + id)
		c.want("/users/" + upn + "/messages/" + id + "/attachments")
		if _, err := c.Apply(Change{Op: OpEditMessage, User: upn, Item: id}); err == nil {
			t.Errorf("%s: it could be edited", name)
		}
	}
	with := must(c.AddMessage(upn, "inbox", []byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Disposition: attachment; filename=a\r\n\r\nb\r\n--x--\r\n")))
	if a := c.want("/users/" + upn + "/messages/" + with + "?$select=hasAttachments"); a.json["hasAttachments"] != true {
		t.Errorf("an attachment that is not told of: %s", a.body)
	}
	a := c.want("/users/"+upn+"/mailFolders/inbox/childFolders", "Prefer", immutable)
	if total := values(a)[0]["totalItemCount"].(float64); total < 6 {
		t.Errorf("the folder counts %v messages", total)
	}
}

func TestFolderTree(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	top := c.want("/users/" + upn + "/mailFolders?$top=100")
	if slices.Contains(names(values(top), "displayName"), "Conversation Action Settings") {
		t.Error("a hidden folder is listed without being asked for")
	}
	all, _, _ := c.round("/users/" + upn + "/mailFolders/delta?includeHiddenFolders=true&$select=displayName,parentFolderId,isHidden")
	byID := state(all)
	hidden, search, deepest := 0, 0, 0
	for _, f := range byID {
		depth := 1
		for p := byID[text(f, "parentFolderId")]; p != nil; p = byID[text(p, "parentFolderId")] {
			depth++
		}
		deepest = max(deepest, depth)
		if f["isHidden"] == true {
			hidden++
		}
		if f["@odata.type"] == "#microsoft.graph.mailSearchFolder" {
			search++
		}
	}
	if hidden != 2 || search != 1 || deepest < 4 {
		t.Errorf("hidden %d, search %d, depth %d; want 2, 1, at least 4", hidden, search, deepest)
	}
	shown, _, _ := c.round("/users/" + upn + "/mailFolders/delta")
	if len(shown) != len(all)-hidden {
		t.Errorf("%d folders without the hidden ones, %d with", len(shown), len(all))
	}
}

func TestReceivedFilter(t *testing.T) {
	c := start(t, 1)
	path := "/users/" + c.opt.People[0].UPN + "/mailFolders/inbox/messages/delta?$select=receivedDateTime"
	all, _, _ := c.round(path)
	dates := names(all, "receivedDateTime")
	middle := dates[len(dates)/2]
	some, link, _ := c.round(path+"&$filter=receivedDateTime+ge+"+middle, "Prefer", "odata.maxpagesize=3")
	if len(some) != len(dates)-len(dates)/2 || names(some, "receivedDateTime")[0] != middle {
		t.Errorf("%d messages since %s, of %v", len(some), middle, dates)
	}
	must(c.Apply(Change{Op: OpAddMessage, User: c.opt.People[0].UPN, Into: "inbox"})) // now: the filter still holds, and lets it pass
	if again, _, _ := c.round(link); len(again) != 1 {
		t.Errorf("%d messages in the next round", len(again))
	}
}
