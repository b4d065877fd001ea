package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const receiptColumns = `tenant, number, generation, method, purpose, workflow_id, run_id, attempt, holder, requester, nonce, released, until`

// AppendReceipt records a release of an ekey and returns its number; numbers count from 1 per tenant without gaps. A receipt
// whose nonce is there already is not recorded again, and its old number is returned.
func (s *Store) AppendReceipt(ctx context.Context, r backup.Receipt) (number int64, err error) {
	if r.Nonce == "" {
		return 0, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a key receipt without a nonce cannot be told from another"}
	}
	err = s.change(ctx, "record a key receipt", func(tx *sql.Tx) error {
		if _, err := lockNumber(ctx, tx, r.Tenant, "receipt"); err != nil {
			return err
		}
		err := tx.QueryRowContext(ctx, `SELECT number FROM receipt WHERE tenant = $1 AND nonce = $2`, r.Tenant, r.Nonce).Scan(&number)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if number, err = takeNumber(ctx, tx, r.Tenant, "receipt"); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO receipt (`+receiptColumns+`) VALUES `+placeholders(1, 13),
			r.Tenant, number, r.Generation, r.Method, r.Purpose, r.WorkflowID, r.RunID, r.Attempt, r.Holder, r.Requester, r.Nonce, micros(r.At), micros(r.Until))
		return err
	})
	return number, err
}

// KeyStatus tells how the tenant's key is had, by whom, and how often it was used. The generation is that of the last
// release; 0 when there was none. CodeNotFound when there is no such tenant.
func (s *Store) KeyStatus(ctx context.Context, tenantID string) (backup.KeyStatus, error) {
	status, err := s.keyStatus(ctx, tenantID)
	return status, classify(ctx, "read the state of the key", err)
}

func (s *Store) keyStatus(ctx context.Context, tenantID string) (status backup.KeyStatus, err error) {
	t, err := tenant(ctx, s.read, tenantID)
	if err != nil {
		return status, err
	}
	status = backup.KeyStatus{Tenant: t.ID, Method: t.Key.Method}
	if status.Connectors, err = connectors(ctx, s.read, t.ID); err != nil {
		return status, err
	}
	last, err := scanReceipt(s.read.QueryRowContext(ctx, `SELECT `+receiptColumns+` FROM receipt WHERE tenant = $1 ORDER BY number DESC LIMIT 1`, t.ID))
	if err != nil {
		return status, orNotFound(err, nil)
	}
	status.Last, status.Receipts, status.Generation = &last, last.Number, last.Generation
	return status, nil
}

func scanReceipt(r row) (v backup.Receipt, err error) {
	err = r.Scan(&v.Tenant, &v.Number, &v.Generation, &v.Method, &v.Purpose, &v.WorkflowID, &v.RunID, &v.Attempt, &v.Holder, &v.Requester, &v.Nonce,
		moment{&v.At}, moment{&v.Until})
	return v, err
}
