package msgraph

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// nearLimit is the part of a limit from which the directory tells how near it is (x-ms-throttle-limit-percentage, 0.8 to 1.8). See
	// https://learn.microsoft.com/graph/throttling-limits, identity and access.
	nearLimit = 0.8
	// longestEase is the pause before a request when the limit is reached.
	longestEase = 2 * time.Second
)

// ease slows requests down before the service has to refuse them: refused ones count against the limit, too.
type ease struct{ pause atomic.Int64 } // nanoseconds

// hear reads how near a limit is. An answer that says nothing of it takes the pause back.
func (e *ease) hear(h http.Header) {
	part, err := strconv.ParseFloat(h.Get("x-ms-throttle-limit-percentage"), 64)
	if err != nil || !(part > nearLimit) {
		e.pause.Store(0)
		return
	}
	e.pause.Store(int64(float64(longestEase) * min(1, (part-nearLimit)/(1-nearLimit))))
}

// wait waits as long as the last answer made it advisable.
func (e *ease) wait(ctx context.Context, p Policy) error {
	if d := time.Duration(e.pause.Load()); d > 0 {
		return p.Wait(ctx, d)
	}
	return nil
}
