package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const ekeyColumns = `tenant, generation, method, state, check_key, wrapped, created, activated, retire_after, ended`

// EKeys lists the newest 1,000 generations of a tenant's ekey, oldest first.
func (s *Store) EKeys(ctx context.Context, tenant string) ([]backup.EKey, error) {
	all, err := ekeys(ctx, s.read, tenant)
	return all, classify(ctx, "list the key's generations", err)
}

func ekeys(ctx context.Context, db database, tenant string) ([]backup.EKey, error) {
	return list(ctx, db, scanEKey, `SELECT `+ekeyColumns+` FROM (
		SELECT `+ekeyColumns+` FROM ekey WHERE tenant = $1 ORDER BY generation DESC LIMIT $2) AS newest ORDER BY generation`, tenant, maxPage)
}

// AddEKey adds a pending generation: the number after the newest, or the pending one that is there already.
func (s *Store) AddEKey(ctx context.Context, tenant string, method backup.KeyMethod, at time.Time) (k backup.EKey, err error) {
	err = s.changeTenant(ctx, tenant, "add a generation of the key", func(tx *sql.Tx) error {
		// The index of pending ones lets one of several through; the others find what it made.
		_, err := tx.ExecContext(ctx, `INSERT INTO ekey (`+ekeyColumns+`)
			SELECT $1, COALESCE(MAX(generation), 0) + 1, $2, 'pending', '', '', CAST($3 AS BIGINT), 0, 0, 0 FROM ekey WHERE tenant = $1
			ON CONFLICT (tenant) WHERE state = 'pending' DO NOTHING`, tenant, method, micros(at))
		if err != nil {
			return err
		}
		k, err = scanEKey(tx.QueryRowContext(ctx, `SELECT `+ekeyColumns+` FROM ekey WHERE tenant = $1 AND state = 'pending'`, tenant))
		return err
	})
	return k, err
}

// UpdateEKey replaces Check and Wrapped of a generation that has not ended. A Check that is set never changes: CodeWrongKey. Whoever leaves
// it empty does not know that the generation is in use since, and changes nothing of it.
func (s *Store) UpdateEKey(ctx context.Context, k backup.EKey) error {
	return s.changeTenant(ctx, k.Tenant, "keep a generation of the key", func(tx *sql.Tx) error {
		known, err := ekey(ctx, tx, k.Tenant, k.Generation)
		switch {
		case err != nil:
			return err
		case known.State == backup.EKeyRetired || known.State == backup.EKeyDestroyed:
			return hasEnded(known)
		case known.Check != "" && k.Check != "" && known.Check != k.Check:
			return &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer,
				Message: fmt.Sprintf("another key is shown for generation %d of %s than the one that was proved before", k.Generation, k.Tenant),
				Hint:    "find the holder of the right one: holdfast key drill " + k.Tenant}
		}
		_, err = tx.ExecContext(ctx, `UPDATE ekey SET check_key = $3, wrapped = $4
			WHERE tenant = $1 AND generation = $2 AND (check_key = '' OR check_key = $3)`, k.Tenant, k.Generation, k.Check, k.Wrapped)
		return err
	})
}

// ActivateEKey makes a pending generation active and the active one retiring, in one transaction. Again is the same as once.
// CodeNotAllowed for a generation that is neither pending nor active.
func (s *Store) ActivateEKey(ctx context.Context, tenant string, generation int, at, retireAfter time.Time) error {
	return s.changeTenant(ctx, tenant, "activate a generation of the key", func(tx *sql.Tx) error {
		k, err := ekey(ctx, tx, tenant, generation)
		switch {
		case err != nil:
			return err
		case k.State == backup.EKeyActive:
			return nil
		case k.State != backup.EKeyPending:
			return notInState(k, "made the active one")
		}
		_, err = tx.ExecContext(ctx, `UPDATE ekey SET state = 'retiring', retire_after = $2 WHERE tenant = $1 AND state = 'active'`, tenant, micros(retireAfter))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE ekey SET state = 'active', activated = $3 WHERE tenant = $1 AND generation = $2`, tenant, generation, micros(at))
		return err
	})
}

// EndEKey makes a generation retired or destroyed and forgets its Wrapped. Again is the same as once; a destroyed one stays destroyed.
// CodeNotAllowed for retiring the active one, which would leave the tenant without a key.
func (s *Store) EndEKey(ctx context.Context, tenant string, generation int, state backup.EKeyState, at time.Time) error {
	return s.changeTenant(ctx, tenant, "end a generation of the key", func(tx *sql.Tx) error {
		k, err := ekey(ctx, tx, tenant, generation)
		switch {
		case err != nil:
			return err
		case state != backup.EKeyRetired && state != backup.EKeyDestroyed:
			return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a generation of a key does not end as " + string(state)}
		case k.State == state || k.State == backup.EKeyDestroyed:
			return nil
		case k.State == backup.EKeyActive && state == backup.EKeyRetired:
			return notInState(k, "retired")
		}
		_, err = tx.ExecContext(ctx, `UPDATE ekey SET state = $3, wrapped = '', ended = $4 WHERE tenant = $1 AND generation = $2`, tenant, generation, state, micros(at))
		return err
	})
}

func ekey(ctx context.Context, db database, tenant string, generation int) (backup.EKey, error) {
	k, err := scanEKey(db.QueryRowContext(ctx, `SELECT `+ekeyColumns+` FROM ekey WHERE tenant = $1 AND generation = $2`, tenant, generation))
	if errors.Is(err, sql.ErrNoRows) {
		err = notFound(backup.FaultOurs, fmt.Sprintf("the key of %s has no generation %d", tenant, generation), "holdfast key status "+tenant+" shows which it has")
	}
	return k, err
}

func scanEKey(r row) (k backup.EKey, err error) {
	err = r.Scan(&k.Tenant, &k.Generation, &k.Method, &k.State, &k.Check, &k.Wrapped,
		moment{&k.Created}, moment{&k.Activated}, moment{&k.RetireAfter}, moment{&k.Ended})
	return k, err
}

// hasEnded is the answer to a wish for a generation that is over.
func hasEnded(k backup.EKey) error {
	code := backup.CodeRevoked
	if k.State == backup.EKeyDestroyed {
		code = backup.CodeDestroyed
	}
	return &backup.Error{Code: code, Fault: backup.FaultOurs, Message: fmt.Sprintf("generation %d of the key of %s is %s", k.Generation, k.Tenant, k.State)}
}

func notInState(k backup.EKey, what string) error {
	return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultOurs,
		Message: fmt.Sprintf("generation %d of the key of %s is %s and cannot be %s", k.Generation, k.Tenant, k.State, what)}
}
