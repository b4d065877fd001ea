package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const connectorColumns = `name, identity, connected, last_seen, session, enrolled, recipient, holds`

// pin pins a connector by $1 tenant, $2 name, $3 identity, $4 whether it was enrolled. One whose identity changed counts as lost at the
// next sweep, and what was said by that name is forgotten: whoever is connected under it is not the one that is pinned now.
const pin = `INSERT INTO connector (tenant, name, identity, pinned, connected, last_seen, session, enrolled, recipient, holds)
	VALUES ($1, $2, $3, TRUE, FALSE, 0, 0, $4, NULL, '')
	ON CONFLICT (tenant, name) DO UPDATE SET pinned = TRUE, enrolled = excluded.enrolled, identity = excluded.identity,
		last_seen = CASE WHEN connector.identity = excluded.identity THEN connector.last_seen ELSE 0 END,
		recipient = CASE WHEN connector.identity = excluded.identity THEN connector.recipient ELSE NULL END,
		holds = CASE WHEN connector.identity = excluded.identity THEN connector.holds ELSE '' END`

// pinConnectors makes the given connectors the pinned ones of the tenant's description. One that is left out counts as lost at the
// next sweep; those that were enrolled stay, unless the description gives their name to another.
func pinConnectors(ctx context.Context, tx *sql.Tx, tenant string, connectors []backup.ConnectorConfig) error {
	if _, err := tx.ExecContext(ctx, `UPDATE connector SET pinned = FALSE WHERE tenant = $1 AND NOT enrolled`, tenant); err != nil {
		return err
	}
	for _, c := range connectors {
		if _, err := tx.ExecContext(ctx, pin, tenant, c.Name, c.Identity, false); err != nil {
			return err
		}
	}
	return nil
}

// UnpinEnrolled takes back the admission of an enrolled connector, and returns it as it was; again is the same as once. CodeNotFound when
// there never was one of this name, CodeNotAllowed when the tenant's description pins it, or when no other connector says that it
// holds the generation that is in use, or is about to be: nobody could open the backups then.
func (s *Store) UnpinEnrolled(ctx context.Context, tenant, name string) (c backup.ConnectorStatus, err error) {
	err = s.changeTenant(ctx, tenant, "remove a connector", func(tx *sql.Tx) error {
		var pinned bool
		err := tx.QueryRowContext(ctx, `SELECT pinned FROM connector WHERE tenant = $1 AND name = $2`, tenant, name).Scan(&pinned)
		if err == nil {
			c, err = scanConnector(tx.QueryRowContext(ctx, `SELECT `+connectorColumns+` FROM connector WHERE tenant = $1 AND name = $2`, tenant, name))
		}
		switch {
		case err != nil:
			return orNotFound(err, noSuchConnector(tenant, name))
		case !pinned:
			return nil
		case !c.Enrolled:
			return described(tenant, name)
		}
		if err := othersHold(ctx, tx, tenant, name); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE connector SET pinned = FALSE WHERE tenant = $1 AND name = $2`, tenant, name)
		return err
	})
	return c, err
}

// othersHold refuses when a generation that the repository may open with is with connectors, and nobody but this one is known to hold it.
// What this one says of itself does not count: it may be in a thief's hands.
func othersHold(ctx context.Context, tx *sql.Tx, tenant, name string) error {
	needed, err := neededKeys(ctx, tx, tenant)
	if err != nil {
		return err
	}
	all, err := connectors(ctx, tx, tenant)
	if err != nil {
		return err
	}
	for _, held := range needed {
		if slices.ContainsFunc(all, func(c backup.ConnectorStatus) bool { return c.Name != name && slices.Contains(c.Holds, held) }) {
			continue
		}
		return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer,
			Message: fmt.Sprintf("no other connector of %s is known to hold generation %d of its key, without which no backup opens", tenant, held.Generation),
			Hint:    fmt.Sprintf("admit another one first (holdfast connector enroll %s --name NAME), or switch to a KMS (holdfast key switch %s --to kms)", tenant, tenant)}
	}
	return nil
}

// neededKeys are the generations with connectors that the repository may open with: the active one, and during a change the one that takes
// its place. Before there is an active one nothing is stored, and so nothing can be lost.
func neededKeys(ctx context.Context, tx *sql.Tx, tenant string) (needed []backup.HeldKey, err error) {
	all, err := ekeys(ctx, tx, tenant)
	if !slices.ContainsFunc(all, func(k backup.EKey) bool { return k.State == backup.EKeyActive }) {
		return nil, err
	}
	for _, k := range all {
		inUse := k.State == backup.EKeyActive || k.State == backup.EKeyPending && k.Check != ""
		if inUse && k.Method == backup.KeyByConnector {
			needed = append(needed, backup.HeldKey{Generation: k.Generation, Check: k.Check})
		}
	}
	return needed, err
}

func described(tenant, name string) error {
	return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer,
		Message: "the connector " + name + " stands in the file of " + tenant, Hint: "take it out of key.connectors, and apply the file; then holdfast key rotate " + tenant}
}

func noSuchConnector(tenant, name string) error {
	return notFound(backup.FaultCustomer, "the tenant "+tenant+" has no connector "+name, "holdfast connector list "+tenant)
}

// PinnedConnector returns a connector that the tenant's description names or that was enrolled; CodeNotFound when there is none such.
func (s *Store) PinnedConnector(ctx context.Context, tenant, name string) (backup.ConnectorStatus, error) {
	c, err := scanConnector(s.read.QueryRowContext(ctx, `SELECT `+connectorColumns+` FROM connector
		WHERE tenant = $1 AND name = $2 AND pinned`, tenant, name))
	return c, classify(ctx, "look up a connector", orNotFound(err, notPinned(tenant, name)))
}

// PinnedConnectors lists the tenant's pinned connectors by name, at most 1,000.
func (s *Store) PinnedConnectors(ctx context.Context, tenant string) ([]backup.ConnectorStatus, error) {
	all, err := connectors(ctx, s.read, tenant)
	return all, classify(ctx, "list connectors", err)
}

// DescribeConnector keeps what a pinned connector says of itself; CodeNotFound when it is not pinned. Saying the same again, as each
// new session does, writes nothing.
func (s *Store) DescribeConnector(ctx context.Context, tenant, name string, self backup.ConnectorSelf) error {
	holds, err := json.Marshal(self.Holds)
	if err != nil {
		return classify(ctx, "write down what a connector holds", err)
	}
	var same bool
	err = s.read.QueryRowContext(ctx, `SELECT COALESCE(recipient = $3 AND holds = $4, FALSE) FROM connector WHERE tenant = $1 AND name = $2 AND pinned`,
		tenant, name, self.Recipient, string(holds)).Scan(&same)
	if same || (err != nil && !errors.Is(err, sql.ErrNoRows)) {
		return classify(ctx, "read what a connector holds", err)
	}
	n, err := execute(ctx, s.write, `UPDATE connector SET recipient = $3, holds = $4 WHERE tenant = $1 AND name = $2 AND pinned`,
		tenant, name, self.Recipient, string(holds))
	if err == nil && n == 0 {
		err = notPinned(tenant, name)
	}
	return classify(ctx, "write down what a connector holds", err)
}

// MarkConnectorSeen records that a pinned connector was heard of. changed tells that it was not connected until now; its
// session number is one higher then. CodeNotFound when it is not pinned.
func (s *Store) MarkConnectorSeen(ctx context.Context, tenant, name string, at time.Time) (p backup.ConnectorPresence, changed bool, err error) {
	p = backup.ConnectorPresence{Tenant: tenant, Connector: name, Connected: true, At: at}
	err = s.changeRows(ctx, "record a connector's presence", func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `UPDATE connector SET connected = TRUE, session = session + 1, last_seen = $3
			WHERE tenant = $1 AND name = $2 AND pinned AND NOT connected RETURNING session`, tenant, name, micros(at)).Scan(&p.Session)
		if changed = err == nil; changed || !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		// Polls of one connector may overtake each other.
		err = tx.QueryRowContext(ctx, `UPDATE connector SET last_seen = CASE WHEN last_seen < $3 THEN $3 ELSE last_seen END
			WHERE tenant = $1 AND name = $2 AND pinned RETURNING session`, tenant, name, micros(at)).Scan(&p.Session)
		return orNotFound(err, notPinned(tenant, name))
	})
	return p, changed && err == nil, err
}

// MarkConnectorGone records that a connector said goodbye. changed tells that it was connected and was not heard of after
// at, be it by another gateway. CodeNotFound when it is not pinned.
func (s *Store) MarkConnectorGone(ctx context.Context, tenant, name string, at time.Time) (p backup.ConnectorPresence, changed bool, err error) {
	p = backup.ConnectorPresence{Tenant: tenant, Connector: name, At: at}
	err = s.changeRows(ctx, "record a connector's absence", func(tx *sql.Tx) error {
		n, err := execute(ctx, tx, `UPDATE connector SET connected = FALSE
			WHERE tenant = $1 AND name = $2 AND pinned AND connected AND last_seen <= $3`, tenant, name, micros(at))
		if err != nil {
			return err
		}
		changed = n > 0
		err = tx.QueryRowContext(ctx, `SELECT connected, session FROM connector WHERE tenant = $1 AND name = $2 AND pinned`, tenant, name).
			Scan(&p.Connected, &p.Session)
		return orNotFound(err, notPinned(tenant, name))
	})
	return p, changed && err == nil, err
}

// MarkConnectorsLost takes connectors for lost that were last seen before seenBefore or are no longer pinned, and returns
// them: of several gateways that sweep at once, exactly one is told of each. At most 1,000 a call; the next one goes on.
func (s *Store) MarkConnectorsLost(ctx context.Context, seenBefore, at time.Time) ([]backup.ConnectorPresence, error) {
	// Most sweeps find nothing; they must not take the write lock.
	var found bool
	err := s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM connector WHERE connected AND (last_seen < $1 OR NOT pinned))`, micros(seenBefore)).Scan(&found)
	if err != nil || !found {
		return nil, classify(ctx, "look for lost connectors", err)
	}
	var lost []backup.ConnectorPresence
	err = s.changeRows(ctx, "record lost connectors", func(tx *sql.Tx) (err error) {
		lost, err = list(ctx, tx, func(r row) (backup.ConnectorPresence, error) {
			p := backup.ConnectorPresence{At: at}
			err := r.Scan(&p.Tenant, &p.Connector, &p.Session)
			return p, err
		}, `UPDATE connector SET connected = FALSE
			WHERE connected AND (last_seen < $1 OR NOT pinned) AND (tenant, name) IN (
				SELECT tenant, name FROM connector WHERE connected AND (last_seen < $1 OR NOT pinned) ORDER BY tenant, name LIMIT $2)
			RETURNING tenant, name, session`, micros(seenBefore), maxPage)
		return err
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

func connectors(ctx context.Context, db database, tenant string) ([]backup.ConnectorStatus, error) {
	return list(ctx, db, scanConnector, `SELECT `+connectorColumns+` FROM connector WHERE tenant = $1 AND pinned ORDER BY name LIMIT $2`, tenant, maxPage)
}

func scanConnector(r row) (c backup.ConnectorStatus, err error) {
	var holds string
	if err := r.Scan(&c.Name, &c.Identity, &c.Connected, moment{&c.LastSeen}, &c.Session, &c.Enrolled, &c.Recipient, &holds); err != nil {
		return c, err
	}
	if holds != "" {
		err = json.Unmarshal([]byte(holds), &c.Holds)
	}
	return c, err
}

func notPinned(tenant, name string) error {
	return notFound(backup.FaultCustomer, "the tenant "+tenant+" has no connector "+name, "enrol it (holdfast connector enroll "+tenant+" --name "+name+"), or list it with its identity under key.connectors in the tenant's file and apply it")
}
