package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// scimBatch is how many requests are committed together at most.
	scimBatch = 64
	// scimBatchTime bounds one commit of several requests.
	scimBatchTime = 30 * time.Second
)

// SCIM is the part of a store that identity providers push to. Requests that come while others are being committed are committed
// together: each is a savepoint of its own, so that one that fails takes nothing with it, and all of them share one wait for the disk.
type SCIM struct {
	store *Store
	// turn is held by the request that commits for the others.
	turn    chan struct{}
	mu      sync.Mutex
	waiting []*scimWrite
	scopes  sync.Map // backup.SCIMScope → int64
}

// SCIM returns the store as identity providers use it. One for each process commits best; several are as right.
func (s *Store) SCIM() *SCIM { return &SCIM{store: s, turn: make(chan struct{}, 1)} }

// The states of a write that waits.
const (
	writeWaits int32 = iota
	writeRuns
	writeGivenUp
)

// scimWrite is one request's change.
type scimWrite struct {
	scope backup.SCIMScope
	fn    func(ctx context.Context, d *scimDirectory) error
	state atomic.Int32
	err   error
	// doubled: the directory has, by this write.
	doubled bool
	done    chan struct{}
}

// change runs fn in a transaction, with the directory locked, and returns when it is durable. fn may run on another goroutine, and again,
// but never after change has returned.
func (s *SCIM) change(ctx context.Context, scope backup.SCIMScope, what string, fn func(ctx context.Context, d *scimDirectory) error) error {
	w := &scimWrite{scope: scope, fn: fn, done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	for {
		select {
		case <-w.done:
			return classify(ctx, what, w.err)
		case s.turn <- struct{}{}:
			s.commitWaiting(ctx)
			<-s.turn
		case <-ctx.Done():
			if w.state.CompareAndSwap(writeWaits, writeGivenUp) {
				return classify(ctx, what, ctx.Err())
			}
			<-w.done // it is being committed, which does not take long
			return classify(context.WithoutCancel(ctx), what, w.err)
		}
	}
}

// take returns the writes to commit next, those of one directory side by side: two gateways that lock several directories do so in
// the same order.
func (s *SCIM) take() []*scimWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.waiting), scimBatch)
	batch := slices.DeleteFunc(slices.Clone(s.waiting[:n]), func(w *scimWrite) bool { return !w.state.CompareAndSwap(writeWaits, writeRuns) })
	s.waiting = slices.Delete(s.waiting, 0, n)
	slices.SortStableFunc(batch, func(a, b *scimWrite) int {
		return strings.Compare(a.scope.Tenant+"\x00"+string(a.scope.Directory), b.scope.Tenant+"\x00"+string(b.scope.Directory))
	})
	return batch
}

// commitWaiting commits a batch. Whoever's request leads it may give up meanwhile; the others do not suffer from that.
func (s *SCIM) commitWaiting(ctx context.Context) {
	batch := s.take()
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scimBatchTime)
	defer cancel()
	var err error
	for range collisions {
		if err = s.commit(ctx, batch); !s.store.dialect.collides(err) {
			break
		}
	}
	for _, w := range batch {
		if err != nil {
			w.err = err
		}
		close(w.done)
	}
}

// commit is one try. An error is of all; those of single writes stand in them.
func (s *SCIM) commit(ctx context.Context, batch []*scimWrite) error {
	conn, err := s.store.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	relax, err := s.insist(ctx, conn)
	if err != nil {
		return err
	}
	defer relax()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	for _, w := range batch {
		if err := s.try(ctx, tx, w); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if slices.ContainsFunc(batch, func(w *scimWrite) bool { return w.doubled }) {
		s.count(ctx, conn)
	}
	return nil
}

// count lets the database count the rows. What was committed stays so when that fails, and at worst the next requests are slow.
func (s *SCIM) count(ctx context.Context, conn *sql.Conn) {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return
	}
	defer tx.Rollback() // does nothing after a commit
	if err := s.store.know(ctx, tx, "scim_user", "scim_group", "scim_member", "scim_value"); err == nil {
		_ = tx.Commit()
	}
}

// insist makes the next commit of a connection of SQLite wait for the disk: an identity provider that was told "created" does not say it
// again, while all else that the store keeps comes back by itself after a loss of power. PostgreSQL always waits.
func (s *SCIM) insist(ctx context.Context, conn *sql.Conn) (relax func(), err error) {
	if _, file := s.store.dialect.(sqlite); !file {
		return func() {}, nil
	}
	_, err = conn.ExecContext(ctx, `PRAGMA synchronous = FULL`)
	return func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), `PRAGMA synchronous = NORMAL`) }, err // at worst it stays safe
}

// try runs one write in a savepoint. The error is one that ends the transaction.
func (s *SCIM) try(ctx context.Context, tx *sql.Tx, w *scimWrite) error {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT request`); err != nil {
		return err
	}
	w.err = s.run(ctx, tx, w)
	if w.err == nil {
		_, err := tx.ExecContext(ctx, `RELEASE SAVEPOINT request`)
		return err
	}
	if s.store.dialect.collides(w.err) {
		return w.err
	}
	for _, end := range []string{`ROLLBACK TO SAVEPOINT request`, `RELEASE SAVEPOINT request`} {
		if _, err := tx.ExecContext(ctx, end); err != nil {
			return errors.Join(w.err, err)
		}
	}
	if errors.Is(w.err, errUnchanged) {
		w.err = nil
	}
	return nil
}

// run keeps a panic of one request's code from taking the others' answers with it.
func (s *SCIM) run(ctx context.Context, tx *sql.Tx, w *scimWrite) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a change could not be made", Cause: fmt.Errorf("panic: %v", p)}
		}
	}()
	d, err := lockDirectory(ctx, tx, w.scope)
	if err != nil {
		return err
	}
	err = w.fn(ctx, d)
	w.doubled = err == nil && d.doubled
	return err
}

// errUnchanged ends a write that found nothing to do: it leaves no trace.
var errUnchanged = errors.New("sqlstore: nothing to change")

// scimDirectory is a directory that is locked for a change.
type scimDirectory struct {
	tx       *sql.Tx
	id       int64
	sequence int64
	now      time.Time
	doubled  bool
}

// lockDirectory makes the directory at its first change.
func lockDirectory(ctx context.Context, tx *sql.Tx, scope backup.SCIMScope) (*scimDirectory, error) {
	d := &scimDirectory{tx: tx, now: time.Now().UTC().Truncate(time.Microsecond)}
	const lock = `UPDATE scim_directory SET sequence = sequence WHERE tenant = $1 AND directory = $2 RETURNING id, sequence`
	err := tx.QueryRowContext(ctx, lock, scope.Tenant, scope.Directory).Scan(&d.id, &d.sequence)
	if !errors.Is(err, sql.ErrNoRows) {
		return d, err
	}
	number, err := nextDirectory(ctx, tx)
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO scim_directory (id, tenant, directory, sequence, user_count, group_count) VALUES ($1, $2, $3, 0, 0, 0)
		ON CONFLICT (tenant, directory) DO NOTHING`, number, scope.Tenant, scope.Directory)
	if err != nil {
		return nil, err
	}
	return d, tx.QueryRowContext(ctx, lock, scope.Tenant, scope.Directory).Scan(&d.id, &d.sequence)
}

func nextDirectory(ctx context.Context, tx *sql.Tx) (int64, error) {
	const everybody, series = "", "scim directory"
	if _, err := lockNumber(ctx, tx, everybody, series); err != nil {
		return 0, err
	}
	return takeNumber(ctx, tx, everybody, series)
}

// advance takes the next n sequences, counts users and groups, and returns the first of them.
func (d *scimDirectory) advance(ctx context.Context, n, users, groups int64) (first int64, err error) {
	first = d.sequence + 1
	d.sequence += n
	_, err = d.tx.ExecContext(ctx, `UPDATE scim_directory SET sequence = $2, user_count = user_count + $3, group_count = group_count + $4 WHERE id = $1`,
		d.id, d.sequence, users, groups)
	d.doubled = d.doubled || doubled(first-1, d.sequence)
	return first, err
}

// doubled tells that a directory has grown to twice of what it was when its rows were counted last. A first push is many thousand requests in
// a few minutes; PostgreSQL by itself counts later than that, and as long as it takes the tables for empty it compares everybody who is in a
// group with everybody else. With few rows every plan is quick.
func doubled(before, after int64) bool {
	return after >= few && bits.Len64(uint64(before)) != bits.Len64(uint64(after)) // sequences are never negative
}

// scope is the number of a directory, for reading; 0 when nothing was ever pushed to it.
func (s *SCIM) scope(ctx context.Context, scope backup.SCIMScope) (int64, error) {
	if id, known := s.scopes.Load(scope); known {
		return id.(int64), nil
	}
	var id int64
	err := s.store.read.QueryRowContext(ctx, `SELECT id FROM scim_directory WHERE tenant = $1 AND directory = $2`, scope.Tenant, scope.Directory).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err == nil {
		s.scopes.Store(scope, id)
	}
	return id, err
}
