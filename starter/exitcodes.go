package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
)

// Exit codes. Scripts depend on them: a code is never given another meaning.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitBadFile     = 3
	exitWaiting     = 4
	exitNotFound    = 5
	exitRefused     = 6
	exitUnreachable = 7
	exitPartial     = 8
	exitInterrupted = 130
)

const exitCodesText = `How holdfast ends:

  0    done
  1    failed: what was asked for was tried and did not succeed
  2    usage: the command line is not understood
  3    bad file: the tenant file has problems, each is listed with its line
  4    waiting: a task waits for a person; holdfast inbox shows it
  5    not found: no such tenant, task, run or account
  6    refused: the decision or request was looked at and not accepted
  7    unreachable: Temporal, a worker or the gateway does not answer
  8    partial: the backup ended, and some accounts failed
  130  interrupted by Ctrl-C or a signal`

func newExitCodes() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "The exit codes", Long: exitCodesText}
}

// usageError marks what cobra or a command said about the command line itself.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// outcome ends the program with a code after everything was said.
type outcome int

func (outcome) Error() string { return "" }

// failed marks the failure of what was asked for. Whatever its code says of a system far away, for this program it is a failure.
type failed struct{ err error }

func (e *failed) Error() string { return e.err.Error() }
func (e *failed) Unwrap() error { return e.err }

// exitCode classifies an error once, for the program's end.
func exitCode(err error) int {
	var o outcome
	var usage *usageError
	var failure *failed
	var problems *tenantfile.Problems
	var file *fs.PathError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &o):
		return int(o)
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &failure):
		return exitFailed
	case errors.As(err, &problems), errors.As(err, &file):
		return exitBadFile
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, orchestrator.ErrUnreachable), errors.Is(err, orchestrator.ErrNoAnswer), errors.Is(err, readapi.ErrUnreachable), errors.Is(err, errNotSetUp):
		return exitUnreachable
	case errors.Is(err, orchestrator.ErrRefused):
		return exitRefused
	case errors.Is(err, orchestrator.ErrNotFound), backup.HasCode(err, backup.CodeNotFound):
		return exitNotFound
	}
	return exitFailed
}
