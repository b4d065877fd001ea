package custody_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/custody"
)

var _ activities.KeyKeeper = (*custody.Custodian)(nil)

// books are records and receipts in memory, by the contract of custody.Records. fail makes the n-th change from now on fail, once.
type books struct {
	mu       sync.Mutex
	ekeys    []backup.EKey
	receipts []backup.Receipt
	drill    *backup.KeyDrill
	shred    *backup.ShredReport
	fail     int
}

var errBooks = errors.New("the books cannot be written")

func (b *books) change(do func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail--; b.fail == 0 {
		return errBooks
	}
	return do()
}

func (b *books) EKeys(context.Context, string) ([]backup.EKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ekeys), nil
}

func (b *books) AddEKey(_ context.Context, tenant string, m backup.KeyMethod, at time.Time) (k backup.EKey, err error) {
	err = b.change(func() error {
		if i := b.find(backup.EKeyPending); i >= 0 {
			k = b.ekeys[i]
			return nil
		}
		k = backup.EKey{Tenant: tenant, Generation: len(b.ekeys) + 1, Method: m, State: backup.EKeyPending, Created: at}
		b.ekeys = append(b.ekeys, k)
		return nil
	})
	return k, err
}

func (b *books) UpdateEKey(_ context.Context, k backup.EKey) error {
	return b.change(func() error {
		known := &b.ekeys[k.Generation-1]
		if known.Check != "" && k.Check != known.Check {
			return &backup.Error{Code: backup.CodeWrongKey}
		}
		known.Check, known.Wrapped = k.Check, k.Wrapped
		return nil
	})
}

func (b *books) ActivateEKey(_ context.Context, _ string, generation int, at, retireAfter time.Time) error {
	return b.change(func() error {
		if i := b.find(backup.EKeyActive); i >= 0 {
			b.ekeys[i].State, b.ekeys[i].RetireAfter = backup.EKeyRetiring, retireAfter
		}
		b.ekeys[generation-1].State, b.ekeys[generation-1].Activated = backup.EKeyActive, at
		return nil
	})
}

func (b *books) EndEKey(_ context.Context, _ string, generation int, s backup.EKeyState, at time.Time) error {
	return b.change(func() error {
		k := &b.ekeys[generation-1]
		k.State, k.Wrapped, k.Ended = s, "", at
		return nil
	})
}

func (b *books) SaveDrill(_ context.Context, d backup.KeyDrill) error {
	return b.change(func() error { b.drill = &d; return nil })
}

func (b *books) SaveShred(_ context.Context, r backup.ShredReport) error {
	return b.change(func() error { b.shred = &r; return nil })
}

func (b *books) AppendReceipt(_ context.Context, r backup.Receipt) (n int64, err error) {
	err = b.change(func() error {
		r.Number = int64(len(b.receipts) + 1)
		b.receipts = append(b.receipts, r)
		n = r.Number
		return nil
	})
	return n, err
}

func (b *books) find(s backup.EKeyState) int {
	return slices.IndexFunc(b.ekeys, func(k backup.EKey) bool { return k.State == s })
}

// vaultlike is a holder in memory. It gives what it was told to wrap or, as a connector does, what it keeps itself.
type vaultlike struct {
	name  string
	check bool // Create tells the check key, as connectors do; otherwise it gives a Wrapped
	keys  map[int][]byte
	err   error // of every call
	// retire is what retiring ends with.
	retire error
	asked  []string
	gave   [][]byte // what was released, as the very slices
}

func (h *vaultlike) note(what string, generation int) error {
	h.asked = append(h.asked, fmt.Sprintf("%s %d", what, generation))
	return h.err
}

func (h *vaultlike) Reachable(_ context.Context, _ backup.Tenant, k backup.EKey) error {
	return h.note("reach", k.Generation)
}

func (h *vaultlike) Create(_ context.Context, _ backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.EKey, error) {
	if err := h.note("create", use.Generation); err != nil {
		return k, err
	}
	if h.keys[k.Generation] == nil {
		h.keys[k.Generation] = make([]byte, backup.EKeySize)
		rand.Read(h.keys[k.Generation])
	}
	if h.check {
		k.Check = checkOf(h.keys[k.Generation], k)
	} else {
		k.Wrapped = fmt.Sprintf("wrapped %d", k.Generation)
	}
	return k, nil
}

func (h *vaultlike) Release(_ context.Context, _ backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.KeyRelease, error) {
	if err := h.note("release", use.Generation); err != nil {
		return backup.KeyRelease{}, err
	}
	key := slices.Clone(h.keys[k.Generation])
	h.gave = append(h.gave, key)
	return backup.KeyRelease{EKey: key, Holder: h.name, Requester: "me", Nonce: fmt.Sprint(len(h.gave))}, nil
}

func (h *vaultlike) Prove(_ context.Context, _ backup.Tenant, k backup.EKey, use backup.KeyUse) ([]backup.KeyProof, error) {
	return []backup.KeyProof{{Holder: h.name, Generation: k.Generation, OK: k.Check == checkOf(h.keys[k.Generation], k)}}, h.note("prove", use.Generation)
}

func (h *vaultlike) Share(_ context.Context, _ backup.Tenant, k backup.EKey, connector string, _ backup.KeyUse) error {
	return h.note("share with "+connector, k.Generation)
}

func (h *vaultlike) Rewrap(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.EKey, error) {
	k.Wrapped += " anew"
	return k, h.note("rewrap", k.Generation)
}

func (h *vaultlike) Retire(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) error {
	if err := h.note("retire", k.Generation); err != nil || h.retire != nil {
		return errors.Join(err, h.retire)
	}
	delete(h.keys, k.Generation)
	return nil
}

func (h *vaultlike) Destroy(_ context.Context, _ backup.Tenant, ks []backup.EKey, _ backup.KeyUse) (said []backup.KeyProof, err error) {
	for _, k := range ks {
		if err := h.note("destroy", k.Generation); err != nil {
			return said, err
		}
		delete(h.keys, k.Generation)
		said = append(said, backup.KeyProof{Holder: h.name, Generation: k.Generation, OK: true})
	}
	return said, nil
}

func checkOf(key []byte, k backup.EKey) string {
	private, err := backup.CheckKey(key, k.Tenant, k.Generation)
	if err != nil {
		return err.Error()
	}
	return backup.CheckText(private.Public().(ed25519.PublicKey))
}

// seal signs for the worker.
type seal struct{ ed25519.PrivateKey }

func (s seal) Public() string { return backup.CheckText(s.PrivateKey.Public().(ed25519.PublicKey)) }
func (s seal) Sign(domain string, m []byte) []byte {
	return ed25519.Sign(s.PrivateKey, append([]byte(domain+"\x00"), m...))
}

// desk is a custodian with two holders, and the tenant acme, who describes the connector as its method.
type desk struct {
	*testing.T
	*custody.Custodian
	books     *books
	connector *vaultlike
	kms       *vaultlike
	signer    seal
	tenant    backup.Tenant
	now       time.Time
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, books: &books{}, signer: seal{private},
		connector: &vaultlike{name: "connector hq", check: true, keys: map[int][]byte{}},
		kms:       &vaultlike{name: "vault", keys: map[int][]byte{}},
		tenant:    backup.Tenant{ID: "acme", Key: backup.KeyConfig{Method: backup.KeyByConnector}},
		now:       time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	d.Custodian = custody.New(custody.Options{Records: d.books, Receipts: d.books, Signer: d.signer, Clock: func() time.Time { return d.now },
		Holders: map[backup.KeyMethod]custody.Holder{backup.KeyByConnector: d.connector, backup.KeyByKMS: d.kms}})
	return d
}

func (d *desk) use(p backup.KeyPurpose, generation int) backup.KeyUse {
	return backup.KeyUse{Tenant: "acme", Generation: generation, Purpose: p, WorkflowID: "key/acme", RunID: "run", Attempt: 1}
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *desk) wants(what string, err error, code backup.Code) {
	d.Helper()
	if got := backup.AsError(err); code == "" && err != nil || code != "" && (err == nil || got.Code != code) {
		d.Errorf("%s: %v, want %q", what, err, code)
	}
}

// begin provisions the first generation.
func (d *desk) begin() {
	d.Helper()
	k, err := d.Ensure(d.Context(), d.tenant, d.use(backup.PurposeProvision, 0))
	d.must(err)
	d.obtain(backup.PurposeProvision, 0).Close()
	d.must(d.Activate(d.Context(), d.tenant, k.Generation, d.now, time.Hour))
}

func (d *desk) obtain(p backup.KeyPurpose, generation int) *backup.Lease {
	d.Helper()
	lease, err := d.Obtain(d.Context(), d.tenant, d.use(p, generation))
	d.must(err)
	d.Cleanup(lease.Close)
	return lease
}

// state is what the books say of a generation.
func (d *desk) state(generation int) backup.EKeyState { return d.books.ekeys[generation-1].State }
