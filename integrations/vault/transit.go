package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// holder is what receipts and proofs call a KMS.
const holder = "vault"

// Options of a Transit. Secrets must be set.
type Options struct {
	// Secrets resolves the references of tenants' logins.
	Secrets Secrets
	// Requester is who asks, for receipts: the worker identity's short form.
	Requester string
	Clock     func() time.Time
}

// Transit keeps ekeys by the transit engines of Vault or OpenBao servers, for tenants with a key.kms section. It satisfies
// custody.Holder and may be used concurrently. Errors of all methods: CodeSealed (sealed, or a standby alone), CodeThrottled,
// CodeUnreachable and CodeBadResponse may be gone later by themselves; CodeBadCredential (the login), CodeDenied (the policy),
// CodeDestroyed (no such key), CodeRevoked (key version forbidden), CodeWrongKey (wrapped for something else) and CodeBadConfig are not.
type Transit struct {
	o    Options
	pool *pool
}

// New makes a Transit. The caller closes it.
func New(o Options) *Transit {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &Transit{o, newPool(o.Secrets)}
}

// Close ends renewals and forgets all tokens; those of AppRole and Kubernetes end at the server by their time to live.
func (t *Transit) Close() error {
	t.pool.close()
	return nil
}

// Reachable returns nil when the tenant's server serves and takes the workers' login. It asks for no key.
func (t *Transit) Reachable(ctx context.Context, tenant backup.Tenant, _ backup.EKey) error {
	e, err := t.engine(tenant, false)
	if err != nil {
		return err
	}
	if err := e.standing(ctx); err != nil {
		return err
	}
	_, err = e.ensure(ctx)
	return e.classify(ctx, "the login", nil, err)
}

// Create lets the server make the generation and returns it with Wrapped; nobody has seen the plain key then. The first generation makes
// the transit key, every later one rotates it. Attempts that are repeated because a result was lost share a version, but for those of the first
// three seconds.
func (t *Transit) Create(ctx context.Context, tenant backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.EKey, error) {
	if k.Wrapped != "" {
		return k, nil
	}
	binding, err := bindingOf(tenant, k.Generation)
	if err != nil {
		return k, err
	}
	e, err := t.engine(tenant, true)
	if err != nil {
		return k, err
	}
	if err := t.prepareVersion(ctx, e, tenant, k); err != nil {
		return k, err
	}
	k.Wrapped, err = e.dataKey(ctx, binding)
	return k, err
}

// prepareVersion sees to it that the newest version of the transit key wraps no other generation.
func (t *Transit) prepareVersion(ctx context.Context, e *engine, tenant backup.Tenant, k backup.EKey) error {
	byHand := tenant.Key.KMS.Provisioning == nil
	info, err := e.info(ctx)
	switch {
	case err != nil && byHand && backup.HasCode(err, backup.CodeDenied):
		return e.byHand("the login may not look at the transit key "+e.key, e.commandLetPrepare())
	case err != nil:
		return err
	case info == nil && byHand:
		return e.byHand("there is no transit key "+e.key, e.commandMake())
	case info == nil:
		return e.make(ctx)
	}
	if err := info.check(e); err != nil || k.Generation == 1 {
		return err
	}
	now, err := e.serverTime(ctx)
	switch {
	case err != nil:
		return err
	case info.madeWithin(t.o.Clock().Sub(k.Created), now):
		return nil // rotated for this generation already
	case byHand:
		return e.byHand("the transit key "+e.key+" must be rotated for the new generation", e.commandRotate())
	}
	return e.rotate(ctx)
}

// Release asks the server to unwrap the generation.
func (t *Transit) Release(ctx context.Context, tenant backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.KeyRelease, error) {
	at := t.o.Clock()
	key, err := t.unwrap(ctx, tenant, k)
	if err != nil {
		return backup.KeyRelease{}, err
	}
	nonce := make([]byte, 16)
	rand.Read(nonce)
	return backup.KeyRelease{EKey: key, Holder: holder, Requester: t.o.Requester, Nonce: hex.EncodeToString(nonce), At: at, Until: at.Add(callTimeout)}, nil
}

func (t *Transit) unwrap(ctx context.Context, tenant backup.Tenant, k backup.EKey) ([]byte, error) {
	if err := heldStill(k); err != nil {
		return nil, err
	}
	binding, err := bindingOf(tenant, k.Generation)
	if err != nil {
		return nil, err
	}
	e, err := t.engine(tenant, false)
	if err != nil {
		return nil, err
	}
	return e.decrypt(ctx, k.Wrapped, binding)
}

// heldStill refuses a generation of which nothing is kept.
func heldStill(k backup.EKey) error {
	switch {
	case k.Wrapped != "":
		_, err := versionOf(k.Wrapped)
		return err
	case k.State == backup.EKeyDestroyed:
		return customer(backup.CodeDestroyed, fmt.Sprintf("generation %d of the ekey was destroyed", k.Generation), "")
	case k.State == backup.EKeyRetired:
		return customer(backup.CodeRevoked, fmt.Sprintf("generation %d of the ekey is retired", k.Generation), "a newer generation is in use")
	}
	return customer(backup.CodeNotFound, fmt.Sprintf("generation %d of the ekey was not made yet", k.Generation), "onboarding or the rotation makes it")
}

// Prove unwraps the generation here, compares it with its check key and wipes it. There is one proof.
func (t *Transit) Prove(ctx context.Context, tenant backup.Tenant, k backup.EKey, _ backup.KeyUse) ([]backup.KeyProof, error) {
	proof := backup.KeyProof{Holder: holder, Generation: k.Generation, OK: true, Detail: "it unwraps, and is the key that its check key tells"}
	err := t.prove(ctx, tenant, k)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		proof = failedProof(k.Generation, err)
	}
	return []backup.KeyProof{proof}, nil
}

func (t *Transit) prove(ctx context.Context, tenant backup.Tenant, k backup.EKey) error {
	key, err := t.unwrap(ctx, tenant, k)
	if err != nil {
		return err
	}
	defer clear(key)
	private, err := backup.CheckKey(key, tenant.ID, k.Generation)
	if err != nil {
		return err
	}
	defer clear(private)
	switch k.Check {
	case backup.CheckText(private.Public().(ed25519.PublicKey)):
		return nil
	case "":
		return customer(backup.CodeNotFound, "it unwraps, and there is nothing to compare it with yet", "the check key is recorded when the ekey is first used")
	}
	return customer(backup.CodeWrongKey, "it unwraps to another key than the one that was recorded", "was the wrapped key exchanged, or the KMS restored from an older state?")
}

func failedProof(generation int, err error) backup.KeyProof {
	known := backup.AsError(err)
	return backup.KeyProof{Holder: holder, Generation: generation, Code: known.Code, Detail: known.Message, Hint: known.Hint}
}

// Share has nothing to do: every worker asks the same server.
func (t *Transit) Share(context.Context, backup.Tenant, backup.EKey, string, backup.KeyUse) error {
	return nil
}

// Rewrap returns the generation wrapped under a new version of the transit key; the server shows nobody the plain key on the way. Without
// a provisioning login the newest version that there is, is taken. It must not be called while another generation of this method is
// pending: that one's version must stay the newer one (see Retire).
func (t *Transit) Rewrap(ctx context.Context, tenant backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.EKey, error) {
	if err := heldStill(k); err != nil {
		return k, err
	}
	binding, err := bindingOf(tenant, k.Generation)
	if err != nil {
		return k, err
	}
	if tenant.Key.KMS != nil && tenant.Key.KMS.Provisioning != nil {
		keeper, err := t.engine(tenant, true)
		if err != nil {
			return k, err
		}
		if err := keeper.rotate(ctx); err != nil {
			return k, err
		}
	}
	e, err := t.engine(tenant, false)
	if err != nil {
		return k, err
	}
	wrapped, err := e.rewrap(ctx, k.Wrapped, binding)
	if err == nil {
		k.Wrapped = wrapped
	}
	return k, err
}

// Retire makes the version that wrapped the generation, and all before it, undecipherable, and lets the server delete them. A pending
// generation has a newer version than the active one, which must stay: of that it is enough that nobody keeps its wrapped form, and its
// version goes with the next that retires.
func (t *Transit) Retire(ctx context.Context, tenant backup.Tenant, k backup.EKey, _ backup.KeyUse) error {
	if k.Wrapped == "" || k.State == backup.EKeyPending {
		return nil
	}
	version, err := versionOf(k.Wrapped)
	if err != nil {
		return err
	}
	e, err := t.engine(tenant, true)
	if err != nil {
		return err
	}
	info, err := e.info(ctx)
	if err != nil || info == nil || info.MinAvailableVersion > version {
		return err
	}
	if tenant.Key.KMS.Provisioning == nil {
		if info.MinDecryptionVersion > version {
			return nil
		}
		return e.byHand(fmt.Sprintf("generation %d is to be retired", k.Generation), e.commandRetire(version, info.LatestVersion))
	}
	if info.LatestVersion <= version { // the tenant has no newer generation here
		if err := e.rotate(ctx); err != nil {
			return err
		}
	}
	return e.forget(ctx, version+1)
}

// Spares refuses to retire a generation when the one that is kept was not wrapped by a newer version: both would become undecipherable.
// It happens when the workers' clocks differ (see prepareVersion), or when a person changes versions by hand.
func (t *Transit) Spares(old, kept backup.EKey) error {
	if old.Wrapped == "" || old.State == backup.EKeyPending || kept.Wrapped == "" {
		return nil
	}
	last, err := versionOf(old.Wrapped)
	if err != nil {
		return err
	}
	version, err := versionOf(kept.Wrapped)
	if err != nil || version > last {
		return err
	}
	hint := "wrap it anew first: holdfast key rotate " + kept.Tenant + " --rewrap-only"
	if kept.State == backup.EKeyPending {
		hint = "finish or abort the change of the key first"
	}
	return customer(backup.CodeNotAllowed, fmt.Sprintf("generation %d is wrapped by version %d of the transit key, which retiring generation %d would delete", kept.Generation, version, old.Generation), hint)
}

// Destroy deletes the tenant's transit key, and with it every generation there ever was. What may be gone later by itself is returned as
// an error; a refusal is a proof that is not OK.
func (t *Transit) Destroy(ctx context.Context, tenant backup.Tenant, ks []backup.EKey, _ backup.KeyUse) ([]backup.KeyProof, error) {
	err := t.destroy(ctx, tenant)
	if err != nil && (ctx.Err() != nil || backup.AsError(err).Retryable) {
		return nil, err
	}
	proofs := make([]backup.KeyProof, 0, len(ks))
	for _, k := range ks {
		proof := backup.KeyProof{Holder: holder, Generation: k.Generation, OK: true, Detail: "the transit key is deleted, and the server does not know it any more"}
		if err != nil {
			proof = failedProof(k.Generation, err)
		}
		proofs = append(proofs, proof)
	}
	return proofs, nil
}

func (t *Transit) destroy(ctx context.Context, tenant backup.Tenant) error {
	e, err := t.engine(tenant, true)
	if err != nil {
		return err
	}
	if tenant.Key.KMS.Provisioning != nil {
		if err := e.destroy(ctx); err != nil {
			return err
		}
	}
	info, err := e.info(ctx)
	if err != nil || info == nil {
		return err
	}
	return e.byHand("the transit key "+e.key+" is there still", e.commandDestroy())
}
