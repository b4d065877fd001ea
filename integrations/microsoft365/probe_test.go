package microsoft365

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// granted refuses with status and body unless the tenant's token has one of the roles.
func (x *tenant) granted(h http.HandlerFunc, body string, need ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !msgraph.RolesOf(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")).Any(need...) {
			refuse(403, body)(w, r)
			return
		}
		h(w, r)
	}
}

func probeTenant(t *testing.T, roles ...string) *tenant {
	x := newTenant(t)
	x.roles, x.graph = roles, http.NewServeMux()
	directory, mail, files := graphError("Authorization_RequestDenied", ""), graphError("ErrorAccessDenied", "Access is denied."), graphError("accessDenied", "")
	x.graph.HandleFunc("GET /organization", x.granted(answer(`{"value":[{"displayName":"Contoso"}]}`), directory, "User.Read.All", "Organization.Read.All"))
	x.graph.HandleFunc("GET /users", x.granted(answer(`{"value":[{"id":"nobox","userPrincipalName":"room@contoso.test"},{"id":"anna","userPrincipalName":"anna@contoso.test"}]}`), directory, "User.Read.All"))
	x.graph.HandleFunc("GET /users/nobox/", refuse(404, graphError("MailboxNotEnabledForRESTAPI", "")))
	x.graph.HandleFunc("GET /users/anna/mailFolders/msgfolderroot", x.granted(answer(`{"id":"root"}`), mail, "Mail.Read", "Mail.ReadWrite", "Mail.ReadBasic.All"))
	x.graph.HandleFunc("GET /users/anna/messages", x.granted(answer(`{"value":[{"id":"m1"}]}`), mail, "Mail.Read", "Mail.ReadBasic.All"))
	x.graph.HandleFunc("GET /users/anna/messages/m1/$value", x.granted(answer(`Subject: x`), mail, "Mail.Read", "Mail.ReadWrite"))
	x.graph.HandleFunc("GET /users/anna/drive", x.granted(answer(`{"id":"d"}`), files, "Files.Read.All", "Sites.Read.All"))
	return x
}

func TestProbe(t *testing.T) {
	both := []backup.Service{backup.Mail, backup.Drive}
	tests := []struct {
		name    string
		roles   []string
		missing []string // permissions the error must name
		never   []string // and those it must not
	}{
		{"all there", []string{"User.Read.All", "Mail.Read", "Files.Read.All"}, nil, nil},
		{"more than asked for", []string{"User.Read.All", "Mail.ReadWrite", "Sites.Read.All"}, nil, nil},
		{"no mail", []string{"User.Read.All", "Files.Read.All"}, []string{"Mail.Read"}, []string{"Files.Read.All", "User.Read.All", "ReadBasic"}},
		{"mail without bodies", []string{"User.Read.All", "Mail.ReadBasic.All", "Files.Read.All"}, []string{"Mail.Read", "Mail.ReadBasic.All is not enough"}, []string{"Files"}},
		{"no files", []string{"User.Read.All", "Mail.Read"}, []string{"Files.Read.All"}, []string{"Mail.Read"}},
		{"neither", []string{"User.Read.All"}, []string{"Mail.Read", "Files.Read.All"}, []string{"User.Read.All"}},
		{"no people", []string{"Mail.Read", "Files.Read.All"}, []string{"User.Read.All"}, []string{"Mail", "Files"}},
		{"nothing consented", nil, []string{"User.Read.All", "Mail.Read", "Files.Read.All"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, err := probeTenant(t, tt.roles...).app().Probe(t.Context(), both)
			if tt.missing == nil {
				if err != nil || !strings.Contains(found, "Contoso") || !strings.Contains(found, "mail is readable (tried with anna@contoso.test)") || !strings.Contains(found, "drive is readable") {
					t.Fatalf("%q, %v", found, err)
				}
				return
			}
			e := wantCode(t, err, backup.CodeMissingRole)
			for _, m := range tt.missing {
				if !strings.Contains(e.Message, m) {
					t.Errorf("%q does not name %s", e.Message, m)
				}
			}
			for _, n := range tt.never {
				if strings.Contains(e.Message, n) {
					t.Errorf("%q names %s", e.Message, n)
				}
			}
			if !strings.Contains(e.Hint, "grant admin consent") {
				t.Errorf("hint %q", e.Hint)
			}
		})
	}
}

// A consent given after the token was issued counts: probing never trusts an old token.
func TestProbeSeesNewConsent(t *testing.T) {
	x := probeTenant(t, "User.Read.All")
	app := x.app()
	_, err := app.Probe(t.Context(), []backup.Service{backup.Mail})
	wantCode(t, err, backup.CodeMissingRole)
	x.roles = []string{"User.Read.All", "Mail.Read"}
	if _, err := app.Probe(t.Context(), []backup.Service{backup.Mail}); err != nil {
		t.Fatal(err)
	}
}

// Fenced mailboxes and people without one give no verdict; that is said.
func TestProbeWithNobodyToTry(t *testing.T) {
	x := probeTenant(t, "User.Read.All", "Mail.Read")
	x.graph = http.NewServeMux()
	x.graph.HandleFunc("GET /organization", refuse(403, graphError("Authorization_RequestDenied", "")))
	x.graph.HandleFunc("GET /users", answer(`{"value":[{"id":"a"},{"id":"b"}]}`))
	x.graph.HandleFunc("GET /users/a/", refuse(404, graphError("ErrorInvalidUser", "")))
	x.graph.HandleFunc("GET /users/b/", refuse(403, graphError("ErrorAccessDenied", "Access to OData is disabled")))
	found, err := x.app().Probe(t.Context(), []backup.Service{backup.Mail})
	if err != nil || !strings.Contains(found, "mail could not be tried") || !strings.Contains(found, "Organization.Read.All") {
		t.Fatalf("%q, %v", found, err)
	}
}

func TestProbeUnknownService(t *testing.T) {
	_, err := probeTenant(t, "User.Read.All").app().Probe(t.Context(), []backup.Service{"sites"})
	wantCode(t, err, backup.CodeBadConfig)
}

// An administrator consents after a backup failed: the next one must not go on with the token from before.
func TestConsentCountsAtOnce(t *testing.T) {
	x := probeTenant(t, "User.Read.All", "Mail.Read")
	x.graph.HandleFunc("GET /users/anna@contoso.test", answer(`{"id":"anna","userPrincipalName":"anna@contoso.test"}`))
	app, anna := x.app(), backup.Account{ID: "a1", Mail: "anna@contoso.test"}
	if _, err := app.Source(t.Context(), anna, backup.Drive); !backup.HasCode(err, backup.CodeMissingRole) {
		t.Fatalf("without the permission: %v", err)
	}
	x.roles = append(x.roles, "Files.Read.All")
	if _, err := app.Source(t.Context(), anna, backup.Drive); err != nil {
		t.Errorf("after the consent: %v", err)
	}
}
