// Package sqlstore keeps what Holdfast knows in a SQL database: tenants, directory entries and accounts, runs and their
// parts, alerts, connectors and their enrolments, the generations of keys and the log of their receipts, and the short-lived rows by
// which a key request reaches a connector.
//
// Today the database is one SQLite file in WAL mode, which several processes of one machine may use at once (workers and
// gateways). Every statement is written so that PostgreSQL can run it unchanged: numbered parameters, ON CONFLICT,
// RETURNING, UPDATE … FROM, row values and window functions mean the same to both; BYTEA and BIGINT are types to the one
// and mere names to the other. A point in time is an integer of microseconds since 1970 UTC, with 0 for "never", so a time
// that is read back is rounded down to the microsecond.
//
// Work on a directory is done in sets: a listing is staged page by page, and comparing and applying it are a handful of
// statements over all of it, so that memory does not grow with the directory.
package sqlstore
