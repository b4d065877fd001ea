package connector

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// decide judges a request and, when nothing speaks against it, does what it asks.
func (a *Agent) decide(ctx context.Context, r Request) Answer {
	refusal := a.judge(r)
	if refusal == nil {
		refusal = a.seenBefore(r)
	}
	if refusal == nil {
		refusal = a.heedPolicy(r)
	}
	if refusal != nil {
		return Answer{Refusal: refusal}
	}
	return a.act(ctx, r)
}

// judge checks a well-formed request against what is pinned. Who asks is proved first; the rest is then that worker's word.
func (a *Agent) judge(r Request) *Refusal {
	now := a.now()
	switch {
	case !slices.Contains(a.key.Workers, r.Requester):
		return denied("the worker's identity is not pinned")
	case !r.signed():
		return denied("the signature is not the worker's")
	case r.Tenant != a.key.Tenant:
		return denied("the request is for another tenant")
	case r.Holder != "" && r.Holder != a.key.Connector:
		return denied("the request is for another connector")
	case time.UnixMilli(r.Issued).After(now.Add(clockSkew)):
		return denied("the request was issued in the future; compare the clocks")
	case !r.expires().Add(clockSkew).After(now):
		return denied("the request has expired; compare the clocks")
	case !knownPurpose(r.Purpose):
		return denied("the purpose is not known")
	}
	return nil
}

// seenBefore notes the request's nonce on disk; a request that cannot be noted is not served.
func (a *Agent) seenBefore(r Request) *Refusal {
	fresh, err := a.nonces.use(r.Nonce, r.expires().Add(clockSkew), a.now())
	switch {
	case errors.Is(err, errTooManyNonces):
		return denied(err.Error())
	case err != nil:
		a.log.Error("the record of seen requests cannot be written", zap.Error(err))
		return denied("the connector cannot write its record of seen requests")
	case !fresh:
		return denied("this request was seen before")
	}
	return nil
}

// heedPolicy asks the customer's policy, and counts what lets the ekey out.
func (a *Agent) heedPolicy(r Request) *Refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	if refusal := a.policy.refuses(r, a.now()); refusal != nil {
		return refusal
	}
	if r.seals() && !a.left.allow(a.policy.ReleasesPerHour, a.now()) {
		return denied("the connector's policy lets the ekey out no more often within an hour")
	}
	return nil
}

func denied(reason string) *Refusal { return &Refusal{Code: backup.CodeDenied, Reason: reason} }

// refusalOf turns what a key store says into a refusal. Only words of ours get out; a source that fails in its own words counts as
// sealed, because it may come back.
func (a *Agent) refusalOf(err error) *Refusal {
	e := backup.AsError(err)
	if (refusalCode(e.Code) && e.Code != backup.CodeDenied) && plainText(e.Message, maxReason) {
		return &Refusal{Code: e.Code, Reason: e.Message}
	}
	a.log.Error("the ekey cannot be had", zap.Error(err))
	if e.Code == backup.CodeWrongKey {
		return &Refusal{Code: backup.CodeNotFound, Reason: "what the connector keeps under this number is another ekey"}
	}
	return &Refusal{Code: backup.CodeSealed, Reason: "the place where the connector keeps the ekey does not serve; its log says why"}
}
