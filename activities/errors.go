package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// fail turns a classified error into what Temporal needs to know: its type is the code, its details are the verdict in an
// administrator's words, and a distance the other side asked for becomes the next retry. The cause itself is not attached:
// its text is part of the message, and chains of foreign errors do not belong into a history.
func fail(err error) error {
	if err == nil {
		return nil
	}
	var done *temporal.ApplicationError
	if interrupted(err) || errors.As(err, &done) {
		return err
	}
	e := backup.AsError(err)
	return temporal.NewApplicationErrorWithOptions(e.Error(), string(e.Code), temporal.ApplicationErrorOptions{
		NonRetryable:   !e.Retryable,
		NextRetryDelay: e.RetryAfter,
		Details:        []any{backup.VerdictOf(e, "")},
	})
}

// interrupted tells that a context ended, and nothing else went wrong. A time-out of somebody else's system reads as
// context.DeadlineExceeded, too (net and net/http say so of theirs), but an adapter has classified it.
func interrupted(err error) bool {
	var classified *backup.Error
	return !errors.As(err, &classified) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// verdict turns what a customer's system answered into a verdict, and lets only our own and passing troubles be errors, which
// Temporal retries before a person is asked.
func verdict(detail string, err error) (backup.Verdict, error) {
	if err == nil {
		return backup.VerdictOf(nil, detail), nil
	}
	if e := backup.AsError(err); e.Retryable {
		return backup.Verdict{}, fail(err)
	}
	return backup.VerdictOf(err, ""), nil
}
