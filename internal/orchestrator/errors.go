package orchestrator

import (
	"context"
	"errors"
	"strings"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// The kinds of failure that callers tell apart with errors.Is. errors.As finds the *backup.Error with the text for a person beside them.
var (
	// ErrUnreachable: the Temporal server does not answer.
	ErrUnreachable = errors.New("orchestrator: server unreachable")
	// ErrNoAnswer: the server is there, but no worker answered in time.
	ErrNoAnswer = errors.New("orchestrator: no worker answers")
	// ErrNotFound: there is no such workflow or schedule.
	ErrNotFound = errors.New("orchestrator: no such workflow")
	// ErrRefused: a workflow looked at the message and did not accept it.
	ErrRefused = errors.New("orchestrator: refused")
)

// failure joins a sentinel with the classified error; only the latter is for reading.
type failure struct {
	kind error
	err  *backup.Error
}

func (f *failure) Error() string   { return f.err.Error() }
func (f *failure) Unwrap() []error { return []error{f.kind, f.err} }

// unreachable keeps of the transport's text only what a person can act on: what is wrong with a certificate.
func unreachable(address string, err error) error {
	message := "Temporal at " + address + " does not answer"
	for _, mark := range []string{"x509: ", "tls: "} {
		if _, why, ok := strings.Cut(err.Error(), mark); ok {
			message += ": " + strings.Trim(why, `"`)
			break
		}
	}
	return &failure{ErrUnreachable, &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultOurs, Retryable: true, Message: message, Hint: "holdfastd dev"}}
}

func noAnswer() error {
	return &failure{ErrNoAnswer, &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultOurs, Retryable: true,
		Message: "no worker answered in time", Hint: "look whether holdfastd is running: holdfastd dev, or holdfastd run"}}
}

func notFound(message, hint string) error {
	return &failure{ErrNotFound, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: message, Hint: hint}}
}

// classify turns what a call to Temporal returned into the errors of this package. what names the thing that was asked for,
// hint is what to type when it is not there.
func (c *Client) classify(ctx context.Context, err error, what, hint string) error {
	var known *backup.Error
	var missing *serviceerror.NotFound
	var noNamespace *serviceerror.NamespaceNotFound
	var late *client.WorkflowUpdateServiceTimeoutOrCanceledError
	var queried *serviceerror.QueryFailed
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.As(err, &noNamespace):
		return missingNamespace(c.namespace)
	case errors.As(err, &missing):
		return notFound(what+" is not there", hint)
	case ended(err):
		return spoken(err)
	case unprepared(err):
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the namespace " + c.namespace + " is not prepared for Holdfast",
			Hint: "start holdfastd: dev prepares the namespace, run prints the commands that do"}
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case noWorker(err), errors.As(err, &late):
		return noAnswer()
	case errors.As(err, &queried):
		return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: what + " could not be asked", Cause: err}
	case serverGone(err):
		return unreachable(c.address, err)
	case timedOut(err):
		return noAnswer()
	}
	return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: what + " failed", Retryable: true, Cause: err}
}

// noWorker recognises the server's answer to a query for which nobody polls.
func noWorker(err error) bool {
	var precondition *serviceerror.FailedPrecondition
	return errors.As(err, &precondition) && strings.Contains(precondition.Message, "no poller")
}

// unprepared recognises that the namespace lacks a search attribute.
func unprepared(err error) bool {
	var invalid *serviceerror.InvalidArgument
	return errors.As(err, &invalid) && strings.Contains(invalid.Message, "search attribute")
}

func serverGone(err error) bool {
	var gone *serviceerror.Unavailable
	return errors.As(err, &gone)
}

func timedOut(err error) bool {
	var deadline *serviceerror.DeadlineExceeded
	return errors.As(err, &deadline) || errors.Is(err, context.DeadlineExceeded)
}

// ended tells whether the workflow itself answered, by failing, by being stopped, or by refusing an update.
func ended(err error) bool {
	var applied *temporal.ApplicationError
	var late *temporal.TimeoutError
	var cancelled *temporal.CanceledError
	var terminated *temporal.TerminatedError
	return errors.As(err, &applied) || errors.As(err, &late) || errors.As(err, &cancelled) || errors.As(err, &terminated)
}

// spoken is what a workflow answered, as a classified error.
func spoken(err error) *backup.Error {
	v := workflows.VerdictOf(err)
	return &backup.Error{Code: v.Code, Fault: v.Fault, Message: v.Detail, Hint: v.Hint}
}

func alreadyRuns(err error) bool {
	var running *serviceerror.WorkflowExecutionAlreadyStarted
	return errors.As(err, &running)
}

// refused marks a classified answer of a workflow to an update as a refusal; other errors stay what they are.
func refused(err error) error {
	var e *backup.Error
	var f *failure
	if errors.As(err, &e) && !errors.As(err, &f) {
		return &failure{ErrRefused, e}
	}
	return err
}
