package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func customer(code backup.Code, message, hint string) *backup.Error {
	return &backup.Error{Code: code, Fault: backup.FaultCustomer, Message: message, Hint: hint}
}

func later(e *backup.Error) *backup.Error {
	e.Retryable = true
	return e
}

func badConfig(message, hint string) *backup.Error {
	return customer(backup.CodeBadConfig, message, hint)
}

func (s Server) badConfig(message, hint string) *backup.Error {
	return badConfig(s.says(message), hint)
}

func (s Server) says(what string) string { return "KMS " + s.Address + ": " + what }

// sealed is what a person can end, and nobody else.
func (s Server) sealed(what string) *backup.Error {
	return later(customer(backup.CodeSealed, s.says(what), "unseal it: VAULT_ADDR="+s.Address+" vault operator unseal; work goes on by itself then"))
}

// classify turns what a call ended with into a *backup.Error. doing says what was tried, for a person. A call that its caller gave up
// stays what it is.
func (s *session) classify(ctx context.Context, doing string, resp *api.Response, err error) error {
	var known *backup.Error
	var refused *api.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.As(err, &refused):
		return s.server.refusal(doing, resp, refused)
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	return s.server.unreachable(doing, err)
}

// unreachable is a call that got no answer, or only the beginning of one.
func (s Server) unreachable(doing string, err error) error {
	message := s.says(doing + " got no answer: " + excerpt(err.Error()))
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return customer(backup.CodeUnreachable, message, "set key.kms.caFile to the PEM file of the CA that signed the server's certificate")
	case errors.As(err, &name):
		return customer(backup.CodeUnreachable, message, "use a name in key.kms.address that stands in the server's certificate")
	case errors.As(err, &invalid):
		return customer(backup.CodeUnreachable, message, "renew the server's certificate")
	}
	return later(customer(backup.CodeUnreachable, message, "is the server up, and may the worker's machine reach it?"))
}

// The words by which servers tell apart what they all answer with 400; the same in Vault 1.21 and OpenBao 2.4.
const (
	saysNoKey        = "encryption key not found"
	saysTooOld       = "disallowed by policy (too old)"
	saysNotAuthentic = "message authentication failed"
	saysNoContext    = "missing 'context'"
	saysStandby      = "local node not active"
	saysNoNamespace  = "no matching namespace"
)

// refusal classifies an answer that is not a success.
func (s Server) refusal(doing string, resp *api.Response, e *api.ResponseError) error {
	said := excerpt(strings.Join(e.Errors, "; "))
	message := s.says(doing + " was answered with " + strconv.Itoa(e.StatusCode) + ": " + said)
	contains := func(words string) bool { return strings.Contains(said, words) }
	switch {
	case e.StatusCode == http.StatusServiceUnavailable, contains(saysStandby):
		return s.sealed(said)
	case e.StatusCode == http.StatusTooManyRequests:
		err := later(customer(backup.CodeThrottled, message, "raise the server's rate-limit quota if this goes on"))
		err.RetryAfter = retryAfter(resp)
		return err
	case contains(saysNoKey):
		return customer(backup.CodeDestroyed, message, "restore the server's storage from before the key was deleted; without the transit key nothing opens what it wrapped")
	case contains(saysTooOld):
		return customer(backup.CodeRevoked, message, "the key's min_decryption_version was raised past this generation; lower it only if that was a mistake")
	case contains(saysNotAuthentic), contains(saysNoContext):
		return customer(backup.CodeWrongKey, message, "the wrapped key is another tenant's, repository's or generation's, or the transit key is not derived")
	case e.StatusCode == http.StatusForbidden:
		return customer(backup.CodeDenied, message, "give the login the policy of deploy/vault that is meant for it")
	case e.StatusCode == http.StatusNotFound && contains(saysNoNamespace), e.StatusCode == http.StatusNotFound && contains("no handler for route"):
		return badConfig(message, "check namespace and mount; `vault secrets list` and `vault auth list` name the mounts")
	case e.StatusCode == http.StatusNotFound && e.RawError:
		// Not Vault's own word, so no word on whether there is such a key: a proxy's, or another server's.
		return later(customer(backup.CodeBadResponse, message, "is this the address of a Vault? A proxy in front of it may have answered"))
	case e.StatusCode == http.StatusNotFound:
		return customer(backup.CodeNotFound, message, "check the path")
	case e.StatusCode >= http.StatusInternalServerError, e.StatusCode == http.StatusPreconditionFailed:
		return later(customer(backup.CodeBadResponse, message, "look into the server's own log"))
	}
	return badConfig(message, "the server does not take this request; is the mount a transit engine, and the key's type aes256-gcm96 with derived=true?")
}

// retryAfter reads the distance that a rate limit asks for (RFC 9110, section 10.2.3, in seconds), at most an hour.
func retryAfter(resp *api.Response) time.Duration {
	if resp == nil || resp.Response == nil {
		return 0
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Hour)
}

// excerpt makes one short line of what somebody else wrote.
func excerpt(text string) string {
	const most = 240
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	line = strings.Join(strings.Fields(line), " ")
	if runes := []rune(line); len(runes) > most {
		return string(runes[:most]) + " …"
	}
	return line
}
