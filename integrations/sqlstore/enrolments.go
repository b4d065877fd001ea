package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const enrolmentColumns = `tenant, connector, secret_hash, expires, presented, identity, recipient`

// OpenEnrolment keeps an enrolment; one of the same tenant and connector is replaced. The same one again, as somebody sends who did not
// hear that it was kept, changes nothing: a connector may have presented it since.
func (s *Store) OpenEnrolment(ctx context.Context, e backup.Enrolment) error {
	_, err := execute(ctx, s.write, `INSERT INTO enrolment (`+enrolmentColumns+`) VALUES ($1, $2, $3, $4, 0, '', NULL)
		ON CONFLICT (tenant, connector) DO UPDATE SET secret_hash = excluded.secret_hash, expires = excluded.expires,
			presented = 0, identity = '', recipient = NULL
		WHERE enrolment.secret_hash <> excluded.secret_hash`, e.Tenant, e.Connector, e.SecretHash, micros(e.Expires))
	return classify(ctx, "open an enrolment", err)
}

// Enrolment returns CodeNotFound when there is none.
func (s *Store) Enrolment(ctx context.Context, tenant, connector string) (backup.Enrolment, error) {
	e, err := enrolment(ctx, s.read, tenant, connector)
	return e, classify(ctx, "look up an enrolment", err)
}

func enrolment(ctx context.Context, db database, tenant, connector string) (backup.Enrolment, error) {
	e, err := scanEnrolment(db.QueryRowContext(ctx, `SELECT `+enrolmentColumns+` FROM enrolment WHERE tenant = $1 AND connector = $2`, tenant, connector))
	return e, orNotFound(err, notEnrolling(tenant, connector))
}

// UseEnrolment consumes the enrolment whose secret has this SHA-256 and keeps what was shown with it. CodeDenied when there is none,
// it has expired, or it was presented before: whoever shows a secret is not told which.
func (s *Store) UseEnrolment(ctx context.Context, secretHash []byte, identity string, recipient []byte, now time.Time) (e backup.Enrolment, err error) {
	err = s.changeRows(ctx, "use an enrolment", func(tx *sql.Tx) error {
		e, err = scanEnrolment(tx.QueryRowContext(ctx, `UPDATE enrolment SET presented = $2, identity = $3, recipient = $4
			WHERE secret_hash = $1 AND presented = 0 AND expires > $2 RETURNING `+enrolmentColumns, secretHash, micros(now), identity, recipient))
		return orNotFound(err, &backup.Error{Code: backup.CodeDenied, Fault: backup.FaultCustomer,
			Message: "the enrolment token is not good: it is unknown, has expired, or was used before", Hint: "make a new one: holdfast connector enroll TENANT --name NAME"})
	})
	return e, err
}

// PinEnrolled pins the connector that presented the enrolment; again is the same as once. CodeNotFound when none was presented,
// CodeNotAllowed when the tenant's description gives the name to another identity.
func (s *Store) PinEnrolled(ctx context.Context, tenant, connector string) error {
	return s.changeTenant(ctx, tenant, "pin an enrolled connector", func(tx *sql.Tx) error {
		e, err := enrolment(ctx, tx, tenant, connector)
		if err == nil && e.Presented.IsZero() {
			err = notEnrolling(tenant, connector)
		}
		if err != nil {
			return err
		}
		described, err := describedIdentity(ctx, tx, tenant, connector)
		switch {
		case err != nil:
			return err
		case described == e.Identity:
			return nil
		case described != "":
			return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer,
				Message: "the tenant's file gives the name " + connector + " to a connector with another identity",
				Hint:    "enrol under another name, or take " + connector + " out of key.connectors and apply the file"}
		}
		if _, err := tx.ExecContext(ctx, pin, tenant, connector, e.Identity, true); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE connector SET recipient = $3 WHERE tenant = $1 AND name = $2 AND recipient IS NULL`, tenant, connector, e.Recipient)
		return err
	})
}

// describedIdentity is the identity that the tenant's description pins under the name, or empty.
func describedIdentity(ctx context.Context, tx *sql.Tx, tenant, name string) (identity string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT identity FROM connector WHERE tenant = $1 AND name = $2 AND pinned AND NOT enrolled`, tenant, name).Scan(&identity)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return identity, err
}

// CloseEnrolment forgets an enrolment; its token is good for nothing any more. A connector that was pinned stays pinned.
func (s *Store) CloseEnrolment(ctx context.Context, tenant, connector string) error {
	_, err := execute(ctx, s.write, `DELETE FROM enrolment WHERE tenant = $1 AND connector = $2`, tenant, connector)
	return classify(ctx, "close an enrolment", err)
}

func scanEnrolment(r row) (e backup.Enrolment, err error) {
	err = r.Scan(&e.Tenant, &e.Connector, &e.SecretHash, moment{&e.Expires}, moment{&e.Presented}, &e.Identity, &e.Recipient)
	return e, err
}

func notEnrolling(tenant, connector string) error {
	return notFound(backup.FaultCustomer, "no enrolment of the connector "+connector+" was presented for the tenant "+tenant, "holdfast connector enroll "+tenant+" --name "+connector+" makes a token")
}
