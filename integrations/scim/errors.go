package scim

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	scimerrors "github.com/elimity-com/scim/errors"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// refusal is an answer that is an error (RFC 7644 section 3.12). Detail is read by the administrator of the identity provider, in its log.
type refusal struct {
	scimerrors.ScimError
	// retryAfter goes into the header of that name; zero: none.
	retryAfter time.Duration
	// allow are the methods of the resource, for 405.
	allow string
}

func (r *refusal) Error() string { return r.ScimError.Error() }

func refuse(status int, kind scimerrors.ScimType, format string, args ...any) *refusal {
	return &refusal{ScimError: scimerrors.ScimError{Status: status, ScimType: kind, Detail: fmt.Sprintf(format, args...)}}
}

func badValue(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, scimerrors.ScimTypeInvalidValue, format, args...)
}

func badSyntax(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, scimerrors.ScimTypeInvalidSyntax, format, args...)
}

func badPath(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, scimerrors.ScimTypeInvalidPath, format, args...)
}

func badFilter(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, scimerrors.ScimTypeInvalidFilter, format, args...)
}

func noTarget(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, scimerrors.ScimTypeNoTarget, format, args...)
}

func notMutable(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, scimerrors.ScimTypeMutability, format, args...)
}

// refusalOf makes an answer of an error. What is not for the peer stays out of it; the handler logs it.
func refusalOf(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) { // a store wraps what a change refused
		return r
	}
	e := backup.AsError(err)
	switch {
	case e.Code == backup.CodeNotFound:
		return refuse(http.StatusNotFound, "", "There is no resource of this id; it may have been deleted. Look it up again by userName or externalId.")
	case e.Code == backup.CodeConflict:
		return refuse(http.StatusConflict, scimerrors.ScimTypeUniqueness, "Another user has this userName already. Look it up by a filter on userName and change that user instead.")
	case e.Code == backup.CodeDifferenceChanged:
		return refuse(http.StatusPreconditionFailed, "", "The resource has changed since the version named by If-Match. Read it again and repeat the change.")
	case e.Code == backup.CodeThrottled:
		return busy(e.RetryAfter)
	case e.Retryable:
		r := refuse(http.StatusServiceUnavailable, "", "Holdfast cannot reach its store at the moment. Nothing was changed; try again later.")
		r.retryAfter = max(e.RetryAfter, 5*time.Second)
		return r
	}
	return refuse(http.StatusInternalServerError, "", "Holdfast failed to carry this out; nothing was changed. Its log says why.")
}

func busy(after time.Duration) *refusal {
	r := refuse(http.StatusTooManyRequests, "", "Too many requests are under way. Try again after the time that Retry-After says.")
	r.retryAfter = max(after, time.Second)
	return r
}

func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((r.retryAfter+time.Second-1)/time.Second)))
	}
	if r.allow != "" {
		h.Set("Allow", r.allow)
	}
	if r.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	}
	writeJSON(w, r.Status, r.ScimError)
}

// excerpt is the beginning of a peer's text, short enough for an error.
func excerpt(s string) string {
	const most = 80 // runes
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
