package msgraph

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// attempts bounds how often one request is sent: the waits between add up to some 15 s when nobody names a distance.
	attempts = 5
	// patience is the longest Retry-After that is waited for in place. A longer one goes back to the caller, who has better
	// things to do than to hold a slot.
	patience = time.Minute
	// firstPause and longestPause bound the waits when no distance is named.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	// longestRetryAfter bounds what is believed of a Retry-After.
	longestRetryAfter = 24 * time.Hour
)

// Policy is how requests are repeated: the token's, Graph's and the downloads'. What may be repeated was decided where the error was
// classified; here is only how often and when.
type Policy struct {
	Wait func(context.Context, time.Duration) error
}

// Run calls try until it succeeds, fails for good, asks for more patience than there is, or was tried often enough.
func (p Policy) Run(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var e *backup.Error
		if !errors.As(err, &e) || !e.Retryable || e.RetryAfter > patience || n == attempts {
			return err
		}
		if err := p.Wait(ctx, max(e.RetryAfter, pause(n, e))); err != nil {
			return err
		}
	}
}

// pause is the distance to the next attempt when nobody named one: doubling, with jitter so that many workers do not come back
// as one.
func pause(attempt int, e *backup.Error) time.Duration {
	if e.RetryAfter > 0 {
		return 0
	}
	d := min(longestPause, firstPause<<(attempt-1))
	return d/2 + rand.N(d/2)
}

// Sleep waits unless ctx ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds or a date. Zero when there is none or it is unreadable.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" || len(header) > 64 {
		return 0
	}
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil {
		return time.Duration(min(max(0, seconds), int64(longestRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now)), longestRetryAfter)
	}
	return 0
}
