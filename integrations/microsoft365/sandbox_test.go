package microsoft365

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
)

// world is a sandbox company and an adapter connected to it.
type world struct {
	*testing.T
	*graph.Server
	config  backup.Microsoft365Config
	app     *App
	adapter *Adapter
	people  []sandbox.Person

	mu    sync.Mutex
	waits []time.Duration
}

func newWorld(t *testing.T, edit ...func(*graph.Options)) *world {
	t.Helper()
	w := &world{T: t, people: sandbox.People(3, 25, "acme.example")}
	o := graph.Options{Seed: 3, People: w.people, ClientID: "11111111-2222-4333-8444-555555555555", ClientSecret: testSecret, MessagesPerMailbox: 60, FilesPerDrive: 20}
	for _, f := range edit {
		f(&o)
	}
	var err error
	if w.Server, err = graph.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Server.Close() })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, w.CA().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	w.config = backup.Microsoft365Config{DirectoryTenant: w.TenantID(), ClientID: o.ClientID, ClientSecret: "env:SECRET", LoginURL: w.LoginURL(), GraphURL: w.GraphURL(),
		DownloadHosts: []string{w.ContentHost()}, CAFile: ca}
	w.connect([]byte(testSecret))
	return w
}

// connect makes a new adapter; its waits are written down and not waited for.
func (w *world) connect(secret []byte) {
	w.Helper()
	wait := func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waits = append(w.waits, d)
		return ctx.Err()
	}
	w.adapter = New(Options{Secrets: func(context.Context, backup.SecretRef) ([]byte, error) { return secret, nil }, policy: msgraph.Policy{Wait: wait}})
	w.Cleanup(func() { w.adapter.Close() })
	var err error
	if w.app, err = w.adapter.ConnectApp(w.Context(), backup.Tenant{ID: "acme", Microsoft365: &w.config}, backup.Microsoft365); err != nil {
		w.Fatal(err)
	}
}

func (w *world) open(upn string, s backup.Service) Source {
	w.Helper()
	source, err := w.app.Source(w.Context(), backup.Account{ID: "a1", UPN: upn}, s)
	if err != nil {
		w.Fatal(err)
	}
	return source
}

// copied is a backup in memory, kept by the rules of the activities: the last change of an id wins, a removal counts unless the item is in
// another folder by the end of the round, and a full listing drops what it does not show.
type copied struct {
	cursor  json.RawMessage
	items   map[string]backup.Item
	content map[string]string // SHA-256 in hex
	fetched int               // contents fetched in the last round
	skips   map[backup.SkipReason]int
	calls   int64
}

func newCopy() *copied { return &copied{items: map[string]backup.Item{}, content: map[string]string{}} }

// follow brings the copy up to date.
func (c *copied) follow(t *testing.T, s Source) {
	t.Helper()
	if err := c.tryFollow(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func (c *copied) tryFollow(ctx context.Context, s Source) error {
	c.fetched, c.skips = 0, map[backup.SkipReason]int{}
	before := s.Calls()
	listed, removed := map[string]bool{}, map[[2]string]bool{}
	next, err := s.Changes(ctx, c.cursor, func(ch backup.Change) error {
		i := ch.Item
		listed[i.ID] = true
		if ch.Removed {
			removed[[2]string{i.ID, i.Parent}] = true
			return nil
		}
		delete(removed, [2]string{i.ID, i.Parent})
		return c.settle(ctx, s, i)
	})
	if err != nil {
		return err
	}
	for r := range removed {
		if i, ok := c.items[r[0]]; ok && (r[1] == "" || i.Parent == r[1]) {
			c.drop(r[0])
		}
	}
	if c.cursor == nil {
		for id := range c.items {
			if !listed[id] {
				c.drop(id)
			}
		}
	}
	c.cursor, c.calls = next, s.Calls()-before
	return nil
}

func (c *copied) drop(id string) {
	delete(c.items, id)
	delete(c.content, id)
	for child, i := range c.items {
		if i.Parent == id {
			c.drop(child)
		}
	}
}

func (c *copied) settle(ctx context.Context, s Source, i backup.Item) error {
	known, ok := c.items[i.ID]
	if !i.HasContent() {
		if i.Skip != "" {
			c.skips[i.Skip]++
		}
		c.items[i.ID] = i
		return nil
	}
	if ok && known.Version == i.Version && known.Hash == i.Hash && known.Skip == i.Skip {
		c.items[i.ID] = i
		return nil
	}
	c.fetched++
	var err error
	for range 3 {
		if err = c.fetch(ctx, s, i); err == nil || !backup.HasCode(err, backup.CodeBadResponse) {
			break
		}
	}
	var skip *backup.SkipError
	if errors.As(err, &skip) {
		i.Skip = skip.Reason
		c.items[i.ID] = i
		c.skips[skip.Reason]++
		return nil
	}
	if backup.HasCode(err, backup.CodeNotFound) {
		c.drop(i.ID)
		return nil
	}
	return err
}

func (c *copied) fetch(ctx context.Context, s Source, i backup.Item) error {
	i, body, err := s.Open(ctx, i)
	if err != nil {
		return err
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil {
		return err
	}
	c.items[i.ID], c.content[i.ID] = i, hex.EncodeToString(h.Sum(nil))
	return nil
}

// path is an item's names from the top.
func (c *copied) path(i backup.Item) string {
	names := []string{i.Name}
	for up, ok := c.items[i.Parent]; ok; up, ok = c.items[up.Parent] {
		names = append(names, up.Name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// wantMail compares the copy with the mailbox as it is now: ids, folders, subjects, bytes.
func (c *copied) wantMail(t *testing.T, w *world, upn string) {
	t.Helper()
	live, err := w.Messages(upn)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, m := range live {
		want = append(want, fmt.Sprintf("%s %s %s", m.ID, strings.Join(append(m.Folder, m.Subject), "/"), m.SHA256))
	}
	for id, i := range c.items {
		if i.Kind == backup.Message {
			got = append(got, fmt.Sprintf("%s %s %s", id, c.path(i), c.content[id]))
		}
	}
	compare(t, got, want)
}

// wantFiles compares the copy with the drive as it is now.
func (c *copied) wantFiles(t *testing.T, w *world, upn string) {
	t.Helper()
	live, err := w.Files(upn)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, f := range live {
		if f.Kind != "file" {
			f.SHA256 = ""
		}
		want = append(want, fmt.Sprintf("%s %s %s", f.ID, strings.Join(f.Path, "/"), f.SHA256))
	}
	for id, i := range c.items {
		got = append(got, fmt.Sprintf("%s %s %s", id, c.path(i), c.content[id]))
	}
	compare(t, got, want)
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(want) == 0 {
		t.Fatal("nothing to compare with")
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, g := range got {
		if _, found := slices.BinarySearch(want, g); !found {
			t.Errorf("in the copy only: %s", g)
		}
	}
	for _, w := range want {
		if _, found := slices.BinarySearch(got, w); !found {
			t.Errorf("at the service only: %s", w)
		}
	}
}

// mutate makes changes at the service, to one person's data only.
func (w *world) apply(changes ...graph.Change) []string {
	w.Helper()
	var ids []string
	for _, c := range changes {
		id, err := w.Apply(c)
		if err != nil {
			w.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestMailRound(t *testing.T) {
	w := newWorld(t)
	upn := w.people[0].UPN
	c := newCopy()
	c.follow(t, w.open(upn, backup.Mail))
	c.wantMail(t, w, upn)
	first := c.calls
	if c.fetched != 60 {
		t.Errorf("fetched %d of 60 messages", c.fetched)
	}

	folders := 0
	for _, i := range c.items {
		if i.Kind == backup.Folder {
			folders++
		}
	}
	c.follow(t, w.open(upn, backup.Mail))
	if c.fetched != 0 || c.calls != int64(1+folders) {
		t.Errorf("nothing changed: fetched %d, %d calls for %d folders", c.fetched, c.calls, folders)
	}

	live, err := w.Messages(upn)
	if err != nil {
		t.Fatal(err)
	}
	ids := w.apply(
		graph.Change{Op: graph.OpAddMailFolder, User: upn, Into: "inbox", Name: "Projects / 2026"},
		graph.Change{Op: graph.OpAddMessage, User: upn, Into: "inbox"},
		graph.Change{Op: graph.OpReadMessage, User: upn, Item: live[0].ID},
		graph.Change{Op: graph.OpEditMessage, User: upn, Item: live[1].ID},
		graph.Change{Op: graph.OpDeleteMessage, User: upn, Item: live[3].ID},
	)
	w.apply(
		graph.Change{Op: graph.OpMoveMessage, User: upn, Item: live[2].ID, Into: ids[0]},
		graph.Change{Op: graph.OpAddMessage, User: upn, Into: ids[0]},
	)
	c.follow(t, w.open(upn, backup.Mail))
	c.wantMail(t, w, upn)
	// added twice, read, edited, moved: at most five contents; folders, one more folder, and their calls.
	if c.fetched > 5 || c.calls > int64(2+folders+c.fetched) || c.calls >= first {
		t.Errorf("fetched %d with %d calls (first: %d)", c.fetched, c.calls, first)
	}

	w.apply(graph.Change{Op: graph.OpRenameMailFolder, User: upn, Item: ids[0], Name: "Renamed"}, graph.Change{Op: graph.OpMoveMailFolder, User: upn, Item: ids[0], Into: "archive"})
	c.follow(t, w.open(upn, backup.Mail))
	c.wantMail(t, w, upn)
	if c.fetched != 0 {
		t.Errorf("a renamed folder fetched %d messages", c.fetched)
	}

	w.apply(graph.Change{Op: graph.OpDeleteMailFolder, User: upn, Item: ids[0]})
	c.follow(t, w.open(upn, backup.Mail))
	c.wantMail(t, w, upn)
}

func TestDriveRound(t *testing.T) {
	w := newWorld(t)
	upn := w.people[0].UPN
	c := newCopy()
	c.follow(t, w.open(upn, backup.Drive))
	c.wantFiles(t, w, upn)
	if c.skips[backup.SkipMalware] != 1 || c.skips[backup.SkipShortcut] != 1 || c.skips[backup.SkipPackage] != 1 || c.fetched != 21 {
		t.Errorf("skipped %v, fetched %d", c.skips, c.fetched)
	}
	for id, i := range c.items {
		if strings.Contains(string(i.Meta), "/download/") {
			t.Errorf("a download address is kept with %s", id)
		}
	}
	c.follow(t, w.open(upn, backup.Drive))
	if c.fetched != 0 || c.calls != 1 {
		t.Errorf("nothing changed: fetched %d, %d calls", c.fetched, c.calls)
	}

	var files []graph.LiveFile
	live, err := w.Files(upn)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range live {
		if f.Kind == "file" {
			files = append(files, f)
		}
	}
	w.apply(
		graph.Change{Op: graph.OpAddFolder, User: upn, Into: "root", Name: "New"},
		graph.Change{Op: graph.OpAddFile, User: upn, Into: "New"},
		graph.Change{Op: graph.OpEditFile, User: upn, Item: files[0].ID},
		graph.Change{Op: graph.OpRenameItem, User: upn, Item: files[1].ID, Name: "renamed.bin"},
		graph.Change{Op: graph.OpMoveItem, User: upn, Item: files[2].ID, Into: "New"},
		graph.Change{Op: graph.OpDeleteItem, User: upn, Item: files[3].ID},
		// Moved and then deleted: the removal names a folder that the last backup does not know the file in.
		graph.Change{Op: graph.OpMoveItem, User: upn, Item: files[4].ID, Into: "New"},
		graph.Change{Op: graph.OpDeleteItem, User: upn, Item: files[4].ID},
	)
	c.follow(t, w.open(upn, backup.Drive))
	c.wantFiles(t, w, upn)
	if c.fetched != 2 || c.calls != 1+2*2 {
		t.Errorf("one file added and one edited: fetched %d with %d calls", c.fetched, c.calls)
	}
	w.apply(graph.Change{Op: graph.OpDeleteItem, User: upn, Item: "New"})
	c.follow(t, w.open(upn, backup.Drive))
	c.wantFiles(t, w, upn)
}

// Weeks of changes drawn at random, with a service that reorders, repeats and sends empty pages, throttles, cuts bodies, refuses good
// tokens and falls over: every round ends with the truth.
func TestRoundsUnderFaults(t *testing.T) {
	w := newWorld(t)
	for _, f := range []graph.Fault{
		{Kind: graph.FaultShuffle}, {Kind: graph.FaultThrottle, Every: 7, RetryAfter: 9}, {Kind: graph.FaultUnavailable, Every: 11}, {Kind: graph.FaultCut, Every: 5},
		{Kind: graph.FaultUnauthorized, Every: 13},
	} {
		if err := w.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	mail, files := map[string]*copied{}, map[string]*copied{}
	for round := range 4 {
		for _, p := range w.people[:4] {
			if mail[p.UPN] == nil {
				mail[p.UPN], files[p.UPN] = newCopy(), newCopy()
			}
			mail[p.UPN].follow(t, w.open(p.UPN, backup.Mail))
			mail[p.UPN].wantMail(t, w, p.UPN)
			files[p.UPN].follow(t, w.open(p.UPN, backup.Drive))
			files[p.UPN].wantFiles(t, w, p.UPN)
		}
		if _, err := w.Mutate(uint64(round), graph.Counts{MessagesAdded: 60, MessagesRead: 40, MessagesEdited: 20, MessagesMoved: 60, MessagesDeleted: 30, MailFoldersAdded: 10, MailFoldersRenamed: 10,
			FilesAdded: 40, FilesEdited: 30, FilesRenamed: 20, FilesMoved: 20, FilesDeleted: 20, FoldersAdded: 10}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(w.waits, 9*time.Second) {
		t.Error("nobody was throttled: the test proves nothing")
	}
}

// All tokens are revoked in the middle of a round: a new one is fetched, once.
func TestTokensExpire(t *testing.T) {
	w := newWorld(t)
	upn := w.people[0].UPN
	source := w.open(upn, backup.Mail)
	w.ResetCalls()
	seen := 0
	if _, err := source.Changes(t.Context(), nil, func(backup.Change) error {
		if seen++; seen == 30 {
			w.ExpireTokens()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if calls, _ := w.Calls(); calls[graph.CallToken] != 1 {
		t.Errorf("%d token requests", calls[graph.CallToken])
	}
}

// An expired delta token asks for a full listing, which fetches nothing that has not changed.
func TestDeltaExpires(t *testing.T) {
	for service, kind := range map[backup.Service]graph.Service{backup.Mail: graph.Mail, backup.Drive: graph.Drive} {
		t.Run(string(service), func(t *testing.T) {
			w := newWorld(t)
			upn := w.people[0].UPN
			c := newCopy()
			c.follow(t, w.open(upn, service))
			if err := w.ExpireDeltas(kind); err != nil {
				t.Fatal(err)
			}
			wantCode(t, c.tryFollow(t.Context(), w.open(upn, service)), backup.CodeCursorExpired)
			c.cursor = nil
			c.follow(t, w.open(upn, service))
			if c.fetched != 0 {
				t.Errorf("fetched %d again", c.fetched)
			}
		})
	}
}

func TestAccountsOfTheSandbox(t *testing.T) {
	w := newWorld(t)
	nobox := w.people[24]
	for _, s := range []backup.Service{backup.Mail, backup.Drive} {
		_, err := w.app.Source(t.Context(), backup.Account{UPN: nobox.UPN}, s)
		wantCode(t, err, backup.CodeNoService)
		_, err = w.app.Source(t.Context(), backup.Account{UPN: "nobody@acme.example"}, s)
		wantCode(t, err, backup.CodeNotFound)
	}
	fenced := w.people[1].UPN
	if err := w.Inject(graph.Fault{Kind: graph.FaultFence, User: fenced}); err != nil {
		t.Fatal(err)
	}
	_, err := w.app.Source(t.Context(), backup.Account{UPN: fenced}, backup.Mail)
	wantCode(t, err, backup.CodeFenced)
	w.open(w.people[0].UPN, backup.Mail)
}

func TestProbeOfTheSandbox(t *testing.T) {
	w := newWorld(t)
	both := []backup.Service{backup.Mail, backup.Drive}
	found, err := w.app.Probe(t.Context(), both)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(found)
	for _, role := range []string{"Mail.Read", "Files.Read.All", "User.Read.All"} {
		w.SetRoles(slices.DeleteFunc(graph.DefaultRoles(), func(r string) bool { return r == role })...)
		_, err := w.app.Probe(t.Context(), both)
		if e := wantCode(t, err, backup.CodeMissingRole); !strings.Contains(e.Message, role) {
			t.Errorf("without %s: %s", role, e.Message)
		}
	}
	w.SetRoles("User.Read.All", "Organization.Read.All", "Mail.ReadBasic.All", "Files.Read.All")
	_, err = w.app.Probe(t.Context(), both)
	if e := wantCode(t, err, backup.CodeMissingRole); !strings.Contains(e.Message, "Mail.ReadBasic.All is not enough") {
		t.Error(e.Message)
	}
	w.connect([]byte("wrong"))
	_, err = w.app.Probe(t.Context(), both)
	wantCode(t, err, backup.CodeBadCredential)
}

// The sandbox verifies the assertion's signature, audience and times.
func TestCertificateOfTheSandbox(t *testing.T) {
	pemFile := newCertificate(t)
	block, _ := pem.Decode(pemFile)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *graph.Options) { o.ClientSecret, o.ClientCertificates = "", []*x509.Certificate{cert} })
	w.config.ClientSecret, w.config.ClientCertificate = "", "file:/app.pem"
	w.connect(pemFile)
	if _, err := w.app.Probe(t.Context(), []backup.Service{backup.Mail}); err != nil {
		t.Fatal(err)
	}
	w.connect(newCertificate(t))
	_, err = w.app.Probe(t.Context(), nil)
	if e := wantCode(t, err, backup.CodeBadCredential); !strings.Contains(e.Error(), "AADSTS700027") {
		t.Error(e.Error())
	}
}

// Contents of single items that cannot be had, and one whose hash is not known yet.
func TestItemFaults(t *testing.T) {
	w := newWorld(t)
	upn := w.people[0].UPN
	messages, err := w.Messages(upn)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range []graph.Fault{{Kind: graph.FaultCorrupt}, {Kind: graph.FaultTooLarge}} {
		f.Item = messages[i].ID
		if err := w.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Inject(graph.Fault{Kind: graph.FaultNoHash, User: upn}); err != nil {
		t.Fatal(err)
	}
	c := newCopy()
	c.follow(t, w.open(upn, backup.Mail))
	if c.skips[backup.SkipCorrupt] != 1 || c.skips[backup.SkipTooLarge] != 1 || c.fetched != 60 {
		t.Errorf("%v of %d", c.skips, c.fetched)
	}
	c = newCopy()
	c.follow(t, w.open(upn, backup.Drive))
	c.wantFiles(t, w, upn)
}

// Content that nobody made up comes back as it went in, whatever its size.
func TestBytesAsTheyAre(t *testing.T) {
	w := newWorld(t)
	upn := w.people[0].UPN
	contents := map[string][]byte{}
	put := func(service backup.Service, raw []byte) {
		t.Helper()
		var id string
		var err error
		if service == backup.Mail {
			id, err = w.AddMessage(upn, "inbox", raw)
		} else {
			id, err = w.AddFile(upn, "root", fmt.Sprintf("%d bytes", len(raw)), raw)
		}
		if err != nil {
			t.Fatal(err)
		}
		contents[id] = raw
	}
	mime := func(n int) []byte {
		return append([]byte("Subject: bytes\r\nContent-Type: application/octet-stream\r\n\r\n"), noise(n)...)
	}
	for _, n := range []int{0, 1, window - 1, window, window + 1, 5 << 20} {
		put(backup.Drive, noise(n))
		put(backup.Mail, mime(n))
	}
	for _, s := range []backup.Service{backup.Mail, backup.Drive} {
		source := w.open(upn, s)
		if _, err := source.Changes(t.Context(), nil, func(c backup.Change) error {
			want, ours := contents[c.Item.ID]
			if !ours {
				return nil
			}
			delete(contents, c.Item.ID)
			_, body, err := source.Open(t.Context(), c.Item)
			if err != nil {
				return err
			}
			defer body.Close()
			got, err := io.ReadAll(body)
			if err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("%s: %d bytes, want %d", c.Item.Name, len(got), len(want))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(contents) != 0 {
		t.Errorf("%d were never listed", len(contents))
	}
}

// Several contents at once of one mailbox, beside its change feed, stay within what Outlook allows.
func TestMailboxConcurrency(t *testing.T) {
	w := newWorld(t)
	if err := w.Inject(graph.Fault{Kind: graph.FaultSlow, DelayMillis: 5}); err != nil {
		t.Fatal(err)
	}
	source := w.open(w.people[0].UPN, backup.Mail)
	items := make(chan backup.Item)
	var workers sync.WaitGroup
	for range source.Parallel() {
		workers.Go(func() {
			for i := range items {
				_, body, err := source.Open(t.Context(), i)
				if err != nil {
					t.Error(err)
					continue
				}
				io.Copy(io.Discard, body)
				body.Close()
			}
		})
	}
	_, err := source.Changes(t.Context(), nil, func(c backup.Change) error {
		if c.Item.HasContent() {
			items <- c.Item
		}
		return nil
	})
	close(items)
	workers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if len(w.waits) != 0 {
		t.Errorf("throttled %d times", len(w.waits))
	}
}

// A round that is cancelled ends soon and leaves nothing behind (goleak looks).
func TestCancelledRound(t *testing.T) {
	w := newWorld(t)
	if err := w.Inject(graph.Fault{Kind: graph.FaultSlow, DelayMillis: 60_000, On: graph.CallMessageDelta}); err != nil {
		t.Fatal(err)
	}
	source := w.open(w.people[0].UPN, backup.Mail)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := newCopy().tryFollow(ctx, source); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Fatalf("%v after %v", err, time.Since(began))
	}
}
