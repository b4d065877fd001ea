// Package orchestrator is Holdfast's typed client of Temporal.
//
// It is the one place where a method call becomes a workflow start, a signal, an update, a query or a schedule, so that the
// command line, the gateway and the activities speak of tenants, tasks and runs and never of Temporal. Nothing here decides
// anything: decisions are in workflows and in internal/backup.
//
// Every wait ends with its context. Calls that need an answer from a worker get a limit of their own (AnswerTimeout) when the
// context has none, because a worker that is not running never answers. Errors are a handful of sentinels, ErrUnreachable,
// ErrNoAnswer, ErrNotFound and ErrRefused, which wrap the classified *backup.Error with the text for a person.
package orchestrator
