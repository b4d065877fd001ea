package connector

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// testBox is a mailbox that tenants can be put into.
type testBox interface {
	Mailbox
	SaveTenant(ctx context.Context, t backup.Tenant) error
}

// memory is a Mailbox in memory, without enrolments. all keeps every row that ever passed, as somebody who copies the store would.
type memory struct {
	mu         sync.Mutex
	connectors map[party]*backup.ConnectorStatus
	requests   map[string]*memoryRow
	nonces     map[string]bool
	all        [][]byte
}

type memoryRow struct {
	backup.KeyRequest
	takers map[string]bool
	answer *backup.KeyAnswer
}

func newMemory() *memory {
	return &memory{connectors: map[party]*backup.ConnectorStatus{}, requests: map[string]*memoryRow{}, nonces: map[string]bool{}}
}

var errNotThere = &backup.Error{Code: backup.CodeNotFound, Message: "not there"}

func (m *memory) lock() func() { m.mu.Lock(); return m.mu.Unlock }

func (m *memory) SaveTenant(_ context.Context, t backup.Tenant) error {
	defer m.lock()()
	for _, c := range t.Key.Connectors {
		who := party{t.ID, c.Name}
		if m.connectors[who] == nil {
			m.connectors[who] = &backup.ConnectorStatus{Name: c.Name}
		}
		m.connectors[who].Identity = c.Identity
	}
	return nil
}

func (m *memory) PutKeyRequest(_ context.Context, r backup.KeyRequest) error {
	defer m.lock()()
	m.requests[r.ID] = &memoryRow{KeyRequest: r, takers: map[string]bool{}}
	m.all = append(m.all, r.Body)
	return nil
}

func (m *memory) TakeKeyRequests(_ context.Context, tenant, connector string, now time.Time, max int) (taken []backup.KeyRequest, _ error) {
	defer m.lock()()
	for _, r := range m.requests {
		if len(taken) < max && r.Tenant == tenant && (r.Holder == "" || r.Holder == connector) && len(r.takers) == 0 && r.Expires.After(now) {
			r.takers[connector] = true
			taken = append(taken, r.KeyRequest)
		}
	}
	return taken, nil
}

func (m *memory) PutKeyAnswer(_ context.Context, a backup.KeyAnswer) error {
	defer m.lock()()
	r := m.requests[a.RequestID]
	if r == nil || r.answer != nil || !r.takers[a.Connector] {
		return errNotThere
	}
	r.answer = &a
	m.all = append(m.all, a.Body)
	return nil
}

func (m *memory) KeyAnswer(_ context.Context, id string) (*backup.KeyAnswer, error) {
	defer m.lock()()
	if m.requests[id] == nil {
		return nil, errNotThere
	}
	return m.requests[id].answer, nil
}

func (m *memory) DeleteKeyRequest(_ context.Context, id string) error {
	defer m.lock()()
	delete(m.requests, id)
	return nil
}

func (m *memory) SweepKeyRequests(_ context.Context, now time.Time) (n int, _ error) {
	defer m.lock()()
	for id, r := range m.requests {
		if r.Expires.Before(now) {
			delete(m.requests, id)
			n++
		}
	}
	return n, nil
}

func (m *memory) PinnedConnector(_ context.Context, tenant, name string) (backup.ConnectorStatus, error) {
	defer m.lock()()
	if c := m.connectors[party{tenant, name}]; c != nil {
		return *c, nil
	}
	return backup.ConnectorStatus{}, errNotThere
}

func (m *memory) MarkConnectorSeen(_ context.Context, tenant, name string, at time.Time) (backup.ConnectorPresence, bool, error) {
	defer m.lock()()
	c := m.connectors[party{tenant, name}]
	if c == nil {
		return backup.ConnectorPresence{}, false, errNotThere
	}
	changed := !c.Connected
	if changed {
		c.Connected = true
		c.Session++
	}
	c.LastSeen = at
	return backup.ConnectorPresence{Tenant: tenant, Connector: name, Connected: true, Session: c.Session, At: at}, changed, nil
}

func (m *memory) MarkConnectorGone(_ context.Context, tenant, name string, at time.Time) (backup.ConnectorPresence, bool, error) {
	defer m.lock()()
	c := m.connectors[party{tenant, name}]
	if c == nil {
		return backup.ConnectorPresence{}, false, errNotThere
	}
	changed := c.Connected
	c.Connected = false
	return backup.ConnectorPresence{Tenant: tenant, Connector: name, Session: c.Session, At: at}, changed, nil
}

func (m *memory) MarkConnectorsLost(_ context.Context, seenBefore, at time.Time) (lost []backup.ConnectorPresence, _ error) {
	defer m.lock()()
	for who, c := range m.connectors {
		if c.Connected && c.LastSeen.Before(seenBefore) {
			c.Connected = false
			lost = append(lost, backup.ConnectorPresence{Tenant: who.tenant, Connector: who.connector, Session: c.Session, At: at})
		}
	}
	return lost, nil
}

func (m *memory) AbsentConnectors(_ context.Context, seenAfter, at time.Time) (absent []backup.ConnectorPresence, _ error) {
	defer m.lock()()
	for who, c := range m.connectors {
		if !c.Connected && c.LastSeen.After(seenAfter) {
			absent = append(absent, backup.ConnectorPresence{Tenant: who.tenant, Connector: who.connector, Session: c.Session, At: at})
		}
	}
	return absent, nil
}

func (m *memory) PinnedConnectors(_ context.Context, tenant string) (all []backup.ConnectorStatus, _ error) {
	defer m.lock()()
	for who, c := range m.connectors {
		if who.tenant == tenant {
			all = append(all, *c)
		}
	}
	slices.SortFunc(all, func(a, b backup.ConnectorStatus) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (m *memory) DescribeConnector(_ context.Context, tenant, name string, self backup.ConnectorSelf) error {
	defer m.lock()()
	c := m.connectors[party{tenant, name}]
	if c == nil {
		return errNotThere
	}
	c.Recipient, c.Holds = self.Recipient, self.Holds
	return nil
}

func (m *memory) UseEnrolment(context.Context, []byte, string, []byte, time.Time) (backup.Enrolment, error) {
	return backup.Enrolment{}, &backup.Error{Code: backup.CodeDenied, Message: "no enrolments here"}
}

func (m *memory) UseNonce(_ context.Context, scope, nonce string, _ time.Time) (bool, error) {
	defer m.lock()()
	key := scope + " " + nonce
	fresh := !m.nonces[key]
	m.nonces[key] = true
	return fresh, nil
}
