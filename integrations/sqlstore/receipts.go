package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const receiptColumns = `tenant, number, generation, method, purpose, workflow_id, run_id, attempt, holder, requester, nonce, released, until`

// Sealing continues a tenant's log by the numbered receipt. tree is what the Sealing before returned, nil for the first. It returns
// the signed head to be kept with the receipt, and the tree for the next one. It runs inside the store's transaction: it must not block.
type Sealing func(numbered backup.Receipt, tree []byte) (head, next []byte, err error)

// SealReceipt appends a release of an ekey to the tenant's log and returns its number; numbers count from 1 per tenant without gaps.
// Of all processes one appends at a time. A receipt whose nonce is there already is not appended again, and its old number is returned.
func (s *Store) SealReceipt(ctx context.Context, r backup.Receipt, seal Sealing) (number int64, err error) {
	if r.Nonce == "" {
		return 0, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a key receipt without a nonce cannot be told from another"}
	}
	err = s.change(ctx, "record a key receipt", func(tx *sql.Tx) error {
		size, tree, err := lockLog(ctx, tx, r.Tenant)
		if err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, `SELECT number FROM receipt WHERE tenant = $1 AND nonce = $2`, r.Tenant, r.Nonce).Scan(&number)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		number = size + 1
		r.Number = number
		return appendReceipt(ctx, tx, r, tree, seal)
	})
	return number, err
}

// lockLog holds the tenant's log for the rest of the transaction and returns how it ends.
func lockLog(ctx context.Context, tx *sql.Tx, tenant string) (size int64, tree []byte, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO receipt_log (tenant, size) VALUES ($1, 0)
		ON CONFLICT (tenant) DO UPDATE SET size = receipt_log.size RETURNING size, tree`, tenant).Scan(&size, &tree)
	return size, tree, err
}

func appendReceipt(ctx context.Context, tx *sql.Tx, r backup.Receipt, tree []byte, seal Sealing) error {
	head, next, err := seal(r, tree)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO receipt (`+receiptColumns+`, head) VALUES `+placeholders(1, 14),
		r.Tenant, r.Number, r.Generation, r.Method, r.Purpose, r.WorkflowID, r.RunID, r.Attempt, r.Holder, r.Requester, r.Nonce, micros(r.At), micros(r.Until), head)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE receipt_log SET size = $2, head = $3, tree = $4 WHERE tenant = $1`, r.Tenant, r.Number, head, next)
	return err
}

// lastReceipt returns the length of the tenant's log, and its last receipt when there is one.
func lastReceipt(ctx context.Context, db database, tenant string) (int64, *backup.Receipt, error) {
	last, err := scanReceipt(db.QueryRowContext(ctx, `SELECT `+receiptColumns+` FROM receipt WHERE tenant = $1 ORDER BY number DESC LIMIT 1`, tenant))
	if err != nil {
		return 0, nil, orNotFound(err, nil)
	}
	return last.Number, &last, nil
}

func scanReceipt(r row) (v backup.Receipt, err error) {
	err = r.Scan(&v.Tenant, &v.Number, &v.Generation, &v.Method, &v.Purpose, &v.WorkflowID, &v.RunID, &v.Attempt, &v.Holder, &v.Requester, &v.Nonce,
		moment{&v.At}, moment{&v.Until})
	return v, err
}

// AppendReceipt appends a receipt that nobody signs for.
func (s *Store) AppendReceipt(ctx context.Context, r backup.Receipt) (int64, error) {
	return s.SealReceipt(ctx, r, func(backup.Receipt, []byte) ([]byte, []byte, error) { return nil, nil, nil })
}
