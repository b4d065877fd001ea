// Package custody keeps tenants' ekeys: it knows which generation is active and by which method it is had, asks that method's holders,
// and writes a receipt of every release before anybody gets a key.
package custody

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Holder is one key method. All of it may be asked again after a crash.
type Holder interface {
	// Reachable returns nil when a holder of the generation could be asked now, without asking it. CodeNotConnected, CodeSealed, …
	Reachable(ctx context.Context, t backup.Tenant, k backup.EKey) error
	// Create makes the generation at one holder, or finds it there, and returns what is to be kept of it (Wrapped, Check where known).
	Create(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.EKey, error)
	// Release gives the plain ekey to this process.
	Release(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.KeyRelease, error)
	// Prove asks every configured source of the generation to prove that it holds it. A source that cannot is a proof that is not OK.
	Prove(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) ([]backup.KeyProof, error)
	// Share brings the generation to the named connector, or to every pinned one; a no-op where there is nothing to share.
	Share(ctx context.Context, t backup.Tenant, k backup.EKey, connector string, use backup.KeyUse) error
	// Rewrap returns the generation wrapped anew; CodeNotAllowed where the method has nothing to wrap.
	Rewrap(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.EKey, error)
	// Retire makes the generation unobtainable; newer ones stay.
	Retire(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) error
	// Destroy makes all of these generations unobtainable for ever, at every holder, and tells what each said.
	Destroy(ctx context.Context, t backup.Tenant, ks []backup.EKey, use backup.KeyUse) ([]backup.KeyProof, error)
}

// Sparing is a Holder that ends older generations together with the one that retires.
type Sparing interface {
	// Spares returns nil when kept can still be had once old was retired, and otherwise what to do first.
	Spares(old, kept backup.EKey) error
}

// Records is what custody needs of the store.
type Records interface {
	// EKeys lists a tenant's generations, oldest first.
	EKeys(ctx context.Context, tenant string) ([]backup.EKey, error)
	// AddEKey adds a pending generation: the number after the newest, or the pending one that is there already.
	AddEKey(ctx context.Context, tenant string, method backup.KeyMethod, at time.Time) (backup.EKey, error)
	// UpdateEKey replaces Check and Wrapped of a generation. A Check that is set never changes: CodeWrongKey.
	UpdateEKey(ctx context.Context, k backup.EKey) error
	// ActivateEKey makes a pending generation active and the active one retiring, in one transaction. Again is the same as once.
	ActivateEKey(ctx context.Context, tenant string, generation int, at, retireAfter time.Time) error
	// EndEKey makes a generation retired or destroyed and forgets its Wrapped.
	EndEKey(ctx context.Context, tenant string, generation int, state backup.EKeyState, at time.Time) error
	SaveDrill(ctx context.Context, d backup.KeyDrill) error
	SaveShred(ctx context.Context, r backup.ShredReport) error
}

// Receipts is the tenant's log of releases.
type Receipts interface {
	// AppendReceipt appends the receipt to the tenant's log under a new signed head and returns its number.
	AppendReceipt(ctx context.Context, r backup.Receipt) (int64, error)
}
