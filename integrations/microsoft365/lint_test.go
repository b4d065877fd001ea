//go:build odatalint

package microsoft365

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph/judge"
)

// TestODataLint puts a judge of Microsoft Graph traffic between the adapter and the sandbox, makes every call there is, and wants no
// finding of the kind ERROR. scripts/lint-graph.sh runs it; the judge is a program outside of this repository, named by
// HOLDFAST_ODATA_LINT, that is started as "python3 PROGRAM proxy --upstream URL --listen HOST:PORT" and exits with 1 when it found one.
//
// The judge speaks plain HTTP and the adapter TLS only, so a small TLS server stands before the judge.
func TestODataLint(t *testing.T) {
	w := &world{T: t, people: sandbox.People(3, 25, "acme.example")}
	o := graph.Options{Seed: 3, People: w.people, ClientID: "11111111-2222-4333-8444-555555555555", ClientSecret: testSecret, MessagesPerMailbox: 300, FilesPerDrive: 220, PlainHTTP: true}
	var err error
	if w.Server, err = graph.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Server.Close() })
	judged, verdict := judge.Start(t, w.LoginURL())

	names := map[string]string{}
	contents := judge.Front(t, "http://"+w.ContentHost(), names)
	front := judge.Front(t, judged, names)
	names[judged], names["http://"+w.ContentHost()] = front.URL, contents.URL
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w.config = backup.Microsoft365Config{DirectoryTenant: w.TenantID(), ClientID: o.ClientID, ClientSecret: "env:SECRET", LoginURL: front.URL, GraphURL: front.URL + "/v1.0",
		DownloadHosts: []string{strings.TrimPrefix(contents.URL, "https://")}, CAFile: ca}
	w.connect([]byte(testSecret))
	makeEveryCall(t, w)
	verdict()
}

// makeEveryCall probes, backs up, changes and backs up again, with good and bad answers.
func makeEveryCall(t *testing.T, w *world) {
	both := []backup.Service{backup.Mail, backup.Drive}
	if _, err := w.app.Probe(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	w.SetRoles("User.Read.All", "Mail.ReadBasic.All")
	if _, err := w.app.Probe(t.Context(), both); !backup.HasCode(err, backup.CodeMissingRole) {
		t.Fatal(err)
	}
	w.SetRoles(graph.DefaultRoles()...)
	if _, err := w.app.Probe(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	for _, p := range []sandbox.Person{w.people[24], {UPN: "nobody@acme.example"}} {
		for _, s := range both {
			if _, err := w.app.Source(t.Context(), backup.Account{UPN: p.UPN}, s); err == nil {
				t.Fatalf("%s has %s", p.UPN, s)
			}
		}
	}
	if err := w.Inject(graph.Fault{Kind: graph.FaultThrottle, Every: 50}); err != nil {
		t.Fatal(err)
	}
	mail, files, upn := newCopy(), newCopy(), w.people[0].UPN
	for round := range 3 {
		mail.follow(t, w.open(upn, backup.Mail))
		mail.wantMail(t, w, upn)
		files.follow(t, w.open(upn, backup.Drive))
		files.wantFiles(t, w, upn)
		if _, err := w.Mutate(uint64(round), graph.Counts{MessagesAdded: 100, MessagesRead: 100, MessagesEdited: 50, MessagesMoved: 100, MessagesDeleted: 50, MailFoldersAdded: 30,
			MailFoldersRenamed: 20, FilesAdded: 100, FilesEdited: 50, FilesRenamed: 50, FilesMoved: 50, FilesDeleted: 30, FoldersAdded: 30}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.ExpireDeltas(graph.Mail), w.ExpireDeltas(graph.Drive)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, mail.tryFollow(t.Context(), w.open(upn, backup.Mail)), backup.CodeCursorExpired)
	wantCode(t, files.tryFollow(t.Context(), w.open(upn, backup.Drive)), backup.CodeCursorExpired)
}
