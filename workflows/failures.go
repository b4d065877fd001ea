package workflows

import (
	"errors"
	"fmt"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// VerdictOf is the inverse of what activities and workflows do with classified errors: whatever an activity, a child workflow,
// an update or a workflow handle returned becomes the verdict of an administrator again. Time-outs and cancellations, which
// no activity can classify because it is gone, are put into words here. A nil error is a passing verdict.
func VerdictOf(err error) backup.Verdict {
	var (
		application *temporal.ApplicationError
		timeout     *temporal.TimeoutError
		cancelled   *temporal.CanceledError
		terminated  *temporal.TerminatedError
		panicked    *temporal.PanicError
	)
	switch {
	case err == nil:
		return backup.Verdict{Passing: true}
	case errors.As(err, &timeout):
		return timedOut(err, timeout)
	case errors.As(err, &application):
		return classified(application)
	case errors.As(err, &cancelled):
		return backup.Verdict{Code: backup.CodeCancelled, Fault: backup.FaultCustomer, Detail: "it was cancelled"}
	case errors.As(err, &terminated):
		return backup.Verdict{Code: backup.CodeCancelled, Fault: backup.FaultCustomer, Detail: "it was terminated"}
	case errors.As(err, &panicked):
		return backup.Verdict{Code: backup.CodeInternal, Fault: backup.FaultOurs, Detail: panicked.Error(), Hint: "please report this with the workflow's id"}
	}
	return backup.VerdictOf(err, "")
}

// classified reads the verdict that travels in the details. An error that somebody else made has none: its type tells the
// code when it is one of ours, and it is ours to mend otherwise.
func classified(err *temporal.ApplicationError) backup.Verdict {
	var v backup.Verdict
	if err.HasDetails() && err.Details(&v) == nil && v.Code != "" {
		v.Passing = false
		return v
	}
	return backup.Verdict{Code: backup.CodeInternal, Fault: backup.FaultOurs, Detail: err.Message(), Hint: "the worker's log tells more"}
}

// timedOut says who did not answer. The last failure of an activity that ran out of its whole budget is the better answer.
func timedOut(err error, timeout *temporal.TimeoutError) backup.Verdict {
	var last *temporal.ApplicationError
	if errors.As(timeout.Unwrap(), &last) {
		return classified(last)
	}
	what := "the work"
	var activity *temporal.ActivityError
	if errors.As(err, &activity) {
		what = activity.ActivityType().GetName()
	}
	v := backup.Verdict{Code: backup.CodeUnreachable, Fault: backup.FaultOurs, Hint: "is a worker running? see its log, and the Workers page of the Temporal Web UI"}
	switch timeout.TimeoutType() {
	case enums.TIMEOUT_TYPE_HEARTBEAT:
		v.Detail = fmt.Sprintf("the worker stopped answering in the middle of %s", what)
	case enums.TIMEOUT_TYPE_SCHEDULE_TO_START:
		v.Detail = fmt.Sprintf("no worker took up %s", what)
	default:
		v.Detail = fmt.Sprintf("%s did not end in time", what)
	}
	return v
}

// failure ends a workflow, or refuses a decision: never retried, its type the verdict's code, its first detail the verdict. That
// is the form of the activities' errors, too, so a caller reads all of them in one way.
func failure(v backup.Verdict, details ...any) error {
	return temporal.NewApplicationErrorWithOptions(v.Detail, string(v.Code), temporal.ApplicationErrorOptions{
		NonRetryable: true,
		Details:      append([]any{v}, details...),
	})
}

// refusal carries a classified error across an update: the caller finds code, words and hint again with VerdictOf.
func refusal(err error) error { return failure(backup.VerdictOf(err, "")) }

// failed wraps what a step of a workflow met, so that the workflow's own failure reads like it. When the workflow itself was
// cancelled, that is what it met; a child that somebody cancelled is a failure like any other.
func failed(ctx workflow.Context, err error) error {
	switch {
	case err == nil || errors.Is(err, errContinue):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return failure(VerdictOf(err))
}

// neverRetried tells whether an activity said itself that trying again is of no use.
func neverRetried(err error) bool {
	var application *temporal.ApplicationError
	return errors.As(err, &application) && application.NonRetryable()
}
