package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// tokenUseEvery is how exactly the last use of a token is known: most requests only read.
const tokenUseEvery = time.Hour

const scimTokenColumns = `tenant, directory, label, hash, created, expires, last_used, created_by`

func scanSCIMToken(r row) (t backup.SCIMToken, err error) {
	return t, r.Scan(&t.Tenant, &t.Directory, &t.Label, &t.Hash, moment{&t.Created}, moment{&t.Expires}, moment{&t.LastUsed}, &t.By)
}

// AddSCIMToken makes a token good. The same one again, as somebody sends who did not hear that it was kept, changes nothing. CodeConflict:
// another one has the label. CodeNotAllowed: the directory has as many as it may have.
func (s *Store) AddSCIMToken(ctx context.Context, t backup.SCIMToken) error {
	return s.changeTenant(ctx, t.Tenant, "keep a SCIM token", func(tx *sql.Tx) error {
		good, err := scimTokens(ctx, tx, t.Tenant, t.Created)
		if err != nil {
			return err
		}
		others := 0
		for _, g := range good {
			switch {
			case g.Directory != t.Directory:
				continue
			case bytes.Equal(g.Hash, t.Hash):
				return nil
			case g.Label == t.Label:
				return &backup.Error{Code: backup.CodeConflict, Fault: backup.FaultCustomer, Message: fmt.Sprintf("%s has a SCIM token %s already", t.Tenant, t.Label),
					Hint: "choose another label (--label), or revoke it first: holdfast scim token revoke " + t.Tenant + " " + t.Label}
			}
			others++
		}
		if others >= backup.MaxSCIMTokens {
			return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Message: fmt.Sprintf("the directory %s of %s has %d SCIM tokens, as many as it may have", t.Directory, t.Tenant, others),
				Hint: "revoke the one that is not used any more: holdfast scim token list " + t.Tenant}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO scim_token (`+scimTokenColumns+`, revoked) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, 0)
			ON CONFLICT (tenant, directory, label) DO UPDATE SET hash = excluded.hash, created = excluded.created, expires = excluded.expires,
				last_used = 0, created_by = excluded.created_by, revoked = 0`,
			t.Tenant, t.Directory, t.Label, t.Hash, micros(t.Created), micros(t.Expires), t.By)
		return err
	})
}

// RevokeSCIMToken makes a token useless at once; again is the same as once. CodeNotFound when there never was one of the label.
func (s *Store) RevokeSCIMToken(ctx context.Context, scope backup.SCIMScope, label string, at time.Time) error {
	n, err := execute(ctx, s.write, `UPDATE scim_token SET revoked = CASE WHEN revoked = 0 THEN $4 ELSE revoked END
		WHERE tenant = $1 AND directory = $2 AND label = $3`, scope.Tenant, scope.Directory, label, micros(at))
	if err == nil && n == 0 {
		err = notFound(backup.FaultCustomer, "the directory "+string(scope.Directory)+" of "+scope.Tenant+" has no SCIM token "+label, "holdfast scim token list "+scope.Tenant)
	}
	return classify(ctx, "revoke a SCIM token", err)
}

// SCIMTokens lists a tenant's tokens that are neither revoked nor expired.
func (s *Store) SCIMTokens(ctx context.Context, tenant string, now time.Time) ([]backup.SCIMToken, error) {
	tokens, err := scimTokens(ctx, s.read, tenant, now)
	return tokens, classify(ctx, "list SCIM tokens", err)
}

func scimTokens(ctx context.Context, db database, tenant string, now time.Time) ([]backup.SCIMToken, error) {
	return list(ctx, db, scanSCIMToken, `SELECT `+scimTokenColumns+` FROM scim_token
		WHERE tenant = $1 AND revoked = 0 AND (expires = 0 OR expires > $2) ORDER BY directory, label LIMIT $3`, tenant, micros(now), maxPage)
}

// TokenScope finds the token of a hash, expired or not; CodeNotFound when there is none, or when it was revoked. It remembers the use, to
// the hour.
func (s *SCIM) TokenScope(ctx context.Context, hash []byte) (backup.SCIMToken, error) {
	t, err := scanSCIMToken(s.store.read.QueryRowContext(ctx, `SELECT `+scimTokenColumns+` FROM scim_token WHERE hash = $1 AND revoked = 0`, hash))
	if errors.Is(err, sql.ErrNoRows) {
		return t, notFound(backup.FaultCustomer, "there is no such SCIM token", "holdfast scim token add makes one")
	}
	now := time.Now()
	if err == nil && now.Sub(t.LastUsed) >= tokenUseEvery {
		_, err = s.store.write.ExecContext(ctx, `UPDATE scim_token SET last_used = $2 WHERE hash = $1`, hash, micros(now))
	}
	return t, classify(ctx, "look up a SCIM token", err)
}
