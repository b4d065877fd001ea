package sqlstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	sqldriver "database/sql/driver"
	"errors"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// How long to wait before a server is asked again that is away, is full, or was handed over to another.
const (
	afterAbsence   = 2 * time.Second
	afterCrowd     = 5 * time.Second
	afterHandOver  = 10 * time.Second
	afterCollision = time.Second
)

// classifyPostgres refines e by PostgreSQL's code, the first two characters of which are its class
// (https://www.postgresql.org/docs/15/errcodes-appendix.html).
func classifyPostgres(e *backup.Error, answer *pgconn.PgError) error {
	// What the server says beside its message may hold somebody's mail.
	e.Cause = answer
	if classifyRefusal(e, answer.Code) || classifyPressure(e, answer.Code) {
		return e
	}
	switch answer.Code[:min(2, len(answer.Code))] {
	case "08":
		return classifyConnection(e)
	case "0A", "22", "23", "42":
		e.Retryable = false // the same call gives the same answer
	case "XX":
		e.Hint = "look into PostgreSQL's log: its files may be damaged; the repositories are not touched"
	}
	return e
}

// classifyRefusal knows the codes by which the server does not let us in, or not do this.
func classifyRefusal(e *backup.Error, code string) bool {
	e.Retryable = false
	switch code {
	case "28P01", "28000":
		e.Code, e.Message = backup.CodeBadCredential, e.Message+": PostgreSQL refuses the user or the password"
		e.Hint = "look at the file that passwordFile (or PGPASSFILE) names, and at the server's pg_hba.conf"
	case "3D000":
		e.Code, e.Message = backup.CodeBadConfig, e.Message+": the server has no such database"
		e.Hint = "make it: CREATE DATABASE holdfast OWNER holdfast ENCODING 'UTF8' TEMPLATE template0"
	case "42501":
		e.Code, e.Message = backup.CodeMissingRole, e.Message+": PostgreSQL does not let the user do this"
		e.Hint = "make the user the owner of the database: ALTER DATABASE holdfast OWNER TO holdfast"
	case "25006":
		e.Code, e.Message = backup.CodeBadConfig, e.Message+": this PostgreSQL takes no changes; it is a standby, or was made read-only"
		e.Hint, e.Retryable, e.RetryAfter = "let the store's address lead to the primary server", true, afterHandOver
	default:
		e.Retryable = true
		return false
	}
	return true
}

// classifyPressure knows the codes of a server that cannot do it now.
func classifyPressure(e *backup.Error, code string) bool {
	switch code {
	case "53100":
		_ = diskFull(e)
	case "53300":
		e.Code, e.RetryAfter = backup.CodeThrottled, afterCrowd
		e.Message += ": PostgreSQL has no connection left"
		e.Hint = "raise max_connections, or lower ?connections= in the store's address"
	case "57P01", "57P02", "57P03":
		_ = classifyConnection(e)
	case "40001", "40P01", "55P03":
		e.Message, e.RetryAfter = e.Message+": others keep the store busy", afterCollision
	case "57014":
		e.Message, e.RetryAfter = e.Message+": it took PostgreSQL too long", afterCrowd
	default:
		return false
	}
	return true
}

// isConnection tells that it was not the server's answer that failed, but the way to it.
func isConnection(err error) bool {
	var (
		connect *pgconn.ConnectError
		network net.Error
	)
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, sqldriver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

func classifyConnection(e *backup.Error) error {
	// The driver's own error names user, host and database.
	var connect *pgconn.ConnectError
	if errors.As(e.Cause, &connect) {
		e.Cause = connect.Unwrap()
	}
	if isCertificate(e.Cause) {
		e.Code, e.Retryable = backup.CodeBadConfig, false
		e.Message += ": PostgreSQL's certificate is not to be trusted"
		e.Hint = "name the CA by sslrootcert=/absolute/path, and the server by a name that stands in its certificate"
		return e
	}
	e.Code, e.RetryAfter = backup.CodeUnreachable, afterAbsence
	e.Message += ": PostgreSQL does not answer"
	e.Hint = "is the server up, and the way to it open? What was under way is taken up again"
	return e
}

func isCertificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		hostname     x509.HostnameError
	)
	return errors.As(err, &verification) || errors.As(err, &hostname)
}

// retryable tells that the same may work in a moment.
func retryable(ctx context.Context, err error) bool {
	return backup.AsError(classify(ctx, "", err)).Retryable
}
