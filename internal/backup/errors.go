package backup

import (
	"errors"
	"fmt"
	"time"
)

// Fault says who can mend an error.
type Fault string

const (
	// FaultCustomer: a permission, credential, setting or system on the customer's side.
	FaultCustomer Fault = "customer"
	// FaultVendor: the SaaS vendor or another outside system misbehaves; waiting usually helps.
	FaultVendor Fault = "vendor"
	// FaultOurs: Holdfast or the ground it runs on (disk, store, network of the worker).
	FaultOurs Fault = "ours"
)

// Code names a kind of failure. The set is closed: an adapter maps what it meets onto one of these.
type Code string

const (
	// Key custody.
	CodeNotConnected Code = "not_connected" // no connector of the tenant is connected
	CodeDenied       Code = "denied"        // the key's holder refused by policy or because the request was not valid
	CodeSealed       Code = "sealed"        // the KMS is sealed or standing by
	CodeRevoked      Code = "revoked"       // the credential or key version may no longer be used
	CodeDestroyed    Code = "destroyed"     // the key no longer exists

	// Outside systems.
	CodeUnreachable       Code = "unreachable"        // no answer: DNS, TCP, TLS, time-out
	CodeBadCredential     Code = "bad_credential"     // the credential was refused
	CodeMissingRole       Code = "missing_role"       // authenticated, but a permission is missing
	CodeThrottled         Code = "throttled"          // asked to come back later
	CodeBadResponse       Code = "bad_response"       // the answer broke off or was not what the protocol says
	CodeCursorExpired     Code = "cursor_expired"     // a delta token is no longer good: list everything
	CodeFirstImport       Code = "first_import"       // the first import of a directory waits for its approval
	CodeDifferenceChanged Code = "difference_changed" // what was approved is not what would happen now
	CodeConflict          Code = "conflict"           // another thing of the same name is there already
	CodeNotFound          Code = "not_found"          // the thing asked for is not there
	CodeFenced            Code = "fenced"             // this one mailbox or drive is closed to us by policy
	CodeNoService         Code = "no_service"         // the account has no mailbox or no drive
	CodeEmptyListing      Code = "empty_listing"      // a directory lists nobody where people were known
	CodeRemovalThreshold  Code = "removal_threshold"  // too many people would be removed at once

	// Ours.
	CodeBadConfig      Code = "bad_config"      // configuration that cannot work
	CodeDiskFull       Code = "disk_full"       // the repository or the store has no room
	CodeWrongKey       Code = "wrong_key"       // the repository does not open with this key
	CodeRepository     Code = "repository"      // the repository is damaged or cannot be read
	CodeCountsMismatch Code = "counts_mismatch" // listed ≠ stored + unchanged + skipped + gone
	CodeInternal       Code = "internal"        // anything not foreseen
	CodeCancelled      Code = "cancelled"       // somebody stopped it

	// People and decisions.
	CodeUnknownPrincipal Code = "unknown_principal" // the decision is by nobody known to the tenant
	CodeNotWaiting       Code = "not_waiting"       // the decision is for a task that does not wait
	CodeNotAllowed       Code = "not_allowed"       // the task does not take this action, or not from this person
)

// Error is a failure, classified once where it was met. Message says what happened, Hint what to do
// next; neither may hold a secret, because both reach logs, alerts and workflow histories.
type Error struct {
	Code    Code
	Fault   Fault
	Message string
	Hint    string
	// Retryable tells whether the same call may succeed later without anybody acting.
	Retryable bool
	// RetryAfter is the distance the other side asked for; zero when it did not.
	RetryAfter time.Duration
	// Cause is kept for errors.Is/As; its text is appended to the message.
	Cause error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Cause)
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, &Error{Code: c}) match on the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// AsError finds the classified error in err's chain; an unclassified one becomes CodeInternal, retryable, ours.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Fault: FaultOurs, Message: err.Error(), Retryable: true}
}

// HasCode tells whether err's chain holds a classified error of this code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
