package graph

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// FaultKind is a way to misbehave. Each is one that the real service shows now and then.
type FaultKind string

const (
	// FaultThrottle answers 429 and FaultUnavailable 503, both with Retry-After.
	FaultThrottle    FaultKind = "throttle"
	FaultUnavailable FaultKind = "unavailable"
	// FaultUnauthorized answers 401 although the token is good.
	FaultUnauthorized FaultKind = "unauthorized"
	// FaultSlow waits Delay before it answers.
	FaultSlow FaultKind = "slow"
	// FaultCut breaks the connection in the middle of a body.
	FaultCut FaultKind = "cut"
	// FaultPartial gives changed users in users/delta with one of their properties alone.
	FaultPartial FaultKind = "partial"
	// FaultShuffle gives delta pages in reverse order, with an item repeated and with empty pages in between.
	FaultShuffle FaultKind = "shuffle"
	// FaultFence closes User's mailbox to applications (403 "Access to OData is disabled").
	FaultFence FaultKind = "fence"
	// FaultNoHash leaves quickXorHash out, as the service may before a first download.
	FaultNoHash FaultKind = "no-hash"

	// The following concern one Item (a message or file by id, or any) when its content is asked for:
	// FaultCorrupt is a message that the service cannot read, FaultLocked a file that is checked out, FaultDenied a file that
	// a label closes, FaultTooLarge an answer of 413.
	FaultCorrupt  FaultKind = "corrupt"
	FaultLocked   FaultKind = "locked"
	FaultDenied   FaultKind = "denied"
	FaultTooLarge FaultKind = "too-large"
)

var faultKinds = []FaultKind{FaultThrottle, FaultUnavailable, FaultUnauthorized, FaultSlow, FaultCut, FaultPartial, FaultShuffle, FaultFence, FaultNoHash,
	FaultCorrupt, FaultLocked, FaultDenied, FaultTooLarge}

// Fault is an order to misbehave. It stands until it is used up or cleared.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// On, User and Item narrow it to a kind of call, a person (id, UPN or mail) and an item id; empty means any. The token
	// endpoint is struck only when On names it, so that an order meant for Graph is not used up by a login.
	On   Call   `json:"on,omitempty"`
	User string `json:"user,omitempty"`
	Item string `json:"item,omitempty"`
	// Next is how many calls it strikes before it is used up; 0 means all until it is cleared.
	Next int `json:"next,omitempty"`
	// Every strikes only every so many of the calls it concerns; 0 and 1 mean each.
	Every int `json:"every,omitempty"`
	// RetryAfter goes into Retry-After, in seconds; default 1.
	RetryAfter int `json:"retryAfter,omitempty"`
	// DelayMillis is how long FaultSlow waits.
	DelayMillis int `json:"delayMillis,omitempty"`

	seen, struck int
}

func (f *Fault) status() int {
	if f.Kind == FaultUnavailable {
		return http.StatusServiceUnavailable
	}
	return http.StatusTooManyRequests
}

// faults are the orders that stand.
type faults struct {
	mu   sync.Mutex
	list []*Fault
}

// maxFaults bounds how many orders may stand at once.
const maxFaults = 1000

// Inject gives an order to misbehave.
func (s *Server) Inject(f Fault) error {
	if !slices.Contains(faultKinds, f.Kind) {
		return fmt.Errorf("unknown fault %q; there are %v", f.Kind, faultKinds)
	}
	if f.On != "" && !slices.Contains(allCalls, f.On) {
		return fmt.Errorf("unknown call %q; there are %v", f.On, allCalls)
	}
	if f.Next < 0 || f.Every < 0 || f.RetryAfter < 0 || f.DelayMillis < 0 || f.DelayMillis > 600_000 {
		return fmt.Errorf("a fault's numbers must not be negative, and the delay at most ten minutes")
	}
	if f.User != "" {
		u, ok := s.company.find(f.User)
		if !ok {
			return fmt.Errorf("nobody is called %q", f.User)
		}
		f.User = u.UPN
	}
	if f.RetryAfter == 0 {
		f.RetryAfter = 1
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	if len(s.faults.list) >= maxFaults {
		return fmt.Errorf("more than %d faults stand; clear them first", maxFaults)
	}
	s.faults.list = append(s.faults.list, &f)
	return nil
}

// ClearFaults takes all orders of the kinds back, or all when none is named.
func (s *Server) ClearFaults(kinds ...FaultKind) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = slices.DeleteFunc(s.faults.list, func(f *Fault) bool { return len(kinds) == 0 || slices.Contains(kinds, f.Kind) })
}

// strike tells whether an order of one of the kinds concerns this call now, and counts it.
func (f *faults) strike(on Call, upn string, kinds ...FaultKind) (Fault, bool) {
	return f.strikeItem(on, upn, "", kinds...)
}

func (f *faults) strikeItem(on Call, upn, item string, kinds ...FaultKind) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, o := range f.list {
		if !slices.Contains(kinds, o.Kind) || !o.concerns(on, upn, item) {
			continue
		}
		o.seen++
		if o.Every > 1 && o.seen%o.Every != 0 {
			continue
		}
		o.struck++
		if o.Next > 0 && o.struck == o.Next {
			f.list = slices.Delete(f.list, i, i+1)
		}
		return *o, true
	}
	return Fault{}, false
}

func (o *Fault) concerns(on Call, upn, item string) bool {
	if o.On != on && (o.On != "" || on == CallToken) {
		return false
	}
	return (o.User == "" || strings.EqualFold(o.User, upn)) && (o.Item == "" || o.Item == item)
}

// delay waits as FaultSlow says, or until the caller hangs up.
func (s *Server) delay(r *http.Request, on Call, upn string) {
	f, hit := s.faults.strike(on, upn, FaultSlow)
	if !hit {
		return
	}
	t := time.NewTimer(time.Duration(f.DelayMillis) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}
