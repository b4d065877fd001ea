package connector

import (
	"encoding/json"
	"net/http"
)

// Failure is the body of every answer of the gateway that is not 200.
type Failure struct {
	Code    FailureCode `json:"code"`
	Message string      `json:"message"`
	Hint    string      `json:"hint,omitempty"`
}

func (f *Failure) Error() string { return f.Message }

// FailureCode is why the gateway did not do what a connector asked. The set is closed.
type FailureCode string

// Failure codes, and the HTTP status of each.
const (
	FailMalformed   FailureCode = "malformed"      // 400
	FailNotPinned   FailureCode = "not_pinned"     // 401: unknown connector, or a signature that is not its identity's
	FailStale       FailureCode = "stale"          // 401: signed too long ago or in the future
	FailOtherTenant FailureCode = "other_tenant"   // 403: an answer in another tenant's or connector's name
	FailEnrolment   FailureCode = "enrolment"      // 403: a token that is unknown, expired or used
	FailEnrolOften  FailureCode = "enrol_often"    // 429
	FailNoPath      FailureCode = "no_path"        // 404
	FailReplayed    FailureCode = "replayed"       // 409: this call was made before
	FailGone        FailureCode = "gone"           // 410: the request no longer waits for an answer
	FailTooLarge    FailureCode = "too_large"      // 413
	FailTooMany     FailureCode = "too_many_polls" // 429
	FailTooFast     FailureCode = "too_fast"       // 429
	FailStore       FailureCode = "store"          // 503
	FailGoingAway   FailureCode = "going_away"     // 503: this gateway is stopping
)

var failureStatus = map[FailureCode]int{
	FailMalformed: http.StatusBadRequest, FailNotPinned: http.StatusUnauthorized, FailStale: http.StatusUnauthorized,
	FailOtherTenant: http.StatusForbidden, FailEnrolment: http.StatusForbidden, FailEnrolOften: http.StatusTooManyRequests,
	FailNoPath: http.StatusNotFound, FailReplayed: http.StatusConflict,
	FailGone: http.StatusGone, FailTooLarge: http.StatusRequestEntityTooLarge, FailTooMany: http.StatusTooManyRequests, FailTooFast: http.StatusTooManyRequests,
	FailStore: http.StatusServiceUnavailable, FailGoingAway: http.StatusServiceUnavailable,
}

var (
	failMalformed = &Failure{FailMalformed, "the call is not well formed", "use a connector of this gateway's version"}
	// failNotPinned is one answer for an unknown name and for a wrong identity, so that names cannot be guessed.
	failNotPinned = &Failure{FailNotPinned, "no connector of this name and identity is pinned for the tenant",
		"add the connector's name and identity under key.connectors in the tenant's file and apply it"}
	failStale       = &Failure{FailStale, "the call's time is more than a minute away from the gateway's", "set the connector's clock (NTP)"}
	failOtherTenant = &Failure{FailOtherTenant, "the answer is in another tenant's or connector's name", ""}
	failNoPath      = &Failure{FailNoPath, "there is nothing at this path", "use a connector of this gateway's version"}
	failReplayed    = &Failure{FailReplayed, "this call was made before", ""}
	failGone        = &Failure{FailGone, "the request no longer waits for an answer", ""}
	failTooLarge    = &Failure{FailTooLarge, "the body is too large", ""}
	failTooMany     = &Failure{FailTooMany, "this connector has too many polls waiting", "run one connector under each name"}
	failTooFast     = &Failure{FailTooFast, "this connector calls too often", "the connector tries again by itself; run one connector under each name"}
	failStore       = &Failure{FailStore, "the gateway's store does not answer", "the connector tries again by itself"}
	failGoingAway   = &Failure{FailGoingAway, "the gateway is stopping", "the connector tries again by itself"}
)

func (f *Failure) write(w http.ResponseWriter) {
	writeJSON(w, failureStatus[f.Code], f)
}

// writeJSON has no use for a write error: the connector has gone and will call again.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
