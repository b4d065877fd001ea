package scim_test

import (
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/scim"
	"github.com/holdfast-backup/holdfast/integrations/scim/conformance"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// TestConformance runs the script over TLS against the real store.
func TestConformance(t *testing.T) {
	store, err := sqlstore.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.SaveTenant(t.Context(), backup.Tenant{ID: "acme", Name: "Acme"}); err != nil {
		t.Fatal(err)
	}
	token := backup.SCIMToken{SCIMScope: backup.SCIMScope{Tenant: "acme", Directory: "entra"}, Label: "one", Hash: scim.HashToken("a-token"), Created: time.Now(), By: "anna@acme.example"}
	if err := store.AddSCIMToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(scim.NewHandler(store.SCIM(), nil, scim.Options{}))
	t.Cleanup(server.Close)
	p := conformance.Peer{Client: server.Client(), BaseURL: server.URL + scim.BasePath, Token: "a-token", Run: "r1"}
	conformance.Check(t.Context(), p, func(step string, err error) {
		if err != nil {
			t.Errorf("%s: %v", step, err)
		}
	})
}
