package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// handedFor is how long a request stays with the connector that took it before another one may have it.
const handedFor = 5 * time.Second

// sweepAtOnce bounds what one sweep deletes, so that it never holds the write lock for long.
const sweepAtOnce = 500

// takeable is the condition on a key request that connector $2 of tenant $1 may take now, $3 being now and $4 the time at which
// another must have taken it at the latest. One that is for a single holder goes to no other. Nobody is handed a request twice: he may still be at work on it, and a repeated
// request is a replay to him. Nothing is handed to a connector that was removed, though its poll may still be waiting.
const takeable = `tenant = $1 AND answered = 0 AND expires > $3 AND taken < $4 AND (holder = '' OR holder = $2)
	AND NOT EXISTS (SELECT 1 FROM key_request_taker t WHERE t.request = key_request.id AND t.connector = $2)
	AND EXISTS (SELECT 1 FROM connector c WHERE c.tenant = $1 AND c.name = $2 AND c.pinned)`

// PutKeyRequest lays down a request for connectors to take. An id is good for one request.
func (s *Store) PutKeyRequest(ctx context.Context, r backup.KeyRequest) error {
	_, err := execute(ctx, s.write, `INSERT INTO key_request (id, tenant, holder, body, created, expires, taken, answered, answer_by)
		VALUES ($1, $2, $3, $4, $5, $6, 0, 0, '')`, r.ID, r.Tenant, r.Holder, r.Body, micros(r.Created), micros(r.Expires))
	return classify(ctx, "lay down a key request", err)
}

// TakeKeyRequests claims up to limit of the tenant's waiting requests for a connector, oldest first: unanswered, unexpired, and
// not taken yet or taken by another connector more than five seconds ago, and not for another holder. Of several callers one gets each.
func (s *Store) TakeKeyRequests(ctx context.Context, tenant, connector string, now time.Time, limit int) ([]backup.KeyRequest, error) {
	args := []any{tenant, connector, micros(now), micros(now.Add(-handedFor))}
	// Connectors ask again and again; one that finds nothing must not take the write lock.
	var waiting bool
	err := s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM key_request WHERE `+takeable+`)`, args...).Scan(&waiting)
	if err != nil || !waiting {
		return nil, classify(ctx, "look for key requests", err)
	}
	var taken []backup.KeyRequest
	err = s.changeRows(ctx, "take key requests", func(tx *sql.Tx) error {
		// The condition stands twice for PostgreSQL, which looks at it again after waiting for another taker's lock.
		taken, err = list(ctx, tx, scanKeyRequest, `UPDATE key_request SET taken = $3 WHERE `+takeable+` AND id IN (
			SELECT id FROM key_request WHERE `+takeable+` ORDER BY created, id LIMIT $5)
			RETURNING id, tenant, holder, body, created, expires`, append(args, pageSize(limit))...)
		if err != nil {
			return err
		}
		return rememberTaker(ctx, tx, taken, connector)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(taken, func(a, b backup.KeyRequest) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return taken, nil
}

// rememberTaker keeps everybody who took a request, because one who was slow may still answer it.
func rememberTaker(ctx context.Context, tx *sql.Tx, taken []backup.KeyRequest, connector string) error {
	for _, r := range taken {
		_, err := tx.ExecContext(ctx, `INSERT INTO key_request_taker (request, connector) VALUES ($1, $2) ON CONFLICT DO NOTHING`, r.ID, connector)
		if err != nil {
			return err
		}
	}
	return nil
}

// PutKeyAnswer lays down the first answer to a request. CodeNotFound when there is no such request any more, it was
// answered before, or the connector never took it.
func (s *Store) PutKeyAnswer(ctx context.Context, a backup.KeyAnswer) error {
	n, err := execute(ctx, s.write, `UPDATE key_request SET answer = $1, answer_by = $2, answered = $3
		WHERE id = $4 AND answered = 0 AND expires > $3
			AND EXISTS (SELECT 1 FROM key_request_taker t WHERE t.request = key_request.id AND t.connector = $2)`,
		a.Body, a.Connector, micros(a.At), a.RequestID)
	if err == nil && n == 0 {
		err = notFound(backup.FaultCustomer, "no key request waits for this answer: it expired, was answered, or was not handed to this connector",
			"the worker asks again by itself; compare the clocks if this repeats")
	}
	return classify(ctx, "lay down a key's answer", err)
}

// KeyAnswer returns the answer to a request, nil when there is none yet. CodeNotFound when there is no such request (any more).
func (s *Store) KeyAnswer(ctx context.Context, requestID string) (*backup.KeyAnswer, error) {
	a := backup.KeyAnswer{RequestID: requestID}
	err := s.read.QueryRowContext(ctx, `SELECT answer_by, answer, answered FROM key_request WHERE id = $1`, requestID).
		Scan(&a.Connector, &a.Body, moment{&a.At})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, notFound(backup.FaultOurs, "the key request is not there any more", "")
	case err != nil:
		return nil, classify(ctx, "look for a key's answer", err)
	case a.At.IsZero():
		return nil, nil
	}
	return &a, nil
}

// DeleteKeyRequest forgets a request and its answer; one that is not there is forgotten already.
func (s *Store) DeleteKeyRequest(ctx context.Context, id string) error {
	_, err := execute(ctx, s.write, `DELETE FROM key_request WHERE id = $1`, id)
	return classify(ctx, "delete a key request", err)
}

// SweepKeyRequests forgets requests that expired before now, at most 500 a call, and returns how many.
func (s *Store) SweepKeyRequests(ctx context.Context, now time.Time) (int, error) {
	n, err := execute(ctx, s.write, `DELETE FROM key_request WHERE id IN (
		SELECT id FROM key_request WHERE expires < $1 ORDER BY expires LIMIT $2)`, micros(now), sweepAtOnce)
	return int(n), classify(ctx, "sweep key requests", err)
}

func scanKeyRequest(r row) (k backup.KeyRequest, err error) {
	err = r.Scan(&k.ID, &k.Tenant, &k.Holder, &k.Body, moment{&k.Created}, moment{&k.Expires})
	return k, err
}
