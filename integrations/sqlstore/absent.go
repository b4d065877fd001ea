package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// AbsentConnectors lists pinned connectors of all tenants that are not connected and were last seen after seenAfter, at most 1,000, as
// presences of the time at.
func (s *Store) AbsentConnectors(ctx context.Context, seenAfter, at time.Time) ([]backup.ConnectorPresence, error) {
	absent, err := list(ctx, s.read, func(r row) (backup.ConnectorPresence, error) {
		p := backup.ConnectorPresence{At: at}
		err := r.Scan(&p.Tenant, &p.Connector, &p.Session)
		return p, err
	}, `SELECT tenant, name, session FROM connector WHERE pinned AND NOT connected AND last_seen > $1 ORDER BY tenant, name LIMIT $2`,
		micros(seenAfter), maxPage)
	return absent, classify(ctx, "list absent connectors", err)
}
