package microsoft365

import (
	"context"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"unicode"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// plain makes text from outside fit for an error: printable, on one line, at most limit characters.
func plain(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == limit {
			b.WriteRune('…')
			break
		}
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}

func badConfig(message, hint string) *backup.Error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message, Hint: hint}
}

// badResponse is an answer that is not what the protocol says. Asking again often helps.
func badResponse(message string, cause error) *backup.Error {
	return &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultVendor, Message: message, Retryable: true, Cause: cause,
		Hint: "this usually passes by itself; if it stays, report it with the run's number"}
}

// cursorExpired asks for a full listing.
func cursorExpired(why string, cause error) *backup.Error {
	return &backup.Error{Code: backup.CodeCursorExpired, Fault: backup.FaultVendor, Message: why, Cause: cause,
		Hint: "nothing to do: everything is listed again, and what has not changed is not fetched again"}
}

// skipped turns a refusal that is about one item alone into the outcome it is; other errors pass.
func skipped(err error) error {
	var r *refusal
	if errors.As(err, &r) && r.perItem() {
		return &backup.SkipError{Reason: r.skip(), Detail: r.Error()}
	}
	return err
}

// unreachable classifies a request that got no answer. The address inside a *url.Error may be a credential, so only the inner error
// is kept.
func unreachable(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	e := &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultVendor, Message: "no answer from " + plain(host, 100), Retryable: true, Cause: err,
		Hint: "check name resolution, the proxy and the way out of the worker's network"}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) {
		e.Fault, e.Retryable = backup.FaultCustomer, false
		e.Message = "the certificate of " + plain(host, 100) + " cannot be trusted"
		e.Hint = "if a proxy or a private cloud uses its own CA, name its PEM file in caFile"
	}
	return e
}
