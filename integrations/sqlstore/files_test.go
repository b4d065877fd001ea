package sqlstore

import (
	"database/sql"
	"errors"
)

// ignoreDone forgives a rollback of a transaction that its context ended.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
