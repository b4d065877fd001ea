package main

import (
	"testing"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/postgres"
)

// A worker and a gateway that share no folder, as on two machines, see the same store in a PostgreSQL.
func TestWorkerAndGatewayShareAPostgres(t *testing.T) {
	ca, err := sandbox.NewCA("sandbox")
	check(t, err)
	server, err := postgres.Start(t.Context(), postgres.Options{CA: ca})
	check(t, err)
	t.Cleanup(func() { check(t, server.Close()) })
	check(t, server.CreateDatabase(t.Context(), "holdfast", ""))
	of := func() settings {
		s := settings{State: t.TempDir(), Store: server.URL("holdfast")}
		check(t, s.complete())
		return s
	}
	worker, err := of().open(t.Context(), zap.NewNop())
	check(t, err)
	defer worker.close()
	gateway, err := of().openStore(t.Context(), zap.NewNop())
	check(t, err)
	defer gateway.close()
	check(t, worker.store.SaveTenant(t.Context(), backup.Tenant{ID: "acme", Name: "Acme"}))
	if seen, err := gateway.store.Tenant(t.Context(), "acme"); err != nil || seen.Name != "Acme" {
		t.Errorf("the gateway sees %+v, %v", seen, err)
	}
}
