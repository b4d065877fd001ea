package backup

import (
	"fmt"
	"time"
)

// Counts is what a backup did with the items a service listed. Every distinct listed item ends in exactly one of
// Stored, Unchanged, Skipped and Gone; Proved says so.
type Counts struct {
	Listed    int64 `json:"listed"`    // distinct items the service told of, removal markers and what is asked for again included
	Stored    int64 `json:"stored"`    // content or metadata written
	Unchanged int64 `json:"unchanged"` // already in the snapshot in this version
	Skipped   int64 `json:"skipped"`   // cannot be had, each with a SkipReason
	Gone      int64 `json:"gone"`      // removed at the service: a removal marker, or vanished before it could be read
	// Dropped counts items of the last snapshot that a full listing no longer showed; they are not part of Listed.
	Dropped int64 `json:"dropped"`
	Bytes   int64 `json:"bytes"` // content bytes read from the service
	// APICalls counts HTTP requests to the SaaS app, retries included.
	APICalls int64 `json:"apiCalls"`
	// Resyncs counts expired delta tokens that led to a full listing.
	Resyncs int64 `json:"resyncs"`
	// Items is how many items the committed snapshot holds.
	Items int64 `json:"items"`
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	c.Listed += o.Listed
	c.Stored += o.Stored
	c.Unchanged += o.Unchanged
	c.Skipped += o.Skipped
	c.Gone += o.Gone
	c.Dropped += o.Dropped
	c.Bytes += o.Bytes
	c.APICalls += o.APICalls
	c.Resyncs += o.Resyncs
	c.Items += o.Items
}

// Prove returns an error unless listed = stored + unchanged + skipped + gone.
func (c Counts) Prove() error {
	if sum := c.Stored + c.Unchanged + c.Skipped + c.Gone; sum != c.Listed {
		return &Error{Code: CodeCountsMismatch, Fault: FaultOurs,
			Message: fmt.Sprintf("the service listed %d items but %d are accounted for (%d stored, %d unchanged, %d skipped, %d gone)", c.Listed, sum, c.Stored, c.Unchanged, c.Skipped, c.Gone),
			Hint:    "the run is not complete; please report this with the run's number"}
	}
	return nil
}

// SkipReason is why an item is not in the snapshot although the service lists it. The set is closed.
type SkipReason string

const (
	SkipMalware  SkipReason = "malware"   // the vendor refuses to hand it out
	SkipCorrupt  SkipReason = "corrupt"   // the vendor cannot read it
	SkipLocked   SkipReason = "locked"    // checked out or locked
	SkipDenied   SkipReason = "denied"    // a label or policy closes this one item
	SkipPackage  SkipReason = "package"   // a OneNote package, which has no content of its own
	SkipShortcut SkipReason = "shortcut"  // a link to another drive's item
	SkipTooLarge SkipReason = "too_large" // over the vendor's limit for this call
	SkipUnstable SkipReason = "unstable"  // length or hash never agreed with its metadata
)

// RunOutcome is how a run ended.
type RunOutcome string

const (
	RunRunning  RunOutcome = "running"
	RunComplete RunOutcome = "complete" // every account done, every count proved
	RunPartial  RunOutcome = "partial"  // some accounts failed; the others are complete
	RunFailed   RunOutcome = "failed"
)

// Run is one backup of one app of one tenant.
type Run struct {
	Tenant string `json:"tenant"`
	// Number counts the tenant's runs from 1; it is what a person types.
	Number     int64      `json:"number"`
	App        App        `json:"app"`
	WorkflowID string     `json:"workflowID"`
	RunID      string     `json:"runID"`
	Started    time.Time  `json:"started"`
	Ended      time.Time  `json:"ended,omitzero"`
	Outcome    RunOutcome `json:"outcome"`
	Code       Code       `json:"code,omitempty"`
	Detail     string     `json:"detail,omitempty"`
	// Parts counts account-services: all, done, failed, and without the service (no mailbox, no drive).
	Parts     int    `json:"parts"`
	Done      int    `json:"done"`
	Failed    int    `json:"failed"`
	NoService int    `json:"noService"`
	Counts    Counts `json:"counts"`
}

// JudgeRun decides how a run ended from its totals.
func JudgeRun(r Run) (RunOutcome, error) {
	if err := r.Counts.Prove(); err != nil {
		return RunFailed, err
	}
	switch open := r.Parts - r.Done - r.Failed - r.NoService; {
	case r.Parts == 0:
		return RunFailed, &Error{Code: CodeEmptyListing, Fault: FaultCustomer, Message: "nobody is protected: the tenant has no active account", Hint: "holdfast users list " + r.Tenant + "; holdfast users import " + r.Tenant}
	case open != 0:
		return RunFailed, &Error{Code: CodeInternal, Fault: FaultOurs, Message: fmt.Sprintf("%d account services were never finished", open), Hint: "holdfast backup run " + r.Tenant}
	case r.Failed == 0:
		return RunComplete, nil
	case r.Done+r.NoService > 0:
		return RunPartial, nil
	}
	return RunFailed, nil
}

// PartState is where one account-service of a run stands.
type PartState string

const (
	PartOpen      PartState = "open"
	PartDone      PartState = "done"
	PartFailed    PartState = "failed"
	PartNoService PartState = "no_service"
)

// RunPart is one service of one account within a run.
type RunPart struct {
	Account  Account   `json:"account"`
	Service  Service   `json:"service"`
	State    PartState `json:"state"`
	Code     Code      `json:"code,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Snapshot string    `json:"snapshot,omitempty"`
	Counts   Counts    `json:"counts"`
	// Skips counts skipped items by reason.
	Skips map[SkipReason]int64 `json:"skips,omitempty"`
}
