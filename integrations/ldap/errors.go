package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"unicode"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// What can be wrong with an answer beyond the result code it carries.
var (
	errBrokenOff = errors.New("the answer broke off")
	errNoPaging  = errors.New("the listing ended without the paged results control (RFC 2696)")
	errTooLong   = errors.New("a page holds more entries than were asked for")
	errEndless   = errors.New("the listing does not come to an end")
)

// tlsError tells a failed handshake from a failed connection.
type tlsError struct{ error }

func (e *tlsError) Unwrap() error { return e.error }

func customer(code backup.Code, message, hint string) *backup.Error {
	return &backup.Error{Code: code, Fault: backup.FaultCustomer, Message: message, Hint: hint}
}

func retryable(e *backup.Error) *backup.Error {
	e.Retryable = true
	return e
}

func badConfig(message, hint string) error { return customer(backup.CodeBadConfig, message, hint) }

// connectError classifies a failure before the bind.
func (s settings) connectError(ctx context.Context, err error) error {
	var known *backup.Error
	var handshake *tlsError
	var refused *ldap.Error
	var name *net.DNSError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(context.Cause(ctx), errNoAnswer):
		return s.unreachable(fmt.Sprintf("no answer within %v", dialTimeout), "is a firewall between the worker and the directory?")
	case ctx.Err() != nil:
		return fmt.Errorf("connecting to the directory: %w", context.Cause(ctx))
	case errors.As(err, &refused):
		return customer(backup.CodeUnreachable, s.at("the directory refuses StartTLS"+said(refused)), "use ldaps://, or give the directory a certificate")
	case errors.As(err, &handshake):
		return s.handshakeError(handshake.error)
	case errors.As(err, &name):
		return s.unreachable("the host name is not found", "check directory.ldap.url and the worker's DNS")
	}
	return s.unreachable(excerpt(err.Error()), "check directory.ldap.url, and that the worker's machine may reach it")
}

// handshakeError tells what a person must change. Only a handshake that broke off may work later by itself.
func (s settings) handshakeError(err error) error {
	message := s.at("TLS with the directory failed") + ": " + excerpt(err.Error())
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return customer(backup.CodeUnreachable, message, "set directory.ldap.caFile to the PEM file of the CA that signed the directory's certificate")
	case errors.As(err, &name):
		return customer(backup.CodeUnreachable, message, "use a name in directory.ldap.url that stands in the directory's certificate")
	case errors.As(err, &invalid):
		return customer(backup.CodeUnreachable, message, "renew the directory's certificate")
	case errors.As(err, &noTLS):
		return customer(backup.CodeUnreachable, message, "the port does not speak TLS: use ldap:// with startTLS, or the port of LDAPS (636)")
	}
	return retryable(customer(backup.CodeUnreachable, message, "the directory must offer TLS 1.2 or newer"))
}

func (s settings) unreachable(what, hint string) error {
	return retryable(customer(backup.CodeUnreachable, s.at("the directory cannot be reached")+": "+what, hint))
}

func (s settings) at(what string) string { return what + " at " + s.address }

// adRefusal is how Active Directory tells why a bind failed: "... AcceptSecurityContext error, data 52e, v2580".
var adRefusal = regexp.MustCompile(`\bdata ([0-9a-fA-F]{3,4})\b`)

// adHints explain Active Directory's numbers (Win32 system error codes 1300-1999, learn.microsoft.com/windows/win32/debug).
var adHints = map[string]string{
	"525": "the account is not known: check bindDN",
	"52e": "the account is known, the password is wrong",
	"530": "the account may not log on at this time of day",
	"531": "the account may not log on from this machine",
	"532": "the password has expired: set a new one, and let it not expire",
	"533": "the account is disabled",
	"701": "the account has expired",
	"773": "the password must be changed at first logon: change it once, or clear that mark",
	"775": "the account is locked out: unlock it",
}

// bindError classifies a refused bind. What the server said is read but not repeated: it answers a request that held the password.
func (s settings) bindError(e *ldap.Error) error {
	hint := s.loginHint()
	if m := adRefusal.FindStringSubmatch(fmt.Sprint(e.Err)); m != nil {
		if why := adHints[strings.ToLower(m[1])]; why != "" {
			hint = why + " (data " + strings.ToLower(m[1]) + ")"
		}
	}
	switch e.ResultCode {
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultConstraintViolation, ldap.LDAPResultAuthMethodNotSupported:
		return customer(backup.CodeBadCredential, fmt.Sprintf("the directory refused %s (%d)", s.who(), e.ResultCode), hint)
	}
	return s.classify(&ldap.Error{ResultCode: e.ResultCode, Err: errors.New("at the bind")})
}

// loginHint says what to look at when a bind is refused.
func (s settings) loginHint() string {
	switch {
	case s.Kerberos != nil:
		return "check principal and keytab, and that the directory takes GSSAPI"
	case s.ClientCertificate != "":
		return "check that the directory trusts the CA of the client certificate and takes SASL EXTERNAL (slapd: TLSCACertificateFile, TLSVerifyClient, authz-regexp)"
	}
	return "check bindDN and the password that bindPassword points to"
}

// groupError is classify for a configured group, whose name a missing one must show.
func (s settings) groupError(dn string, err error) error {
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject) {
		return badConfig("the group "+excerpt(dn)+" is not in the directory, or not visible to "+s.who(), "check directory.ldap.groups")
	}
	return s.classify(err)
}

func (s settings) noIDs(attribute string) error {
	return customer(backup.CodeMissingRole, fmt.Sprintf("the directory shows nobody's %s to %s", attribute, s.who()),
		"let the account read it, or name the immutable id under directory.ldap.attributes.id")
}

// classify gives an error of a search its meaning. nil stays nil.
func (s settings) classify(err error) error {
	var refused *ldap.Error
	var known *backup.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, errNoAnswer):
		return s.unreachable("no answer in time", "the directory is busy, or a firewall drops the connection")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("reading the directory: %w", err)
	case errors.Is(err, errNoPaging):
		return customer(backup.CodeBadResponse, s.at(errNoPaging.Error()), "the directory must know paged results; a listing without them may be cut")
	case errors.Is(err, errNoSyncrepl):
		return badConfig(s.at(errNoSyncrepl.Error()), "load the overlay syncprov for it, or set changes: auto")
	case errors.Is(err, errNoGUID):
		return customer(backup.CodeMissingRole, s.at("the directory names "+errNoGUID.Error()), "let "+s.who()+" read objectGUID, or set changes: none")
	case errors.Is(err, errNoSyncDone), errors.Is(err, errNoDirSync):
		return retryable(customer(backup.CodeBadResponse, s.at(excerpt(err.Error())), "nothing of them was used; if it stays so, set changes: none"))
	case errors.As(err, &refused) && refused.ResultCode < ldap.ErrorNetwork:
		return s.refusal(refused)
	}
	return retryable(customer(backup.CodeBadResponse, s.at("the directory's answer broke off or was not LDAP")+": "+excerpt(err.Error()), brokenHint))
}

// refusal classifies a result code (RFC 4511, section 4.1.9). None of them leaves a listing that may be used.
func (s settings) refusal(e *ldap.Error) error {
	what := func(text string) string { return s.at(text) + said(e) }
	switch e.ResultCode {
	case ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax:
		return badConfig(what("baseDN "+s.BaseDN+" is not there"), "check directory.ldap.baseDN, and that "+s.who()+" may read it")
	case ldap.LDAPResultSizeLimitExceeded, ldap.LDAPResultAdminLimitExceeded:
		return badConfig(what("the directory cut the listing at a limit"), "raise its limit for "+s.who()+", paged results included (OpenLDAP: limits ... size=unlimited size.prtotal=unlimited inside the database section)")
	case ldap.LDAPResultTimeLimitExceeded:
		return retryable(customer(backup.CodeBadResponse, what("the directory gave up for its time limit"), "raise its time limit for "+s.who()+", or index the attributes of the filter"))
	case ldap.LDAPResultReferral:
		return badConfig(what("the directory says that another server keeps "+s.BaseDN), "point directory.ldap.url to that server, or name it under directory.ldap.referrals")
	case ldap.LDAPResultInsufficientAccessRights:
		return customer(backup.CodeMissingRole, what(s.who()+" may not read people"), "give the account the right to read "+s.BaseDN)
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication:
		return customer(backup.CodeBadCredential, what("the directory does not accept "+s.who()+" any more"), "check the account")
	case ldap.LDAPResultStrongAuthRequired, ldap.LDAPResultConfidentialityRequired:
		return badConfig(what("the directory wants a stronger protection"), "use ldaps:// or startTLS")
	case ldap.LDAPResultUnavailableCriticalExtension, ldap.LDAPResultInappropriateMatching, ldap.LDAPResultUndefinedAttributeType:
		return badConfig(what("the directory does not support what was asked"), "check directory.ldap.filter; paged results must be allowed")
	case ldap.LDAPResultBusy:
		return retryable(customer(backup.CodeThrottled, what("the directory is busy"), "wait until it has less to do, or ask it at another hour"))
	case ldap.LDAPResultUnavailable:
		return retryable(customer(backup.CodeUnreachable, what("the directory is not available"), "it may be starting or being loaded"))
	}
	return retryable(customer(backup.CodeBadResponse, what(fmt.Sprintf("the directory answered with an error (%d)", e.ResultCode)), brokenHint))
}

// brokenHint is for answers that only the directory's own log explains.
const brokenHint = "see the directory's log, and what stands between it and the worker; whatever was read of a broken listing is not used"

// said is what the server added in words.
func said(e *ldap.Error) string {
	text := excerpt(fmt.Sprint(e.Err))
	if text == "" || text == "<nil>" {
		return fmt.Sprintf(" (%d)", e.ResultCode)
	}
	return fmt.Sprintf(" (%d: %s)", e.ResultCode, text)
}

// excerpt makes a stranger's text fit for a log line: at most 200 characters, none of them unprintable.
func excerpt(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), 4*most)], "?"))
	runes := []rune(strings.TrimSpace(text))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}
