package connector

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Mailbox is what broker and gateway need of the store. Any number of brokers and gateways share one, so every method is
// atomic. Nothing that passes through it is secret to its reader, and rows live for a minute.
type Mailbox interface {
	// PutKeyRequest adds a request that waits for a connector of its tenant.
	PutKeyRequest(ctx context.Context, r backup.KeyRequest) error
	// TakeKeyRequests hands at most max waiting requests of the tenant to the connector, those for another holder left out. None is handed to a connector twice; one
	// that stays unanswered may be handed to another after a while. One that is not pinned any more is handed none.
	TakeKeyRequests(ctx context.Context, tenant, connector string, now time.Time, max int) ([]backup.KeyRequest, error)
	// PutKeyAnswer keeps the first answer of a request from a connector that was handed it; CodeNotFound for any other.
	PutKeyAnswer(ctx context.Context, a backup.KeyAnswer) error
	// KeyAnswer returns nil while there is none; CodeNotFound when there is no such request.
	KeyAnswer(ctx context.Context, requestID string) (*backup.KeyAnswer, error)
	// DeleteKeyRequest removes the request and its answer; none there is no error.
	DeleteKeyRequest(ctx context.Context, id string) error
	// SweepKeyRequests removes what has expired and tells how many.
	SweepKeyRequests(ctx context.Context, now time.Time) (int, error)

	// PinnedConnector returns CodeNotFound when the tenant has no connector of this name.
	PinnedConnector(ctx context.Context, tenant, name string) (backup.ConnectorStatus, error)
	// PinnedConnectors lists the tenant's, by name.
	PinnedConnectors(ctx context.Context, tenant string) ([]backup.ConnectorStatus, error)
	// DescribeConnector keeps what a pinned connector says of itself.
	DescribeConnector(ctx context.Context, tenant, name string, self backup.ConnectorSelf) error
	// UseEnrolment consumes the enrolment whose secret has this SHA-256, unexpired and not presented before, and keeps what was shown
	// with it; CodeDenied for any other. The connector is not pinned by it.
	UseEnrolment(ctx context.Context, secretHash []byte, identity string, recipient []byte, now time.Time) (backup.Enrolment, error)
	// MarkConnectorSeen makes the connector connected; changed tells that it was not, and a new session began.
	MarkConnectorSeen(ctx context.Context, tenant, name string, at time.Time) (p backup.ConnectorPresence, changed bool, err error)
	MarkConnectorGone(ctx context.Context, tenant, name string, at time.Time) (p backup.ConnectorPresence, changed bool, err error)
	// MarkConnectorsLost makes those gone that were last seen before seenBefore, and returns them.
	MarkConnectorsLost(ctx context.Context, seenBefore, at time.Time) ([]backup.ConnectorPresence, error)
	// AbsentConnectors lists connectors of all tenants that are not connected and were last seen after seenAfter.
	AbsentConnectors(ctx context.Context, seenAfter, at time.Time) ([]backup.ConnectorPresence, error)

	// UseNonce tells whether the nonce is fresh within scope, and remembers it until then.
	UseNonce(ctx context.Context, scope, nonce string, until time.Time) (fresh bool, err error)
}
