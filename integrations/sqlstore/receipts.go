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
type Sealing = func(numbered backup.Receipt, tree []byte) (head, next []byte, err error)

// SealReceipt appends a release of an ekey to the tenant's log and returns its number; numbers count from 1 per tenant without gaps.
// Of all processes one appends at a time. A receipt whose nonce is there already is not appended again, and its old number is returned.
func (s *Store) SealReceipt(ctx context.Context, r backup.Receipt, seal Sealing) (number int64, err error) {
	if r.Nonce == "" {
		return 0, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a key receipt without a nonce cannot be told from another"}
	}
	err = s.changeRows(ctx, "record a key receipt", func(tx *sql.Tx) error {
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
	_, err = tx.ExecContext(ctx, `INSERT INTO receipt (`+receiptColumns+`, head)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		r.Tenant, r.Number, r.Generation, r.Method, r.Purpose, r.WorkflowID, r.RunID, r.Attempt, r.Holder, r.Requester, r.Nonce, micros(r.At), micros(r.Until), head)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE receipt_log SET size = $2, head = $3, tree = $4 WHERE tenant = $1`, r.Tenant, r.Number, head, next)
	return err
}

// ReceiptRow is a receipt as it stands in its tenant's log.
type ReceiptRow struct {
	Receipt backup.Receipt
	// Run is the number of the backup run that it was released for; 0 when it was for something else.
	Run int64
	// Head is what the Sealing returned for it.
	Head []byte
}

// ListReceipts returns a page of the tenant's receipts in order of their numbers, from the one after the given number on: all of them,
// or those of one run, which is named by its number, its run id or its workflow id. next is 0 on the last page. A limit below 1 or over
// 1,000 means 1,000.
func (s *Store) ListReceipts(ctx context.Context, tenant, run string, after int64, limit int) (page []ReceiptRow, next int64, err error) {
	limit = pageSize(limit)
	rows, err := list(ctx, s.read, scanReceiptRow, `SELECT `+prefixed("l", receiptColumns)+`, l.head, COALESCE(r.number, 0)
		FROM receipt l LEFT JOIN run r ON r.tenant = l.tenant AND r.run_id = l.run_id AND r.workflow_id = l.workflow_id
		WHERE l.tenant = $1 AND l.number > $2 AND ($3 = '' OR l.run_id = $3 OR l.workflow_id = $3 OR CAST(r.number AS TEXT) = $3)
		ORDER BY l.number LIMIT $4`, tenant, after, clean(run), limit+1)
	if err != nil {
		return nil, 0, classify(ctx, "list key receipts", err)
	}
	page, more := cut(rows, limit)
	if more {
		next = page[limit-1].Receipt.Number
	}
	return page, next, nil
}

// ReceiptHead returns the newest head of the tenant's log as its Sealing wrote it; nil when there is no receipt.
func (s *Store) ReceiptHead(ctx context.Context, tenant string) (head []byte, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT head FROM receipt_log WHERE tenant = $1`, tenant).Scan(&head)
	return head, classify(ctx, "read the head of the key receipts", orNotFound(err, nil))
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
	err = r.Scan(receiptFields(&v)...)
	return v, err
}

func scanReceiptRow(r row) (v ReceiptRow, err error) {
	err = r.Scan(append(receiptFields(&v.Receipt), &v.Head, &v.Run)...)
	return v, err
}

// receiptFields are what receiptColumns are scanned into.
func receiptFields(v *backup.Receipt) []any {
	return []any{&v.Tenant, &v.Number, &v.Generation, &v.Method, &v.Purpose, &v.WorkflowID, &v.RunID, &v.Attempt, &v.Holder, &v.Requester, &v.Nonce,
		moment{&v.At}, moment{&v.Until}}
}
