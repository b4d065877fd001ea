package custody

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Options say what a Custodian works with.
type Options struct {
	Records  Records
	Receipts Receipts
	// Holders are the key methods that this process offers.
	Holders map[backup.KeyMethod]Holder
	// Signer signs the reports of shredded keys.
	Signer Signer
	Clock  func() time.Time // default time.Now
	Log    *zap.Logger      // default none
}

// Signer is the worker's identity.
type Signer interface {
	// Public is "ed25519:" and the public key.
	Public() string
	// Sign signs message under a domain, so that a signature of one kind is never taken for another.
	Sign(domain string, message []byte) []byte
}

// Custodian keeps the ekeys of all tenants. It has no state of its own: any number of processes may have one over the same records.
// Everything may be called again after a crash, and then does what is left to do.
type Custodian struct{ o Options }

// New makes a custodian.
func New(o Options) *Custodian {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Custodian{o}
}

// Reachable returns nil when a holder of the active generation could be asked now, without asking it. Before there is one, the method
// of the tenant's description counts.
func (c *Custodian) Reachable(ctx context.Context, t backup.Tenant) error {
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return err
	}
	k, ok := all.first()
	if !ok {
		k = backup.EKey{Tenant: t.ID, Generation: 1, Method: t.Key.Method, State: backup.EKeyPending}
	}
	h, err := c.holder(k.Method)
	if err != nil {
		return err
	}
	return h.Reachable(ctx, t, k)
}

// Obtain has a holder release a generation, and hands it out once its receipt is in the log. Generation 0 is the active one; before
// there ever was one, only provisioning gets the first. A released key that is not the one which the generation was first had with is
// wiped: CodeWrongKey.
func (c *Custodian) Obtain(ctx context.Context, t backup.Tenant, use backup.KeyUse) (*backup.Lease, error) {
	k, h, err := c.choose(ctx, t, &use)
	if err != nil {
		return nil, err
	}
	released, err := h.Release(ctx, t, k, use)
	if err != nil {
		clear(released.EKey)
		return nil, err
	}
	lease, err := c.handOut(ctx, k, use, released)
	if err != nil {
		clear(released.EKey)
		return nil, err
	}
	return lease, nil
}

// handOut makes a lease of a release, when it is the right key and the receipt is kept. The lease owns the key's bytes.
func (c *Custodian) handOut(ctx context.Context, k backup.EKey, use backup.KeyUse, released backup.KeyRelease) (*backup.Lease, error) {
	if err := c.check(ctx, k, released); err != nil {
		return nil, err
	}
	at := released.At
	if at.IsZero() {
		at = c.o.Clock()
	}
	number, err := c.o.Receipts.AppendReceipt(ctx, backup.Receipt{
		Tenant: k.Tenant, Generation: k.Generation, Method: k.Method, Purpose: use.Purpose, WorkflowID: use.WorkflowID, RunID: use.RunID, Attempt: use.Attempt,
		Holder: released.Holder, Requester: released.Requester, Nonce: released.Nonce, At: at, Until: released.Until,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the receipt of a key release: %w", err)
	}
	return backup.NewLease(released.EKey, k.Generation, number)
}

// check compares a released key with what the generation is known by. The first release of a generation settles what it is known by,
// and does so before anything can be made with the key.
func (c *Custodian) check(ctx context.Context, k backup.EKey, released backup.KeyRelease) error {
	if len(released.EKey) != backup.EKeySize {
		return errWrongKey(k, released.Holder)
	}
	private, err := backup.CheckKey(released.EKey, k.Tenant, k.Generation)
	if err != nil {
		return err
	}
	defer clear(private)
	switch got := backup.CheckText(private.Public().(ed25519.PublicKey)); k.Check {
	case got:
		return nil
	case "":
		k.Check = got
		return c.o.Records.UpdateEKey(ctx, k)
	}
	c.o.Log.Error("a holder released another key than the right one", zap.String("tenant", k.Tenant), zap.Int("generation", k.Generation), zap.String("holder", released.Holder))
	return errWrongKey(k, released.Holder)
}

// Generations lists what is recorded of the tenant's generations, oldest first; CodeDestroyed when the key was shredded.
func (c *Custodian) Generations(ctx context.Context, t backup.Tenant) ([]backup.EKey, error) {
	return c.generations(ctx, t.ID)
}

// Share brings a generation (0: the active one) to the named connector, or to every pinned one when the name is empty.
func (c *Custodian) Share(ctx context.Context, t backup.Tenant, generation int, connector string, use backup.KeyUse) error {
	use.Generation, use.Purpose = generation, backup.PurposeShare
	k, h, err := c.choose(ctx, t, &use)
	if err != nil {
		return err
	}
	return h.Share(ctx, t, k, connector, use)
}

// Rewrap wraps the active generation anew with the KMS's newest key version, without anybody seeing it. CodeNotAllowed while a new
// generation is pending: its key version has to stay the newest.
func (c *Custodian) Rewrap(ctx context.Context, t backup.Tenant, use backup.KeyUse) (backup.EKey, error) {
	use.Generation, use.Purpose = 0, backup.PurposeRotate
	k, h, err := c.choose(ctx, t, &use)
	if err != nil {
		return backup.EKey{}, err
	}
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return backup.EKey{}, err
	}
	if pending, ok := all.inState(backup.EKeyPending); ok {
		return backup.EKey{}, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer,
			Message: fmt.Sprintf("the key of %s is being changed to generation %d", t.ID, pending.Generation), Hint: "finish or abort that first: holdfast inbox"}
	}
	wrapped, err := h.Rewrap(ctx, t, k, use)
	if err != nil {
		return backup.EKey{}, err
	}
	k.Wrapped = cmp.Or(wrapped.Wrapped, k.Wrapped)
	return k, c.o.Records.UpdateEKey(ctx, k)
}

// Drill asks every configured source of the active generation for proof, and records what they said. A source that cannot be asked at
// all is a drill that failed, and not an error.
func (c *Custodian) Drill(ctx context.Context, t backup.Tenant, use backup.KeyUse) (backup.KeyDrill, error) {
	use.Generation, use.Purpose = 0, backup.PurposeDrill
	k, h, err := c.choose(ctx, t, &use)
	if err != nil {
		return backup.KeyDrill{}, err
	}
	proofs, err := h.Prove(ctx, t, k, use)
	if err != nil {
		failed, told := refusal(k, err)
		if !told {
			return backup.KeyDrill{}, err
		}
		proofs = append(proofs, failed)
	}
	d := backup.KeyDrill{Tenant: t.ID, Generation: k.Generation, At: c.o.Clock(), Proofs: proofs, OK: allOK(proofs)}
	return d, c.o.Records.SaveDrill(ctx, d)
}

// allOK tells whether everybody proved it, and there was somebody.
func allOK(proofs []backup.KeyProof) bool {
	return len(proofs) > 0 && !slices.ContainsFunc(proofs, func(p backup.KeyProof) bool { return !p.OK })
}

// refusal is what a method as a whole answered, as the proof of a holder. told is false for what says nothing of the holder: an
// unclassified error, or trouble of ours that passes.
func refusal(k backup.EKey, err error) (p backup.KeyProof, told bool) {
	e := backup.AsError(err)
	if e.Code == backup.CodeInternal || e.Fault == backup.FaultOurs && e.Retryable {
		return backup.KeyProof{}, false
	}
	return backup.KeyProof{Holder: holderName(k.Method), Generation: k.Generation, Code: e.Code, Detail: e.Error(), Hint: e.Hint}, true
}

func holderName(m backup.KeyMethod) string {
	if m == backup.KeyByConnector {
		return "connectors"
	}
	return string(m)
}

func (c *Custodian) holder(m backup.KeyMethod) (Holder, error) {
	if h := c.o.Holders[m]; h != nil {
		return h, nil
	}
	return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: fmt.Sprintf("the key method %q is not offered by this worker", m),
		Hint: "one of: connector, kms"}
}
