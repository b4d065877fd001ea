// Package backup is the vocabulary of Holdfast and its pure decisions.
//
// Everything here is plain data and functions without side effects, made of the standard library
// only: what a tenant, an account, a run and a task are, how an error is classified, how a new
// directory listing is told apart from a dangerous one, and when a run may be called complete.
// Workflows, activities, adapters and programs all speak in these types, so that none of them
// needs to know another.
package backup
