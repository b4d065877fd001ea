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

// failHolder is fail for a run's key: what a holder is or says ends the activity for good, under its code, because whether the run waits
// for the holder, and how long, is the workflow's to say.
func failHolder(err error) error {
	if !stateOfHolder(err) {
		return fail(err)
	}
	e := *backup.AsError(err)
	e.Retryable, e.RetryAfter = false, 0
	return fail(&e)
}

// holderVerdict turns what came of asking a key's holder into a verdict. That a holder is away, sealed or refuses is a state of the world
// and nothing to be tried again for a person to find out; only our own and passing troubles are errors.
func holderVerdict(detail string, err error) (backup.Verdict, error) {
	if stateOfHolder(err) {
		return backup.VerdictOf(err, ""), nil
	}
	return verdict(detail, err)
}

// stateOfHolder tells what a key's holder is or says, which lasts until somebody mends it, from trouble of ours.
func stateOfHolder(err error) bool {
	var e *backup.Error
	if !errors.As(err, &e) || e.Fault == backup.FaultOurs {
		return false
	}
	switch e.Code {
	case backup.CodeNotConnected, backup.CodeDenied, backup.CodeSealed, backup.CodeRevoked, backup.CodeDestroyed, backup.CodeUnreachable,
		backup.CodeBadCredential, backup.CodeMissingRole:
		return true
	}
	return false
}
