// Package sqlstore keeps what Holdfast knows in a SQL database: tenants, directory entries and accounts, runs and their
// parts, alerts, connectors and their enrolments, the generations of keys and the log of their receipts, and the short-lived rows by
// which a key request reaches a connector.
//
// The database is one SQLite file in WAL mode, which several processes of one machine may use at once (workers and gateways), or a
// database of PostgreSQL 15 or newer, which they may use from several machines. Schema and statements are the same for both:
// numbered parameters, ON CONFLICT, RETURNING, UPDATE … FROM, row values and window functions mean the same to them; BYTEA and
// BIGINT are types to the one and mere names to the other. What does differ is a dialect's business. A point in time is an integer
// of microseconds since 1970 UTC, with 0 for "never", so a time that is read back is rounded down to the microsecond. Texts are
// ordered by their bytes.
//
// # Who may change what at once
//
// SQLite has one writer at a time. PostgreSQL has many, each at READ COMMITTED, where every statement sees what was committed before
// it began; so a transaction says when it begins what it keeps to itself:
//
//   - [Store.changeTenant] one tenant: for whatever decides by rows of that tenant that it read before. Other tenants go on.
//   - [Store.changeRows] nothing but the rows it touches: for statements that decide by the row they write (an UPDATE with its
//     condition, an INSERT … ON CONFLICT) or that lock a row of their own first (lockNumber, lockLog).
//
// The first waits on an advisory lock that ends with the transaction, and none is taken after another one by the same, so they cannot
// wait for each other in a circle. Row locks can: PostgreSQL ends one of two such transactions, and it is run again, a few times at
// most. What is given to these two functions may therefore run more than once. A single statement outside of them is like
// changeRows. What is read outside of them in one transaction is read from one snapshot.
//
// Work on a directory is done in sets: a listing is staged page by page, and comparing and applying it are a handful of
// statements over all of it, so that memory does not grow with the directory. Rows from outside go in by [Store.insertRows].
package sqlstore
