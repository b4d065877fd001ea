package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// SaveTenant inserts or replaces the tenant's description, and pins exactly the connectors it names beside those that were
// enrolled.
func (s *Store) SaveTenant(ctx context.Context, t backup.Tenant) error {
	description, err := json.Marshal(t)
	if err != nil {
		return classify(ctx, "write down the tenant "+t.ID, err)
	}
	return s.changeTenant(ctx, t.ID, "save the tenant "+t.ID, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO tenant (id, description, saved) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET description = excluded.description, saved = excluded.saved`, t.ID, string(description), micros(time.Now()))
		if err != nil {
			return err
		}
		return pinConnectors(ctx, tx, t.ID, t.Key.Connectors)
	})
}

// Tenant returns the description as it was saved last; CodeNotFound when there is none.
func (s *Store) Tenant(ctx context.Context, id string) (backup.Tenant, error) {
	t, err := tenant(ctx, s.read, id)
	return t, classify(ctx, "read the tenant "+id, err)
}

func tenant(ctx context.Context, db database, id string) (t backup.Tenant, err error) {
	var description string
	err = db.QueryRowContext(ctx, `SELECT description FROM tenant WHERE id = $1`, id).Scan(&description)
	if err != nil {
		return t, orNotFound(err, notFound(backup.FaultCustomer, "there is no tenant "+id, "holdfast apply -f FILE.yaml makes one"))
	}
	err = json.Unmarshal([]byte(description), &t)
	return t, err
}
