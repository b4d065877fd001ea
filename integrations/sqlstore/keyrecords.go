package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// SaveDrill keeps the result of a loss drill as the tenant's last one, unless a later one is there.
func (s *Store) SaveDrill(ctx context.Context, d backup.KeyDrill) error {
	body, err := json.Marshal(d)
	if err == nil {
		_, err = execute(ctx, s.write, `INSERT INTO key_drill (tenant, at, body) VALUES ($1, $2, $3)
			ON CONFLICT (tenant) DO UPDATE SET at = excluded.at, body = excluded.body WHERE key_drill.at <= excluded.at`, d.Tenant, micros(d.At), string(body))
	}
	return classify(ctx, "keep the result of a key drill", err)
}

// SaveShred keeps the report of a shredding. The same shredding's report again replaces it; those of others stay.
func (s *Store) SaveShred(ctx context.Context, r backup.ShredReport) error {
	body, err := json.Marshal(r)
	if err == nil {
		_, err = execute(ctx, s.write, `INSERT INTO key_shred (tenant, requested, body) VALUES ($1, $2, $3)
			ON CONFLICT (tenant, requested) DO UPDATE SET body = excluded.body`, r.Tenant, micros(r.Requested), string(body))
	}
	return classify(ctx, "keep the report of a shredding", err)
}

// KeyStatus tells how the tenant's key is had, by whom, how often it was used, and what became of its generations. Method and
// generation are those of the active one; before there is one, the description's method and 0. CodeNotFound when there is no such tenant.
func (s *Store) KeyStatus(ctx context.Context, tenantID string) (backup.KeyStatus, error) {
	status, err := s.keyStatus(ctx, tenantID)
	return status, classify(ctx, "read the state of the key", err)
}

func (s *Store) keyStatus(ctx context.Context, tenantID string) (status backup.KeyStatus, err error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return status, err
	}
	defer tx.Rollback()
	t, err := tenant(ctx, tx, tenantID)
	if err != nil {
		return status, err
	}
	status = backup.KeyStatus{Tenant: t.ID, Method: t.Key.Method}
	if status.Connectors, err = connectors(ctx, tx, t.ID); err != nil {
		return status, err
	}
	if status.Generations, err = ekeys(ctx, tx, t.ID); err != nil {
		return status, err
	}
	for _, k := range status.Generations {
		if k.State == backup.EKeyActive {
			status.Method, status.Generation = k.Method, k.Generation
		}
	}
	if status.Receipts, status.Last, err = lastReceipt(ctx, tx, t.ID); err != nil {
		return status, err
	}
	if status.Drill, err = document[backup.KeyDrill](ctx, tx, `SELECT body FROM key_drill WHERE tenant = $1`, t.ID); err != nil {
		return status, err
	}
	status.Shred, err = document[backup.ShredReport](ctx, tx, `SELECT body FROM key_shred WHERE tenant = $1 ORDER BY requested DESC LIMIT 1`, t.ID)
	return status, err
}

// document reads one JSON document; nil when there is none.
func document[T any](ctx context.Context, db database, query string, args ...any) (*T, error) {
	var body string
	err := db.QueryRowContext(ctx, query, args...).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	return v, json.Unmarshal([]byte(body), v)
}
