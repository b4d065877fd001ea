package connector

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

// maxAsks bounds the requests that are made of connectors which do not answer, each with a nonce and a recipient key of its own; and
// those made of one connector that is named.
const (
	maxAsks      = 3
	maxAsksNamed = 2
)

// tidyTime is what removing a used request may take, even when the caller has gone.
const tidyTime = 5 * time.Second

// Broker asks connectors, for the worker process that it lives in. It is custody's holder of the key method connector (see holder.go),
// and may be used concurrently.
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

// circle is a tenant's pinned connectors, by name.
type circle []backup.ConnectorStatus

// circle of the tenant, as the store has it now. CodeNotConnected when nothing is pinned.
func (b *Broker) circle(ctx context.Context, tenant string) (circle, error) {
	all, err := b.box.PinnedConnectors(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("listing the pinned connectors: %w", err)
	}
	if len(all) == 0 {
		return nil, errNothingPinned(tenant)
	}
	return all, nil
}

func (c circle) named(name string) (backup.ConnectorStatus, bool) {
	i := slices.IndexFunc(c, func(s backup.ConnectorStatus) bool { return s.Name == name })
	if i < 0 {
		return backup.ConnectorStatus{}, false
	}
	return c[i], true
}

// connected are those that could be asked now.
func (b *Broker) connected(all circle) (around circle) {
	seenAfter := b.o.Clock().Add(-b.o.LostAfter)
	for _, c := range all {
		if c.Connected && !c.LastSeen.Before(seenAfter) {
			around = append(around, c)
		}
	}
	return around
}

// holding are those that said they hold the generation, and the right one where that is known.
func (c circle) holding(k backup.EKey) (holders circle) {
	for _, s := range c {
		if held := heldBy(s, k.Generation); held != "" && (k.Check == "" || held == k.Check) {
			holders = append(holders, s)
		}
	}
	return holders
}

// heldBy is the check key of the generation as the connector told it; empty when it did not.
func heldBy(c backup.ConnectorStatus, generation int) string {
	i := slices.IndexFunc(c.Holds, func(h backup.HeldKey) bool { return h.Generation == generation })
	if i < 0 {
		return ""
	}
	return c.Holds[i].Check
}

// without leaves the named ones out.
func (c circle) without(names map[string]bool) circle {
	return slices.DeleteFunc(slices.Clone(c), func(s backup.ConnectorStatus) bool { return names[s.Name] })
}

// reply is a connector's answer that was found good.
type reply struct {
	request Request
	answer  Answer
	from    string // public identity of who answered
	ekey    []byte // of a release to this process; the caller wipes it
}

// askHolders asks for a generation of any connector that has it, but those in skip. One that says it cannot give it is left out from then
// on; one that does not answer is asked no more when it was named. CodeNotConnected: nobody who might have it is connected, or nobody
// answered. CodeSealed, CodeRevoked, CodeDestroyed: one said so, and nobody else is left to ask.
func (b *Broker) askHolders(ctx context.Context, k backup.EKey, w wish, skip map[string]bool) (*reply, error) {
	var err, refused error
	for asks := 0; asks < maxAsks; {
		var down error
		if w.holder, down = b.choose(ctx, k, skip, refused); down != nil {
			if backup.HasCode(err, backup.CodeNotConnected) {
				return nil, err // who was asked did not answer, and there is nobody else
			}
			return nil, down
		}
		var got *reply
		got, err = b.ask(ctx, w)
		switch {
		case err == nil && got.answer.Refusal == nil:
			return got, nil
		case err == nil && speaksForItself(got.answer.Refusal.Code) && !skip[got.answer.Connector]:
			skip[got.answer.Connector] = true
			err = errRefused(got.answer)
			if !backup.HasCode(err, backup.CodeNotFound) && !backup.HasCode(refused, backup.CodeSealed) {
				refused = err
			}
		case err == nil:
			return nil, errRefused(got.answer)
		case !worthAnotherAsk(err):
			return nil, err
		default:
			asks++
			skip[w.holder] = true // means nothing when nobody was named
		}
		b.o.Log.Warn("asking for the ekey again", zap.String("tenant", k.Tenant), zap.String("workflowID", w.use.WorkflowID), zap.Error(err))
	}
	return nil, err
}

// speaksForItself tells a refusal that says what the one connector has from what the customer decided.
func speaksForItself(c backup.Code) bool {
	switch c {
	case backup.CodeNotFound, backup.CodeSealed, backup.CodeRevoked, backup.CodeDestroyed:
		return true
	}
	return false
}

// choose names whom to ask: nobody in particular when all who are connected may have the generation, else one of those who may. When none
// is left, what was refused stands, unless somebody who says that he holds it was not there to be asked.
func (b *Broker) choose(ctx context.Context, k backup.EKey, skip map[string]bool, refused error) (holder string, err error) {
	all, err := b.circle(ctx, k.Tenant)
	if err != nil {
		return "", err
	}
	around := b.connected(all)
	if len(around) == 0 {
		return "", errNotConnected(k.Tenant)
	}
	able := around.without(skip)
	if holders := able.holding(k); len(holders) > 0 {
		able = holders // what they say of themselves may be old, so it only decides whom to ask first
	}
	switch left := all.without(skip); {
	case len(able) == 0 && refused != nil && (len(left.holding(k)) == 0 || backup.HasCode(refused, backup.CodeSealed)):
		return "", refused
	case len(able) == 0:
		return "", errNobodyHolds(k, left, around)
	case len(able) == len(around):
		return "", nil
	}
	return able[rand.N(len(able))].Name, nil
}

// askNamed asks one connector, which must be connected.
func (b *Broker) askNamed(ctx context.Context, c backup.ConnectorStatus, w wish) (*reply, error) {
	if len(b.connected(circle{c})) == 0 {
		return nil, errHolderNotConnected(w.use.Tenant, c.Name)
	}
	w.holder = c.Name
	var err error
	for range maxAsksNamed {
		var got *reply
		if got, err = b.ask(ctx, w); err == nil && got.answer.Refusal != nil {
			return nil, errRefused(got.answer)
		}
		if !worthAnotherAsk(err) {
			return got, err
		}
		b.o.Log.Warn("asking a connector again", zap.String("tenant", w.use.Tenant), zap.String("connector", c.Name), zap.Error(err))
	}
	return nil, err
}

// worthAnotherAsk: nobody answered in time, or somebody answered who is not a pinned connector.
func worthAnotherAsk(err error) bool {
	return backup.HasCode(err, backup.CodeNotConnected) || backup.HasCode(err, backup.CodeBadResponse)
}

// ask makes one request and sees it to its end. A release gets a recipient key of its own.
func (b *Broker) ask(ctx context.Context, w wish) (*reply, error) {
	var to *recipient
	if releases(w.use.Purpose) {
		var err error
		if to, err = newRecipient(); err != nil {
			return nil, err
		}
	}
	r, err := newRequest(w, to, b.id, b.o.Clock(), b.o.Lifetime)
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
	return b.accept(ctx, r, to, row)
}

func (b *Broker) post(ctx context.Context, r Request) error {
	body, err := r.wire()
	if err != nil {
		return err
	}
	row := backup.KeyRequest{ID: r.Nonce, Tenant: r.Tenant, Holder: r.Holder, Body: body, Created: time.UnixMilli(r.Issued), Expires: r.expires()}
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

// accept proves who sent an answer before anything in it is believed.
func (b *Broker) accept(ctx context.Context, r Request, to *recipient, row *backup.KeyAnswer) (*reply, error) {
	a, err := ParseAnswer(row.Body)
	if err != nil {
		return nil, errForgedAnswer(r.Tenant)
	}
	pinned, err := b.box.PinnedConnector(ctx, r.Tenant, a.Connector)
	if err != nil && !backup.HasCode(err, backup.CodeNotFound) {
		return nil, fmt.Errorf("looking up who answered: %w", err)
	}
	if err != nil || !a.answers(r, pinned.Identity) || !a.suits(r) {
		return nil, errForgedAnswer(r.Tenant)
	}
	if !b.o.Clock().Before(r.expires()) {
		return nil, errNoAnswer(r.Tenant, b.o.Lifetime)
	}
	got := &reply{request: r, answer: a, from: pinned.Identity}
	if a.Release != nil && to != nil {
		if got.ekey, err = to.open(r, *a.Release); err != nil {
			return nil, errForgedAnswer(r.Tenant)
		}
	}
	return got, nil
}

func errNothingPinned(tenant string) error {
	return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer,
		Message: "no connector is pinned for the tenant " + tenant,
		Hint:    "enrol one: holdfast connector enroll " + tenant + " --name NAME"}
}

func errNotConnected(tenant string) error {
	return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Retryable: true,
		Message: "no connector of the tenant " + tenant + " is connected",
		Hint:    "start a connector in the customer's network, or look at its status line: holdfastd connector status"}
}

func errHolderNotConnected(tenant, name string) error {
	return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Retryable: true,
		Message: "the connector " + name + " of the tenant " + tenant + " is not connected",
		Hint:    "start it, or look at its status line: holdfastd connector status"}
}

// errNobodyHolds names who is connected and has not, and who has and is not connected.
func errNobodyHolds(k backup.EKey, all, around circle) error {
	e := &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Retryable: true,
		Message: fmt.Sprintf("none of the connected connectors (%s) holds generation %d of the ekey of %s", around.names(), k.Generation, k.Tenant),
		Hint:    "start a connector that holds it"}
	if holders := all.holding(k); len(holders) > 0 {
		e.Hint = "start one that holds it: " + holders.names()
	}
	return e
}

func (c circle) names() string {
	names := make([]string, len(c))
	for i, s := range c {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
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
		Hint:    "compare the identity that the connector shows with the one that is pinned: holdfast key status " + tenant}
}

func errRefused(a Answer) error {
	e := &backup.Error{Code: a.Refusal.Code, Fault: backup.FaultCustomer,
		Message: "the connector " + a.Connector + " refused: " + a.Refusal.Reason,
		Hint:    "look at the connector's log; it names the request and the reason"}
	switch a.Refusal.Code {
	case backup.CodeSealed:
		e.Retryable, e.Hint = true, "unseal the system that the connector keeps the ekey in"
	case backup.CodeNotFound:
		e.Hint = "admit it again, which brings it the ekey: holdfast connector enroll " + a.Tenant + " --name " + a.Connector
	case backup.CodeDestroyed, backup.CodeRevoked:
		e.Hint = "it cannot be had from this connector any more"
	}
	return e
}
