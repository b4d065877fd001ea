package activities

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// errStopping ends work in order on a worker that was told to stop: what is done is kept, and another worker goes on at once.
var errStopping error = &backup.Error{Code: backup.CodeCancelled, Fault: backup.FaultOurs, Message: "this worker is stopping", Retryable: true,
	RetryAfter: time.Second, Hint: "nothing to do: another worker goes on, or this one when it is started again"}

// untilStopping is ctx until the worker is told to stop; its cause is errStopping then. The SDK itself ends an activity's context
// only when the time for draining is over, which is too late to save anything.
func untilStopping(ctx context.Context, stopping <-chan struct{}) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-stopping:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// stopped tells whether the worker was told to stop.
func stopped(stopping <-chan struct{}) bool {
	select {
	case <-stopping:
		return true
	default:
		return false
	}
}
