package sqlstore

import (
	"context"
	"database/sql"
	"time"
)

// nonceGrace is how long a nonce is kept after its time, because the clocks of gateways differ.
const nonceGrace = time.Hour

// UseNonce uses a nonce up: fresh is true for exactly one caller per scope and nonce. The nonce is remembered at least until
// the given time, at which whatever carries it must have expired.
func (s *Store) UseNonce(ctx context.Context, scope, nonce string, until time.Time) (fresh bool, err error) {
	err = s.changeRows(ctx, "use up a nonce", func(tx *sql.Tx) error {
		n, err := execute(ctx, tx, `INSERT INTO nonce (scope, nonce, until) VALUES ($1, $2, $3) ON CONFLICT (scope, nonce) DO NOTHING`, scope, nonce, micros(until))
		if err != nil {
			return err
		}
		fresh = n == 1
		return sweepNonces(ctx, tx)
	})
	return fresh && err == nil, err
}

// sweepNonces forgets a few more than one caller adds, so that the table stays small without a job of its own.
func sweepNonces(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM nonce WHERE (scope, nonce) IN (
		SELECT scope, nonce FROM nonce WHERE until < $1 ORDER BY until LIMIT 20)`, micros(time.Now().Add(-nonceGrace)))
	return err
}
