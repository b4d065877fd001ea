//go:build odatalint

package entra

import (
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph/judge"
)

// TestODataLint makes every call there is, with good and bad answers, and wants no finding of the kind ERROR. See package judge.
func TestODataLint(t *testing.T) {
	x := newTenant(t, func(o *graph.Options) { o.PlainHTTP, o.Crowd = true, 2500 })
	judged, verdict := judge.Start(t, x.Server.LoginURL())
	names := map[string]string{}
	front := judge.Front(t, judged, names)
	names[judged] = front.URL
	ca := filepath.Join(t.TempDir(), "front.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	x.config.LoginURL, x.config.GraphURL, x.config.CAFile = front.URL, front.URL+"/v1.0", ca
	makeEveryCall(t, x)
	verdict()
}

func makeEveryCall(t *testing.T, x *tenant) {
	inner, outer := x.change(graph.Change{Op: graph.OpAddGroup, Name: "inner"}), x.change(graph.Change{Op: graph.OpAddGroup, Name: "outer"})
	x.change(graph.Change{Op: graph.OpJoinGroup, Item: inner, Into: outer})
	for n := range 1200 {
		x.change(graph.Change{Op: graph.OpJoinGroup, User: member(100 + n), Into: inner})
	}
	x.change(graph.Change{Op: graph.OpAddUser, Account: &graph.Account{UPN: "desk@acme.example", Mail: "desk@acme.example", DisplayName: "Desk", Disabled: true, Purpose: "shared"}})
	x.change(graph.Change{Op: graph.OpJoinGroup, User: "desk@acme.example", Into: outer})
	x.config.Groups, x.config.SharedMailboxes, x.config.Licensed = []string{outer}, true, false
	all := x.Roles()
	if _, err := x.open().Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.SetRoles()
	if _, err := x.open().Probe(t.Context()); !backup.HasCode(err, backup.CodeMissingRole) {
		t.Fatal(err)
	}
	x.SetRoles(all...)
	x.inject(graph.Fault{Kind: graph.FaultThrottle, Every: 7})
	x.read()
	x.inject(graph.Fault{Kind: graph.FaultPartial})
	for n := range 30 {
		x.edit(member(100+n), func(a *graph.Account) { a.DisplayName = fmt.Sprint("Renamed ", n) })
		x.change(graph.Change{Op: graph.OpDeleteUser, User: member(1500 + n)})
	}
	x.read()
	x.leave(inner, numbers(200, 3)...)
	x.join(outer, 1800)
	x.put(outer, inner)
	x.read()
	x.change(graph.Change{Op: graph.OpDeleteGroup, Item: inner})
	x.read()
	if err := x.ExpireDeltas(graph.Groups); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := x.try(); !backup.HasCode(err, backup.CodeCursorExpired) {
		t.Fatal(err)
	}
	x.config.Groups, x.config.Licensed, x.config.Guests, x.cursor = nil, true, true, nil
	x.config.Attributes = map[string][]string{"extensionAttribute3": {"yes"}, "jobTitle": {"boss"}}
	x.edit(member(200), func(a *graph.Account) {
		a.JobTitle, a.ExtensionAttributes = "boss", map[string]string{"extensionAttribute3": "yes"}
	})
	if x.read(); len(x.known) != 1 {
		t.Fatalf("%d by attributes", len(x.known))
	}
	x.Advance(8 * 24 * time.Hour)
	if _, _, _, err := x.try(); !backup.HasCode(err, backup.CodeCursorExpired) {
		t.Fatal(err)
	}
	x.cursor = nil
	stop := errors.New("stop")
	if _, err := x.open().Read(t.Context(), backup.ReadFrom{}, func(backup.EntryPage) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
}
