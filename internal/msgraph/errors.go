package msgraph

import (
	"context"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"unicode"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Plain makes text from outside fit for an error: printable, on one line, at most limit characters.
func Plain(s string, limit int) string {
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

// BadConfig is a description that cannot work.
func BadConfig(message, hint string) *backup.Error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message, Hint: hint}
}

// BadResponse is an answer that is not what the protocol says. Asking again often helps.
func BadResponse(message string, cause error) *backup.Error {
	return &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultVendor, Message: message, Retryable: true, Cause: cause,
		Hint: "this usually passes by itself; if it stays, report it with the run's number"}
}

// CursorExpired asks for a full listing.
func CursorExpired(why string, cause error) *backup.Error {
	return &backup.Error{Code: backup.CodeCursorExpired, Fault: backup.FaultVendor, Message: why, Cause: cause,
		Hint: "nothing to do: everything is listed again, and what has not changed is not fetched again"}
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
	e := &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultVendor, Message: "no answer from " + Plain(host, 100), Retryable: true, Cause: err,
		Hint: "check name resolution, the proxy and the way out of the worker's network"}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) {
		e.Fault, e.Retryable = backup.FaultCustomer, false
		e.Message = "the certificate of " + Plain(host, 100) + " cannot be trusted"
		e.Hint = "if a proxy or a private cloud uses its own CA, name its PEM file in caFile"
	}
	return e
}
