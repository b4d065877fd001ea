package entra

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
)

// tenant is a sandbox tenant, and who is known of it after the reads so far.
type tenant struct {
	*testing.T
	*graph.Server
	config backup.EntraConfig
	rules  []string // groups that profiles go by
	people []sandbox.Person
	secret []byte
	known  known
	cursor backup.DirectoryCursor
}

const crowd = 5000

func newTenant(t *testing.T, edit ...func(*graph.Options)) *tenant {
	t.Helper()
	x := &tenant{T: t, people: sandbox.People(3, 25, "acme.example"), secret: []byte("a secret"), known: known{}}
	o := graph.Options{Seed: 3, People: x.people, Crowd: crowd, ClientID: "11111111-2222-4333-8444-555555555555", ClientSecret: "a secret",
		Roles: []string{"User.Read.All", "GroupMember.Read.All", "MailboxSettings.Read", "Organization.Read.All"}}
	for _, f := range edit {
		f(&o)
	}
	var err error
	if x.Server, err = graph.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Server.Close() })
	ca := ""
	if x.CA() != nil {
		ca = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, x.CA().PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x.config = backup.EntraConfig{DirectoryTenant: x.TenantID(), ClientID: o.ClientID, ClientSecret: "env:SECRET", LoginURL: x.LoginURL(), GraphURL: x.GraphURL(), CAFile: ca}
	return x
}

// open makes a new adapter, as a restarted worker would. Its waits are not waited for.
func (x *tenant) open() *Directory {
	x.Helper()
	a := New(Options{Secrets: func(context.Context, backup.SecretRef) ([]byte, error) { return x.secret, nil },
		policy: msgraph.Policy{Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}})
	x.Cleanup(func() { a.Close() })
	tenant := backup.Tenant{ID: "acme", Profiles: []backup.ProfileRule{{Name: "rule", When: backup.ProfileCondition{Groups: x.rules}}}}
	d, err := a.OpenDirectory(x.Context(), tenant, backup.DirectoryConfig{Name: "entra", Kind: backup.Entra, Entra: &x.config})
	if err != nil {
		x.Fatal(err)
	}
	return d
}

// read reads on from the last cursor by the rules of an import: a full read forgets whom it does not show. told are the entries, gone the ids.
func (x *tenant) read() (end backup.ReadEnd, told []backup.DirectoryEntry, gone []string) {
	x.Helper()
	end, told, gone, err := x.try()
	if err != nil {
		x.Fatal(err)
	}
	return end, told, gone
}

func (x *tenant) try() (end backup.ReadEnd, told []backup.DirectoryEntry, gone []string, err error) {
	seen := known{}
	if end, err = x.open().Read(x.Context(), backup.ReadFrom{Since: x.cursor}, func(p backup.EntryPage) error {
		told, gone = append(told, p.Entries...), append(gone, p.Gone...)
		return seen.take(p)
	}); err != nil {
		return end, nil, nil, err
	}
	if end.Mode == backup.FullRead {
		x.known = known{}
	}
	x.known.take(backup.EntryPage{Entries: told, Gone: gone})
	for id, e := range seen {
		x.known[id] = e
	}
	x.cursor = end.Cursor
	return end, told, gone, nil
}

func (x *tenant) change(c graph.Change) string {
	x.Helper()
	id, err := x.Apply(c)
	if err != nil {
		x.Fatal(err)
	}
	return id
}

func (x *tenant) edit(name string, edit func(*graph.Account)) {
	x.Helper()
	a, _, ok := x.Account(name)
	if !ok {
		x.Fatalf("nobody is called %q", name)
	}
	edit(&a)
	x.change(graph.Change{Op: graph.OpEditUser, User: name, Account: &a})
}

func (x *tenant) inject(faults ...graph.Fault) {
	x.Helper()
	for _, f := range faults {
		if err := x.Inject(f); err != nil {
			x.Fatal(err)
		}
	}
}

func member(n int) string { return fmt.Sprintf("crowd%d@acme.example", n) }

// leastCalls is how many requests a read of so many cannot do without: the pages.
func leastCalls(people int) int64 { return int64(people+998) / 999 }

func TestEveryChangeIsSeenExactlyOnce(t *testing.T) {
	x := newTenant(t)
	end, told, gone := x.read()
	if end.Mode != backup.FullRead || len(x.known) != x.Users() || len(told) != x.Users() || len(gone) != 0 || end.Calls != leastCalls(x.Users()) {
		t.Fatalf("%d of %d, %d gone: %+v", len(x.known), x.Users(), len(gone), end)
	}
	if end, told, gone = x.read(); end.Mode != backup.ChangesRead || end.Calls != 1 || len(told)+len(gone) != 0 {
		t.Fatalf("nothing changed, and %d are told, %d gone: %+v", len(told), len(gone), end)
	}
	var added string
	steps := []struct {
		name  string
		do    func()
		right func(told []backup.DirectoryEntry, gone []string) bool
	}{
		{"create", func() {
			added = x.change(graph.Change{Op: graph.OpAddUser, Account: &graph.Account{UPN: "new@acme.example", Mail: "new@acme.example", DisplayName: "New"}})
		}, func(told []backup.DirectoryEntry, _ []string) bool {
			return told[0].ID == added && told[0].Mail == "new@acme.example"
		}},
		{"rename", func() { x.edit(member(100), func(a *graph.Account) { a.DisplayName = "Renamed" }) },
			func(told []backup.DirectoryEntry, _ []string) bool { return told[0].DisplayName == "Renamed" }},
		{"UPN and mail", func() {
			x.edit("new@acme.example", func(a *graph.Account) {
				a.UPN, a.Mail, a.Aliases = "newer@acme.example", "newer@acme.example", []string{"new@acme.example"}
			})
		}, func(told []backup.DirectoryEntry, _ []string) bool {
			return told[0].ID == added && told[0].UPN == "newer@acme.example" && slices.Equal(told[0].Aliases, []string{"new@acme.example"})
		}},
		{"disable", func() { x.edit(member(101), func(a *graph.Account) { a.Disabled = true }) },
			func(told []backup.DirectoryEntry, _ []string) bool { return told[0].Disabled }},
		{"delete", func() { x.change(graph.Change{Op: graph.OpDeleteUser, User: added}) },
			func(_ []backup.DirectoryEntry, gone []string) bool { return gone[0] == added }},
		{"restore", func() { x.change(graph.Change{Op: graph.OpRestoreUser, User: added}) },
			func(told []backup.DirectoryEntry, _ []string) bool { return told[0].ID == added }},
		{"delete for good", func() {
			x.change(graph.Change{Op: graph.OpDeleteUser, User: added})
			x.change(graph.Change{Op: graph.OpPurgeUser, User: added})
		}, func(_ []backup.DirectoryEntry, gone []string) bool { return gone[0] == added }},
	}
	for _, s := range steps {
		s.do()
		end, told, gone := x.read()
		if end.Mode != backup.ChangesRead || len(told)+len(gone) != 1 || !s.right(told, gone) {
			t.Fatalf("%s: %+v gone %v, %+v", s.name, told, gone, end)
		}
		if _, told, gone = x.read(); len(told)+len(gone) != 0 {
			t.Errorf("%s is told again: %+v %v", s.name, told, gone)
		}
	}
	if len(x.known) != x.Users() {
		t.Errorf("%d are known of %d", len(x.known), x.Users())
	}
}

// A change whose object comes without its properties is not taken for one whose properties were cleared.
func TestPartialObjectsAreFetched(t *testing.T) {
	x := newTenant(t)
	x.read()
	for n := range 45 {
		x.edit(member(100+n), func(a *graph.Account) { a.Department = "Moved" })
	}
	x.change(graph.Change{Op: graph.OpAddUser, Account: &graph.Account{UPN: "new@acme.example", DisplayName: "New"}})
	x.inject(graph.Fault{Kind: graph.FaultPartial}, graph.Fault{Kind: graph.FaultThrottle, On: graph.CallUser, Every: 9})
	_, told, gone := x.read()
	if len(told) != 46 || len(gone) != 0 || told[0].Department != "Moved" || told[0].UPN == "" {
		t.Errorf("%d told, %d gone: %+v", len(told), len(gone), told[0])
	}
}

func (x *tenant) id(name string) string {
	_, id, _ := x.Account(name)
	return id
}

func TestExpiryIsNoAbsence(t *testing.T) {
	x := newTenant(t)
	x.read()
	old := x.cursor
	x.Advance(8 * 24 * time.Hour)
	if _, told, gone, err := x.try(); !backup.HasCode(err, backup.CodeCursorExpired) || len(told)+len(gone) != 0 {
		t.Fatalf("%d told, %d gone, %v", len(told), len(gone), err)
	}
	x.cursor = nil
	if end, _, gone := x.read(); end.Mode != backup.FullRead || len(gone) != 0 || len(x.known) != x.Users() {
		t.Errorf("%d known, %d gone, %+v", len(x.known), len(gone), end)
	}
	// A page of a round that was left for a week.
	var from backup.ReadFrom
	stop := errors.New("stop")
	if _, err := x.open().Read(t.Context(), from, func(p backup.EntryPage) error { from.Resume = p.Resume; return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	x.Advance(8 * 24 * time.Hour)
	if _, err := x.open().Read(t.Context(), from, known{}.take); !backup.HasCode(err, backup.CodeCursorExpired) {
		t.Errorf("an old page: %v", err)
	}
	x.cursor = old
	if err := x.ExpireDeltas(graph.Directory); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := x.try(); !backup.HasCode(err, backup.CodeCursorExpired) {
		t.Errorf("tokens taken back: %v", err)
	}
}

// What the service does to a read changes nothing of its result.
func TestFaultsChangeNothing(t *testing.T) {
	for name, faults := range map[string][]graph.Fault{
		"a tenth throttled":  {{Kind: graph.FaultThrottle, Every: 10}},
		"half throttled":     {{Kind: graph.FaultThrottle, Every: 2, RetryAfter: 5}},
		"cut connections":    {{Kind: graph.FaultCut, On: graph.CallUserDelta, Every: 3}},
		"order and repeats":  {{Kind: graph.FaultShuffle}},
		"all of these":       {{Kind: graph.FaultThrottle, Every: 5}, {Kind: graph.FaultCut, Every: 4}, {Kind: graph.FaultShuffle}, {Kind: graph.FaultUnavailable, Every: 7}},
		"tokens not trusted": {{Kind: graph.FaultUnauthorized, Every: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTenant(t)
			x.inject(faults...)
			x.read()
			if len(x.known) != x.Users() {
				t.Errorf("%d are known of %d", len(x.known), x.Users())
			}
			for n := range 30 {
				x.edit(member(200+n), func(a *graph.Account) { a.Department = "Moved" })
				x.change(graph.Change{Op: graph.OpDeleteUser, User: member(300 + n)})
			}
			if end, _, _ := x.read(); end.Mode != backup.ChangesRead || len(x.known) != x.Users() || x.known[x.id(member(200))].Department != "Moved" {
				t.Errorf("%d are known of %d after changes, %+v", len(x.known), x.Users(), end)
			}
		})
	}
}

// A service that does not recover ends the read with an error; nobody is said to be gone.
func TestOutageEndsTheRead(t *testing.T) {
	x := newTenant(t)
	x.read()
	for kind, code := range map[graph.FaultKind]backup.Code{graph.FaultThrottle: backup.CodeThrottled, graph.FaultUnauthorized: backup.CodeBadCredential} {
		x.inject(graph.Fault{Kind: kind, On: graph.CallUserDelta})
		if _, _, gone, err := x.try(); !backup.HasCode(err, code) || len(gone) != 0 {
			t.Errorf("%s: %v", kind, err)
		}
		x.ClearFaults()
	}
	x.inject(graph.Fault{Kind: graph.FaultCut, On: graph.CallUserDelta})
	if _, _, _, err := x.try(); err == nil {
		t.Error("pages that break off end a read well")
	}
}

func TestKilledBehindAnyPage(t *testing.T) {
	x := newTenant(t)
	killed := errors.New("killed")
	pages := int(leastCalls(x.Users()))
	for at := 1; at <= pages; at++ {
		k, n := known{}, 0
		var from backup.ReadFrom
		_, err := x.open().Read(t.Context(), from, func(p backup.EntryPage) error {
			if n++; n == at {
				return killed // before it was kept
			}
			from.Resume = p.Resume
			return k.take(p)
		})
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		before := len(k)
		x.edit(member(50), func(a *graph.Account) { a.DisplayName = fmt.Sprint("Renamed ", at) })
		end, err := x.open().Read(t.Context(), from, k.take)
		if err != nil || len(k) != x.Users() || k[x.id(member(50))].DisplayName != fmt.Sprint("Renamed ", at) || len(end.Cursor) == 0 {
			t.Fatalf("killed at page %d with %d: %d of %d, %v", at, before, len(k), x.Users(), err)
		}
	}
}

func TestMissingPermissionsAreNamed(t *testing.T) {
	x := newTenant(t)
	g := x.change(graph.Change{Op: graph.OpAddGroup, Name: "all"})
	x.change(graph.Change{Op: graph.OpJoinGroup, User: x.people[0].UPN, Into: g})
	x.config.Groups, x.config.SharedMailboxes = []string{g}, true
	if found, err := x.open().Probe(t.Context()); err != nil || !strings.Contains(found, "Sandbox acme.example") {
		t.Errorf("%q %v", found, err)
	}
	x.edit(x.people[0].UPN, func(a *graph.Account) { a.Disabled = true })
	all := x.Roles()
	for _, role := range []string{"User.Read.All", "GroupMember.Read.All", "MailboxSettings.Read"} {
		x.SetRoles(all...)
		x.RemoveRole(role)
		x.cursor = nil
		_, probe := x.open().Probe(t.Context())
		_, _, _, read := x.try()
		for what, err := range map[string]error{"probe": probe, "read": read} {
			if !backup.HasCode(err, backup.CodeMissingRole) || !strings.Contains(err.Error(), role) {
				t.Errorf("%s without %s: %v", what, role, err)
			}
		}
	}
	x.SetRoles("Directory.Read.All")
	x.config.SharedMailboxes = false
	if _, err := x.open().Probe(t.Context()); err != nil {
		t.Errorf("with the permission that includes the others: %v", err)
	}
}

func TestFilters(t *testing.T) {
	x := newTenant(t, func(o *graph.Options) { o.Crowd = 100 })
	x.change(graph.Change{Op: graph.OpAddUser, Account: &graph.Account{UPN: "guest@acme.example", Mail: "guest@elsewhere.example", DisplayName: "Guest", Guest: true}})
	x.change(graph.Change{Op: graph.OpAddUser, Account: &graph.Account{UPN: "desk@acme.example", Mail: "desk@acme.example", DisplayName: "Desk", Disabled: true, Purpose: "shared"}})
	x.change(graph.Change{Op: graph.OpAddUser, Account: &graph.Account{UPN: "room@acme.example", Mail: "room@acme.example", DisplayName: "Room", Disabled: true, Purpose: "room"}})
	for _, n := range []int{50, 51} {
		x.edit(member(n), func(a *graph.Account) {
			a.ExtensionAttributes, a.JobTitle = map[string]string{"extensionAttribute3": "Yes"}, fmt.Sprint("Title ", n)
		})
	}
	all := x.Users()
	unlicensed := 3 // guest, desk and room
	for _, p := range x.people {
		if p.NoMailbox {
			unlicensed++
		}
	}
	for _, tt := range []struct {
		name string
		set  func(*backup.EntraConfig)
		want int
	}{
		{"all but guests", func(*backup.EntraConfig) {}, all - 1},
		{"guests too", func(c *backup.EntraConfig) { c.Guests = true }, all},
		{"licensed", func(c *backup.EntraConfig) { c.Licensed = true }, all - unlicensed},
		{"by extension attribute", func(c *backup.EntraConfig) { c.Attributes = map[string][]string{"extensionAttribute3": {"yes"}} }, 2},
		{"by two attributes", func(c *backup.EntraConfig) {
			c.Attributes = map[string][]string{"extensionAttribute3": {"yes"}, "jobTitle": {"title 51", "other"}}
		}, 1},
		{"shared mailboxes", func(c *backup.EntraConfig) { c.SharedMailboxes = true }, all - 1},
	} {
		plain := x.config
		tt.set(&x.config)
		x.cursor = nil
		x.read()
		if len(x.known) != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, len(x.known), tt.want)
		}
		if x.config.SharedMailboxes && (x.known[x.id("desk@acme.example")].Kind != backup.SharedMailbox || x.known[x.id("room@acme.example")].Kind != backup.RoomMailbox) {
			t.Errorf("%+v", x.known[x.id("desk@acme.example")])
		}
		x.config = plain
	}
	// Whoever stops being selected is gone, and comes back with the licence.
	x.config.Licensed, x.cursor = true, nil
	x.read()
	x.edit(member(60), func(a *graph.Account) { a.Licensed = false })
	if _, told, gone := x.read(); len(told) != 0 || !slices.Equal(gone, []string{x.id(member(60))}) {
		t.Errorf("without licence: %+v %v", told, gone)
	}
	x.edit(member(60), func(a *graph.Account) { a.Licensed = true })
	if _, told, gone := x.read(); len(told) != 1 || len(gone) != 0 {
		t.Errorf("with a licence again: %+v %v", told, gone)
	}
}

func TestCertificateLogin(t *testing.T) {
	file, cert := newCertificate(t)
	x := newTenant(t, func(o *graph.Options) {
		o.Crowd, o.ClientSecret, o.ClientCertificates = 10, "", []*x509.Certificate{cert}
	})
	x.config.ClientSecret, x.config.ClientCertificate, x.secret = "", "file:/app.pem", file
	if x.read(); len(x.known) != x.Users() {
		t.Errorf("%d of %d", len(x.known), x.Users())
	}
	x.secret, _ = newCertificate(t)
	if _, _, _, err := x.try(); !backup.HasCode(err, backup.CodeBadCredential) {
		t.Errorf("another certificate: %v", err)
	}
}

// newCertificate makes a self-signed one, as PEM with its key.
func newCertificate(t *testing.T) (file []byte, cert *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), cert
}
