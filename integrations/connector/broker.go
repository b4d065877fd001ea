package connector

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// DefaultLostAfter is how long after it was last seen a connector counts as connected: one long poll and some slack.
const DefaultLostAfter = 40 * time.Second

// BrokerOptions may be left zero.
type BrokerOptions struct {
	// Lifetime of a request; default 45 s, at most MaxLifetime. Longer than the worker waits, because clocks differ.
	Lifetime time.Duration
	// Patience is the wait for an answer before another request is made; default 10 s. It is longer than the store takes to hand
	// an unanswered request to another connector, so that one that died in mid-release is replaced within the first.
	Patience time.Duration
	// LostAfter is after how long unseen a connector does not count as connected; default DefaultLostAfter.
	LostAfter time.Duration
	Clock     func() time.Time
	Log       *zap.Logger
}

// maxAsks bounds the requests that one Obtain makes, each with a nonce and a recipient key of its own.
const maxAsks = 3

// tidyTime is what removing a used request may take, even when the caller has gone.
const tidyTime = 5 * time.Second

// Broker obtains ekeys from connectors for the worker process it lives in. It satisfies the Keys port for tenants whose key
// method is the connector, and may be used concurrently.
type Broker struct {
	box Mailbox
	id  Identity
	o   BrokerOptions
}

// NewBroker makes a broker that asks in the name of id.
func NewBroker(box Mailbox, id Identity, o BrokerOptions) *Broker {
	if o.Lifetime <= 0 || o.Lifetime > MaxLifetime {
		o.Lifetime = 45 * time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	o.Patience = min(o.Patience, o.Lifetime)
	if o.LostAfter <= 0 {
		o.LostAfter = DefaultLostAfter
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Broker{box, id, o}
}

// Reachable returns nil when a connector of the tenant is connected, and CodeNotConnected otherwise. It asks for nothing.
func (b *Broker) Reachable(ctx context.Context, t backup.Tenant) error {
	if len(t.Key.Connectors) == 0 {
		return errNothingPinned(t.ID)
	}
	n, err := b.box.ConnectedConnectors(ctx, t.ID, b.o.Clock().Add(-b.o.LostAfter))
	if err != nil {
		return fmt.Errorf("counting connected connectors: %w", err)
	}
	if n == 0 {
		return errNotConnected(t.ID)
	}
	return nil
}

// Obtain asks the tenant's connectors for the ekey; the caller closes the lease. Every lease has left a receipt.
// CodeNotConnected: none is connected, or none answered. CodeDenied, CodeSealed, CodeRevoked, CodeDestroyed: a connector's own
// word. CodeBadResponse: the answers were not those of a pinned connector.
func (b *Broker) Obtain(ctx context.Context, t backup.Tenant, use backup.KeyUse) (*backup.Lease, error) {
	if use.Tenant != t.ID {
		return nil, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a key use names another tenant than the one asked for"}
	}
	var err error
	for range maxAsks {
		if down := b.Reachable(ctx, t); down != nil {
			return nil, down
		}
		var lease *backup.Lease
		if lease, err = b.ask(ctx, t, use); !worthAnotherAsk(err) {
			return lease, err
		}
		b.o.Log.Warn("asking for the ekey again", zap.String("tenant", t.ID), zap.String("workflowID", use.WorkflowID), zap.Error(err))
	}
	return nil, err
}

// worthAnotherAsk: nobody answered in time, or somebody answered who is not a pinned connector.
func worthAnotherAsk(err error) bool {
	return backup.HasCode(err, backup.CodeNotConnected) || backup.HasCode(err, backup.CodeBadResponse)
}

// ask makes one request, with a recipient key of its own, and sees it to its end.
func (b *Broker) ask(ctx context.Context, t backup.Tenant, use backup.KeyUse) (*backup.Lease, error) {
	to, err := newRecipient()
	if err != nil {
		return nil, err
	}
	r, err := newRequest(use, to, b.id, b.o.Clock(), b.o.Lifetime)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "the key use cannot be put into a request", Cause: err}
	}
	if err := b.post(ctx, r); err != nil {
		return nil, err
	}
	defer b.tidy(ctx, r.Nonce)
	row, err := b.await(ctx, r)
	if err != nil {
		return nil, err
	}
	return b.accept(ctx, t, r, to, row)
}

func (b *Broker) post(ctx context.Context, r Request) error {
	body, err := r.wire()
	if err != nil {
		return err
	}
	row := backup.KeyRequest{ID: r.Nonce, Tenant: r.Tenant, Body: body, Created: time.UnixMilli(r.Issued), Expires: r.expires()}
	if err := b.box.PutKeyRequest(ctx, row); err != nil {
		return fmt.Errorf("posting a key request: %w", err)
	}
	return nil
}

// tidy removes the request, so that a late answer finds nothing; what it cannot remove, the sweep does.
func (b *Broker) tidy(ctx context.Context, nonce string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	if err := b.box.DeleteKeyRequest(ctx, nonce); err != nil {
		b.o.Log.Warn("a used key request stays until the sweep", zap.Error(err))
	}
}

// await looks for the answer, often at first and then less so: 20 ms growing to 250 ms.
func (b *Broker) await(ctx context.Context, r Request) (*backup.KeyAnswer, error) {
	waiting, cancel := context.WithTimeoutCause(ctx, b.o.Patience, errNoAnswer(r.Tenant, b.o.Patience))
	defer cancel()
	for pause := newPause(20*time.Millisecond, 250*time.Millisecond); ; {
		row, err := b.box.KeyAnswer(waiting, r.Nonce)
		if row != nil {
			return row, nil
		}
		if backup.HasCode(err, backup.CodeNotFound) {
			return nil, errNoAnswer(r.Tenant, b.o.Patience) // swept: this clock and the sweeping gateway's differ
		}
		if err != nil && waiting.Err() == nil {
			return nil, fmt.Errorf("looking for a key answer: %w", err)
		}
		if pause.wait(waiting) != nil {
			return nil, context.Cause(waiting)
		}
	}
}

// accept turns an answer into a lease. Who sent it is proved before anything in it is believed.
func (b *Broker) accept(ctx context.Context, t backup.Tenant, r Request, to *recipient, row *backup.KeyAnswer) (*backup.Lease, error) {
	a, err := ParseAnswer(row.Body)
	if err != nil || !answeredByPinned(t, r, a) {
		return nil, errForgedAnswer(t.ID)
	}
	if !b.o.Clock().Before(r.expires()) {
		return nil, errNoAnswer(t.ID, b.o.Lifetime)
	}
	if a.Refusal != nil {
		return nil, errRefused(a)
	}
	if r.Generation != 0 && a.Release.Generation != r.Generation {
		return nil, errForgedAnswer(t.ID)
	}
	ekey, err := to.open(r, *a.Release)
	if err != nil {
		return nil, errForgedAnswer(t.ID)
	}
	return b.lease(ctx, r, a, ekey)
}

func answeredByPinned(t backup.Tenant, r Request, a Answer) bool {
	i := slices.IndexFunc(t.Key.Connectors, func(c backup.ConnectorConfig) bool { return c.Name == a.Connector })
	return i >= 0 && a.answers(r, t.Key.Connectors[i].Identity)
}

// lease hands the ekey out once its receipt is kept; without a receipt nobody gets it.
func (b *Broker) lease(ctx context.Context, r Request, a Answer, ekey []byte) (*backup.Lease, error) {
	number, err := b.box.AppendReceipt(ctx, backup.Receipt{
		Tenant: r.Tenant, Generation: a.Release.Generation, Method: backup.KeyByConnector, Purpose: r.Purpose,
		WorkflowID: r.WorkflowID, RunID: r.RunID, Attempt: r.Attempt,
		Holder: a.Connector, Requester: b.id.Short(), Nonce: r.Nonce, At: b.o.Clock(), Until: r.expires(),
	})
	if err != nil {
		clear(ekey)
		return nil, fmt.Errorf("writing the receipt of a key release: %w", err)
	}
	lease, err := backup.NewLease(ekey, a.Release.Generation, number)
	if err != nil {
		clear(ekey)
	}
	return lease, err
}

func errNothingPinned(tenant string) error {
	return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer,
		Message: "no connector is pinned for the tenant " + tenant,
		Hint:    "add the connector's name and identity under key.connectors in the tenant's file and apply it"}
}

func errNotConnected(tenant string) error {
	return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Retryable: true,
		Message: "no connector of the tenant " + tenant + " is connected",
		Hint:    "start a connector in the customer's network, or look at its status line: holdfastd connector"}
}

func errNoAnswer(tenant string, waited time.Duration) error {
	return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Retryable: true,
		Message: fmt.Sprintf("no connector of the tenant %s answered within %s", tenant, waited),
		Hint:    "look at the connector's log and at its network's way to the gateway"}
}

// errForgedAnswer is what a right connector never causes: somebody else wrote into the mailbox, or the pinned identity is old.
func errForgedAnswer(tenant string) error {
	return &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultCustomer, Retryable: true,
		Message: "an answer for the tenant " + tenant + " is not that of a pinned connector",
		Hint:    "compare the identity that the connector shows with key.connectors in the tenant's file"}
}

func errRefused(a Answer) error {
	e := &backup.Error{Code: a.Refusal.Code, Fault: backup.FaultCustomer,
		Message: "the connector " + a.Connector + " refused the ekey: " + a.Refusal.Reason,
		Hint:    "look at the connector's log; it names the request and the reason"}
	if a.Refusal.Code == backup.CodeSealed {
		e.Retryable, e.Hint = true, "unseal the system that the connector keeps the ekey in"
	}
	return e
}
