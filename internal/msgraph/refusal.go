package msgraph

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// errorBodyLimit bounds what is read of an error's body, in bytes.
	errorBodyLimit = 64 << 10
	// errorDepth bounds how many nested inner errors are looked at.
	errorDepth = 8
)

// Refusal is an answer of 400 and above, decoded. It is the cause of the classified error, so that adapters can tell
// from its codes what the status alone does not say.
type Refusal struct {
	Status  int
	codes   []string // innermost first, in lower case: Graph itself is not consistent about case
	message string   // the vendor's text, made printable
	// requestID and clientRequestID are what Microsoft's support asks for.
	requestID, clientRequestID string
	retryAfter                 time.Duration
	challenge                  string // WWW-Authenticate
	infected                   bool
	// limit is what the directory says about a limit that was hit (x-ms-throttle-scope, x-ms-throttle-information).
	limit string
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status))
	if len(r.codes) > 0 {
		text += " (" + strings.Join(r.codes, ", ") + ")"
	}
	if r.message != "" {
		text += " “" + r.message + "”"
	}
	if r.limit != "" {
		text += ", limit " + r.limit
	}
	if r.requestID != "" {
		text += ", request-id " + r.requestID
	}
	if r.clientRequestID != "" {
		text += ", client-request-id " + r.clientRequestID
	}
	return text
}

// Has tells whether any of the codes, given in lower case, is among the answer's.
func (r *Refusal) Has(codes ...string) bool {
	return slices.ContainsFunc(codes, func(c string) bool { return slices.Contains(r.codes, c) })
}

// Says tells whether the vendor's text contains a phrase, whatever its case. Used only where no code tells the cases apart.
func (r *Refusal) Says(phrase string) bool {
	return strings.Contains(strings.ToLower(r.message), strings.ToLower(phrase))
}

// readRefusal decodes and closes an answer of 400 and above.
func readRefusal(resp *http.Response) *Refusal {
	defer resp.Body.Close()
	r := &Refusal{
		Status:          resp.StatusCode,
		requestID:       Plain(resp.Header.Get("request-id"), 64),
		clientRequestID: Plain(resp.Header.Get("client-request-id"), 64),
		retryAfter:      retryAfter(resp.Header.Get("Retry-After"), time.Now()),
		challenge:       resp.Header.Get("WWW-Authenticate"),
		infected:        resp.Header.Get("X-Virus-Infected") != "",
		limit:           Plain(resp.Header.Get("x-ms-throttle-scope")+" "+resp.Header.Get("x-ms-throttle-information"), 160),
	}
	// What could be read of a body that breaks off is as good as none: the status still tells.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, errorBodyLimit))
	r.decode(body)
	return r
}

// ReadInner decodes a refused answer inside an answer to $batch.
func ReadInner(status int, header http.Header, body []byte) *Refusal {
	r := &Refusal{Status: status, retryAfter: retryAfter(header.Get("Retry-After"), time.Now())}
	if len(body) <= errorBodyLimit {
		r.decode(body)
	}
	return r
}

// decode reads Graph's error body: {"error":{"code","message","innerError":{…}}}, where innerError is also spelled innererror,
// may nest, and may name a more exact code (https://learn.microsoft.com/graph/errors).
func (r *Refusal) decode(body []byte) {
	var outer struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &outer) != nil {
		return
	}
	// encoding/json matches names without regard to case, so one field takes both spellings.
	type level struct {
		Code            string          `json:"code"`
		Message         string          `json:"message"`
		RequestID       string          `json:"request-id"`
		ClientRequestID string          `json:"client-request-id"`
		Inner           json.RawMessage `json:"innerError"`
	}
	for raw, depth := outer.Error, 0; len(raw) > 0 && depth < errorDepth; depth++ {
		var l level
		if json.Unmarshal(raw, &l) != nil {
			return
		}
		if l.Code != "" {
			r.codes = slices.Insert(r.codes, 0, strings.ToLower(Plain(l.Code, 100)))
		}
		if r.message == "" {
			r.message = Plain(l.Message, 300)
		}
		if r.requestID == "" {
			r.requestID = Plain(l.RequestID, 64)
		}
		if r.clientRequestID == "" {
			r.clientRequestID = Plain(l.ClientRequestID, 64)
		}
		raw = l.Inner
	}
}

// expiredCodes end a delta token, whatever the status they come with.
var expiredCodes = []string{"syncstatenotfound", "syncstateinvalid", "resyncrequired", "resyncchangesapplydifferences", "resyncchangesuploaddifferences",
	"directory_expiredpagetoken"}

// Classify says what a refusal means where nothing more is known than the request itself. what names it: "GET /users/…".
func (r *Refusal) Classify(what string) *backup.Error {
	e := &backup.Error{Cause: r, RetryAfter: r.retryAfter}
	set := func(code backup.Code, fault backup.Fault, retryable bool, message, hint string) *backup.Error {
		e.Code, e.Fault, e.Retryable, e.Hint = code, fault, retryable, hint
		e.Message = message + " (" + what + ")"
		return e
	}
	switch {
	case r.Expired():
		return set(backup.CodeCursorExpired, backup.FaultVendor, false, "Microsoft 365 no longer knows where the last read ended",
			"nothing to do: everything is listed again, and what has not changed is not fetched again")
	case r.throttled():
		return set(backup.CodeThrottled, backup.FaultVendor, true, "Microsoft 365 asks to come back later", "nothing to do: it is tried again by itself")
	case r.PerItem():
		return set(backup.CodeBadResponse, backup.FaultVendor, false, "Microsoft 365 cannot hand this out", "")
	case r.Status == http.StatusNotFound && !r.Missing():
		return set(backup.CodeBadResponse, backup.FaultVendor, true, "something answers in the place of Microsoft Graph", "check the proxies between the worker and Microsoft 365, and graphURL")
	case r.Status == http.StatusRequestTimeout || r.Status >= 500 && r.Status != http.StatusNotImplemented && r.Status != http.StatusInsufficientStorage:
		return set(backup.CodeBadResponse, backup.FaultVendor, true, "Microsoft 365 has a fault", "this usually passes by itself; Microsoft's service health page tells more")
	case r.Status == http.StatusUnauthorized:
		return set(backup.CodeBadCredential, backup.FaultCustomer, false, "Microsoft Graph does not accept the app's token, not even a new one",
			"check that the app registration is enabled and belongs to directoryTenant")
	case r.Status == http.StatusForbidden:
		return set(backup.CodeMissingRole, backup.FaultCustomer, false, "Microsoft 365 does not let the app do this", "check the app's application permissions and their admin consent")
	case r.Status == http.StatusPaymentRequired:
		return set(backup.CodeBadConfig, backup.FaultCustomer, false, "Microsoft bills this call and no billing is set up", "link an Azure subscription to the app registration")
	case r.Missing():
		return set(backup.CodeNotFound, backup.FaultVendor, false, "Microsoft 365 does not have this", "")
	}
	return set(backup.CodeBadResponse, backup.FaultOurs, false, "Microsoft Graph did not accept the request", "please report this with the request-id")
}

// Missing tells whether Graph itself says that a thing is not there. A proxy's or a maintenance page's 404 says nothing about it, and an
// error is never read as an absence.
func (r *Refusal) Missing() bool { return r.Status == http.StatusNotFound && len(r.codes) > 0 }

func (r *Refusal) Expired() bool {
	return r.Status == http.StatusGone || r.Has(expiredCodes...) || r.Status == http.StatusBadRequest && r.Says("DeltaToken")
}

// throttled: 429 and 509 always; 503 and 504 when they name a distance, for then they are a request and not an outage.
func (r *Refusal) throttled() bool {
	switch r.Status {
	case http.StatusTooManyRequests, 509:
		return true
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return r.retryAfter > 0
	}
	return false
}

// itemSkips are the codes by which the vendor says that one item's content cannot be had, however often it is asked for.
// Some of them come with a status of 500.
var itemSkips = map[string]backup.SkipReason{
	"errorcorruptdata":                 backup.SkipCorrupt,
	"errorcannotopenfileattachment":    backup.SkipCorrupt,
	"errorcontentconversionfailed":     backup.SkipCorrupt,
	"errormimecontentconversionfailed": backup.SkipCorrupt,
	"erroritemcorrupt":                 backup.SkipCorrupt,
	"errormessagesizeexceeded":         backup.SkipTooLarge,
	"malwaredetected":                  backup.SkipMalware,
	"resourcelocked":                   backup.SkipLocked,
	"notallowed":                       backup.SkipDenied,
	"accessrestricted":                 backup.SkipDenied,
}

// PerItem tells whether the answer is about this one item only.
func (r *Refusal) PerItem() bool { return r.Skip() != "" }

// Skip is the reason for which an item is left out, or empty when the refusal is not about the item alone.
func (r *Refusal) Skip() backup.SkipReason {
	if r.infected {
		return backup.SkipMalware
	}
	for _, c := range r.codes {
		if reason, ok := itemSkips[c]; ok {
			return reason
		}
	}
	switch r.Status {
	case http.StatusLocked:
		return backup.SkipLocked
	case http.StatusRequestEntityTooLarge:
		return backup.SkipTooLarge
	}
	return ""
}
