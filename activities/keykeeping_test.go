package activities

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/custody"
	"github.com/holdfast-backup/holdfast/internal/ledger"
)

// safe is a holder of keys in memory, of whichever method.
type safe struct {
	keys map[int][]byte
	err  error
}

func (s *safe) Reachable(context.Context, backup.Tenant, backup.EKey) error { return s.err }

func (s *safe) Create(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.EKey, error) {
	if s.keys[k.Generation] == nil {
		s.keys[k.Generation] = make([]byte, backup.EKeySize)
		rand.Read(s.keys[k.Generation])
	}
	k.Wrapped = fmt.Sprint(k.Generation)
	return k, s.err
}

func (s *safe) Release(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.KeyRelease, error) {
	if s.err != nil {
		return backup.KeyRelease{}, s.err
	}
	if s.keys[k.Generation] == nil {
		return backup.KeyRelease{}, &backup.Error{Code: backup.CodeDestroyed, Fault: backup.FaultCustomer, Message: "it does not exist"}
	}
	nonce := rand.Text()
	return backup.KeyRelease{EKey: slices.Clone(s.keys[k.Generation]), Holder: "safe", Requester: "test", Nonce: nonce}, nil
}

func (s *safe) Prove(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) ([]backup.KeyProof, error) {
	return []backup.KeyProof{{Holder: "safe", Generation: k.Generation, OK: s.keys[k.Generation] != nil}}, s.err
}

func (s *safe) Share(context.Context, backup.Tenant, backup.EKey, string, backup.KeyUse) error {
	return s.err
}

func (s *safe) Rewrap(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.EKey, error) {
	k.Wrapped += " anew"
	return k, s.err
}

func (s *safe) Retire(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) error {
	if s.err == nil {
		delete(s.keys, k.Generation)
	}
	return s.err
}

func (s *safe) Destroy(_ context.Context, _ backup.Tenant, ks []backup.EKey, _ backup.KeyUse) (said []backup.KeyProof, err error) {
	for _, k := range ks {
		if s.err == nil {
			delete(s.keys, k.Generation)
		}
		said = append(said, backup.KeyProof{Holder: "safe", Generation: k.Generation, OK: s.err == nil, Code: backup.CodeSealed})
	}
	return said, nil
}

type signer struct{ ed25519.PrivateKey }

func (s signer) Public() string { return backup.CheckText(s.PrivateKey.Public().(ed25519.PublicKey)) }
func (s signer) Sign(domain string, m []byte) []byte {
	return ed25519.Sign(s.PrivateKey, append([]byte(domain), m...))
}

// testRepositories are real repositories.
type testRepositories struct{ *kopia.Repositories }

func (r testRepositories) OpenRepository(ctx context.Context, t backup.Tenant, password string) (Repository, error) {
	opened, err := r.Repositories.OpenRepository(ctx, t, password)
	if err != nil {
		return nil, err
	}
	return testRepository{opened}, nil
}

// faulty fails the n-th call that changes something, before or after it was made: what a worker that is killed there leaves behind.
type faulty struct {
	KeyKeeper
	at    int
	after bool
	calls int
}

var errKilled = errors.New("killed")

func (f *faulty) step(do func() error) error {
	if f.calls++; f.calls != f.at {
		return do()
	}
	if f.after {
		_ = do()
	}
	return errKilled
}

func (f *faulty) Prepare(ctx context.Context, t backup.Tenant, m backup.KeyMethod, use backup.KeyUse) (from, to backup.EKey, err error) {
	err = f.step(func() (err error) { from, to, err = f.KeyKeeper.Prepare(ctx, t, m, use); return err })
	return from, to, err
}

func (f *faulty) Obtain(ctx context.Context, t backup.Tenant, use backup.KeyUse) (l *backup.Lease, err error) {
	err = f.step(func() (err error) { l, err = f.KeyKeeper.Obtain(ctx, t, use); return err })
	return l, err
}

func (f *faulty) Activate(ctx context.Context, t backup.Tenant, n int, at time.Time, grace time.Duration) error {
	return f.step(func() error { return f.KeyKeeper.Activate(ctx, t, n, at, grace) })
}

func (f *faulty) Retire(ctx context.Context, t backup.Tenant, n int, use backup.KeyUse) error {
	return f.step(func() error { return f.KeyKeeper.Retire(ctx, t, n, use) })
}

type faultyRepositories struct {
	Repositories
	*faulty
}

func (f faultyRepositories) Rewrap(ctx context.Context, t backup.Tenant, old, new string) error {
	return f.step(func() error { return f.Repositories.Rewrap(ctx, t, old, new) })
}

// keeping is the tenant acme with a provisioned key and a repository with one snapshot.
type keeping struct {
	*testing.T
	env          *testsuite.TestActivityEnvironment
	store        *sqlstore.Store
	keys         *custody.Custodian
	repositories testRepositories
	connector    *safe
	kms          *safe
	activities   *KeyKeeping
	snapshot     string
}

var acme = backup.Tenant{ID: "acme", Key: backup.KeyConfig{Method: backup.KeyByConnector, Grace: backup.Duration(time.Hour)}, Repository: backup.RepositoryConfig{ID: "acme"}}

func newKeeping(t *testing.T) *keeping {
	t.Helper()
	k := &keeping{T: t, connector: &safe{keys: map[int][]byte{}}, kms: &safe{keys: map[int][]byte{}}}
	store, err := sqlstore.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "store.db"))
	k.must(err)
	t.Cleanup(func() { k.must(store.Close()) })
	k.store = store
	k.must(store.SaveTenant(t.Context(), acme))
	_, private, err := ed25519.GenerateKey(nil)
	k.must(err)
	k.keys = custody.New(custody.Options{Records: store, Receipts: ledger.New(store, signer{private}), Signer: signer{private},
		Holders: map[backup.KeyMethod]custody.Holder{backup.KeyByConnector: k.connector, backup.KeyByKMS: k.kms}})
	k.repositories = testRepositories{kopia.New(kopia.Options{Root: t.TempDir()})}
	var suite testsuite.WorkflowTestSuite
	k.env = suite.NewTestActivityEnvironment()
	k.env.RegisterActivity(&Provisioning{Tenants: store, History: store, Keys: k.keys, Repositories: k.repositories})
	k.activities = &KeyKeeping{}
	k.work(k.keys, k.repositories)
	k.env.RegisterActivity(k.activities)
	return k
}

// work has the activities use these from now on.
func (k *keeping) work(keys KeyKeeper, repositories Repositories) {
	*k.activities = KeyKeeping{Tenants: k.store, Keys: keys, Connectors: k.store, Repositories: repositories}
}

// provision makes the first generation and the repository, and puts a snapshot into it.
func (k *keeping) provision() {
	k.Helper()
	p := run[ProvisionResult](k, (*Provisioning)(nil).EnsureRepository, TenantInput{Tenant: "acme"})
	if !p.Verdict.Passing || p.Generation != 1 || !p.RepositoryCreated {
		k.Fatalf("provisioned %+v", p)
	}
	r := k.open(1)
	w, err := r.Write(k.Context(), nil)
	k.must(err)
	_, err = w.Put(k.Context(), message("m", "", "1").Item, nil)
	k.must(err)
	info, err := w.Commit(k.Context(), backup.SnapshotState{Layout: 1, Tenant: "acme", Account: "a1", App: backup.Microsoft365, Service: backup.Mail, RunID: "r", Complete: true})
	k.must(err)
	k.must(w.Close(k.Context()))
	k.must(r.Close(k.Context()))
	k.snapshot = info.ID
}

func (k *keeping) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// run runs an activity, which must not fail.
func run[R any](k *keeping, activity, in any) R {
	k.Helper()
	r, err := attempt[R](k, activity, in)
	k.must(err)
	return r
}

func attempt[R any](k *keeping, activity, in any) (r R, err error) {
	v, err := k.env.ExecuteActivity(activity, in)
	if err != nil || !v.HasValue() {
		return r, err
	}
	return r, v.Get(&r)
}

// password is what derives from a generation, as its holder has it.
func (k *keeping) password(generation int) string {
	k.Helper()
	key := k.connector.keys[generation]
	if key == nil {
		key = k.kms.keys[generation]
	}
	lease, err := backup.NewLease(slices.Clone(key), generation, 0)
	k.must(err)
	defer lease.Close()
	password, err := lease.RepositoryPassword("acme", "acme")
	k.must(err)
	return password
}

func (k *keeping) open(generation int) Repository {
	k.Helper()
	r, err := k.repositories.OpenRepository(k.Context(), acme, k.password(generation))
	k.must(err)
	return r
}

// opensOnlyWith fails unless the active generation is the given one, and opens the repository with its data, and no other that is still
// to be had does.
func (k *keeping) opensOnlyWith(generation int) {
	k.Helper()
	all, err := k.store.EKeys(k.Context(), "acme")
	k.must(err)
	for _, e := range all {
		if (e.State == backup.EKeyActive) != (e.Generation == generation) {
			k.Fatalf("generation %d is %s", e.Generation, e.State)
		}
		if e.Generation == generation || k.connector.keys[e.Generation] == nil && k.kms.keys[e.Generation] == nil {
			continue
		}
		if _, err := k.repositories.OpenRepository(k.Context(), acme, k.password(e.Generation)); !backup.HasCode(err, backup.CodeWrongKey) {
			k.Fatalf("generation %d, %s: %v", e.Generation, e.State, err)
		}
	}
	r := k.open(generation)
	if s, err := r.Find(k.Context(), k.snapshot); err != nil || s.State.Counts.Items != 1 {
		k.Fatalf("the snapshot: %+v, %v", s, err)
	}
	k.must(r.Close(k.Context()))
}

// change is the flow up to the activation, as the workflow runs it: every activity until it succeeds.
func (k *keeping) change(method backup.KeyMethod) (KeyChangeResult, error) {
	p, err := attempt[KeyChangeResult](k, (*KeyKeeping)(nil).PrepareKey, KeyChangeInput{Tenant: "acme", Method: method})
	if err != nil {
		return p, err
	}
	if v, err := attempt[backup.Verdict](k, (*KeyKeeping)(nil).ShareKey, ShareKeyInput{Tenant: "acme", Generation: p.To}); err != nil || !v.Passing {
		return p, err
	}
	_, err = attempt[RewrapResult](k, (*KeyKeeping)(nil).RewrapRepository, RewrapInput{Tenant: "acme", From: p.From, To: p.To})
	return p, err
}

func TestChangeOfKey(t *testing.T) {
	k := newKeeping(t)
	k.provision()
	again := run[ProvisionResult](k, (*Provisioning)(nil).EnsureRepository, TenantInput{Tenant: "acme"})
	if !again.Verdict.Passing || again.RepositoryCreated || again.Generation != 1 {
		t.Errorf("provisioned again: %+v", again)
	}
	plan := run[KeyPlanResult](k, (*KeyKeeping)(nil).PlanKey, TenantInput{Tenant: "acme"})
	if plan.Active.Generation != 1 || plan.Method != backup.KeyByConnector || plan.Grace != time.Hour || plan.ShredWait != backup.DefaultShredWait {
		t.Errorf("the plan is %+v", plan)
	}
	p, err := k.change(backup.KeyByKMS) // switch
	k.must(err)
	if p.From != 1 || p.To != 2 || p.Method != backup.KeyByKMS {
		t.Fatalf("prepared %+v", p)
	}
	k.opensOnlyWith(2)
	r := run[RewrapResult](k, (*KeyKeeping)(nil).RewrapRepository, RewrapInput{Tenant: "acme", From: 1, To: 2})
	if left := time.Until(r.RetireAfter); !r.Verdict.Passing || left < 50*time.Minute || left > time.Hour {
		t.Errorf("again: %+v", r)
	}
	for range 2 {
		if v := run[backup.Verdict](k, (*KeyKeeping)(nil).RetireKey, GenerationInput{Tenant: "acme", Generation: 1}); !v.Passing || k.connector.keys[1] != nil {
			t.Errorf("retired: %+v", v)
		}
	}
	if v := run[backup.Verdict](k, (*KeyKeeping)(nil).RewrapKey, TenantInput{Tenant: "acme"}); !v.Passing {
		t.Errorf("wrapped anew: %+v", v)
	}
	if p, err = k.change(""); err != nil || p.To != 3 || p.Method != backup.KeyByKMS { // rotate
		t.Fatalf("prepared %+v, %v", p, err)
	}
	k.opensOnlyWith(3)
	if d := run[backup.KeyDrill](k, (*KeyKeeping)(nil).DrillKey, TenantInput{Tenant: "acme"}); !d.OK || d.Generation != 3 {
		t.Errorf("the drill: %+v", d)
	}
	if v := run[backup.Verdict](k, (*KeyKeeping)(nil).DropKey, RewrapInput{Tenant: "acme", From: 2, To: 3}); v.Passing || v.Code != backup.CodeNotAllowed {
		t.Errorf("what is in use is given up: %+v", v)
	}
}

// stride is how many moments of a kill are passed over. Opening a repository is slow by design, and ten times as slow under the race
// detector, so that all of them are tried with HOLDFAST_KILLS of 20 and more only (make kill-tests).
func stride(sample int) int {
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_KILLS")); err == nil && n >= 20 {
		return 1
	}
	return sample
}

// TestChangeKilledAnywhere ends a change before and after every step of its activities. Going on ends well, and so does giving up; both
// leave exactly one generation that opens the repository.
func TestChangeKilledAnywhere(t *testing.T) {
	for n := 1; ; n += stride(7) {
		for _, goOn := range []bool{true, false} {
			k := newKeeping(t)
			k.provision()
			f := &faulty{KeyKeeper: k.keys, at: (n + 1) / 2, after: n%2 == 0}
			k.work(f, faultyRepositories{k.repositories, f})
			p, err := k.change(backup.KeyByKMS)
			if f.calls < f.at {
				if err != nil || n < 10 {
					t.Fatalf("after %d: %v", n, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("kill %d went by", n)
			}
			k.work(k.keys, k.repositories)
			if goOn {
				if plan := run[KeyPlanResult](k, (*KeyKeeping)(nil).PlanKey, TenantInput{Tenant: "acme"}); plan.Active.Generation == 2 { // only the answer was lost
					if r := run[RewrapResult](k, (*KeyKeeping)(nil).RewrapRepository, RewrapInput{Tenant: "acme", From: p.From, To: p.To}); !r.Verdict.Passing {
						t.Fatalf("kill %d, asked again: %+v", n, r)
					}
				} else {
					_, err = k.change(backup.KeyByKMS)
					k.must(err)
				}
				k.opensOnlyWith(2)
				continue
			}
			for range 2 {
				v := run[backup.Verdict](k, (*KeyKeeping)(nil).DropKey, RewrapInput{Tenant: "acme", From: p.From, To: p.To})
				if plan := run[KeyPlanResult](k, (*KeyKeeping)(nil).PlanKey, TenantInput{Tenant: "acme"}); plan.Active.Generation == 2 {
					k.opensOnlyWith(2) // only the answer was lost
					continue
				}
				if !v.Passing {
					t.Fatalf("kill %d, given up: %+v", n, v)
				}
				k.opensOnlyWith(1)
			}
		}
	}
}

// late is a repository whose re-wrapping comes back after its change was called off.
type late struct {
	Repositories
	before func(context.Context)
}

func (l late) Rewrap(ctx context.Context, t backup.Tenant, old, new string) error {
	l.before(ctx)
	return l.Repositories.Rewrap(ctx, t, old, new)
}

// An attempt that was given up for lost must not take the repository to a generation that nobody can have any more.
func TestALateAttemptIsTakenBack(t *testing.T) {
	for _, step := range []string{"moving", "proving"} {
		t.Run(step, func(t *testing.T) {
			k := newKeeping(t)
			k.provision()
			p := run[KeyChangeResult](k, (*KeyKeeping)(nil).PrepareKey, KeyChangeInput{Tenant: "acme", Method: backup.KeyByKMS})
			var once sync.Once
			slow := late{k.repositories, func(ctx context.Context) {
				once.Do(func() { // by another worker, as a person wanted, when this one has both passwords
					k.must((&KeyKeeping{Tenants: k.store, Keys: k.keys, Connectors: k.store, Repositories: k.repositories}).drop(ctx, acme, p.From, p.To))
				})
			}}
			k.work(k.keys, slow)
			if step == "proving" {
				k.work(k.keys, blind{slow})
			}
			if r, err := attempt[RewrapResult](k, (*KeyKeeping)(nil).RewrapRepository, RewrapInput{Tenant: "acme", From: p.From, To: p.To}); err == nil && r.Verdict.Passing {
				t.Error("a change that was called off was made")
			}
			k.opensOnlyWith(1)
		})
	}
}

// blind cannot be opened.
type blind struct{ late }

func (blind) OpenRepository(context.Context, backup.Tenant, string) (Repository, error) {
	return nil, errKilled
}

// Giving up is killed, too.
func TestGivingUpKilledAnywhere(t *testing.T) {
	for n := 1; ; n += stride(3) {
		k := newKeeping(t)
		k.provision()
		f := &faulty{KeyKeeper: k.keys, at: 5} // the re-wrapping is done and not activated
		k.work(f, faultyRepositories{k.repositories, f})
		if _, err := k.change(""); err == nil || f.calls != 5 {
			t.Fatalf("%d calls, %v", f.calls, err)
		}
		f = &faulty{KeyKeeper: k.keys, at: (n + 1) / 2, after: n%2 == 0}
		k.work(f, faultyRepositories{k.repositories, f})
		in := RewrapInput{Tenant: "acme", From: 1, To: 2}
		_, err := attempt[backup.Verdict](k, (*KeyKeeping)(nil).DropKey, in)
		done := f.calls < f.at
		if (err == nil) != done {
			t.Fatalf("kill %d: %v", n, err)
		}
		k.work(k.keys, k.repositories)
		if v := run[backup.Verdict](k, (*KeyKeeping)(nil).DropKey, in); !v.Passing {
			t.Fatalf("kill %d: %+v", n, v)
		}
		k.opensOnlyWith(1)
		if k.connector.keys[2] != nil {
			t.Error("the new generation is kept")
		}
		if done {
			break
		}
	}
}

// A change that was left unfinished by another method is given up before the next begins.
func TestChangeReplacesAnUnfinishedOne(t *testing.T) {
	k := newKeeping(t)
	k.provision()
	p := run[KeyChangeResult](k, (*KeyKeeping)(nil).PrepareKey, KeyChangeInput{Tenant: "acme", Method: backup.KeyByKMS})
	k.must(k.repositories.Rewrap(t.Context(), acme, k.password(1), k.password(p.To)))
	lease, err := k.keys.Obtain(t.Context(), acme, backup.KeyUse{Tenant: "acme", Generation: p.To, Purpose: backup.PurposeRotate})
	k.must(err)
	lease.Close()
	if p, err = k.change(""); err != nil || p.To != 3 || p.Method != backup.KeyByConnector {
		t.Fatalf("changed %+v, %v", p, err)
	}
	k.opensOnlyWith(3)
}

// What a holder is or says is a verdict at once; trouble of ours is tried again.
func TestHoldersStateIsAVerdict(t *testing.T) {
	k := newKeeping(t)
	k.provision()
	in := TenantInput{Tenant: "acme"}
	looks := map[string]func() (backup.Verdict, error){
		"observe": func() (backup.Verdict, error) {
			return attempt[backup.Verdict](k, (*Provisioning)(nil).ObserveKeyHolder, in)
		},
		"provision": func() (backup.Verdict, error) {
			p, err := attempt[ProvisionResult](k, (*Provisioning)(nil).EnsureRepository, in)
			return p.Verdict, err
		},
		"prepare": func() (backup.Verdict, error) {
			p, err := attempt[KeyChangeResult](k, (*KeyKeeping)(nil).PrepareKey, KeyChangeInput{Tenant: "acme"})
			return p.Verdict, err
		},
		"share": func() (backup.Verdict, error) {
			return attempt[backup.Verdict](k, (*KeyKeeping)(nil).ShareKey, ShareKeyInput{Tenant: "acme"})
		},
		"re-wrap": func() (backup.Verdict, error) {
			r, err := attempt[RewrapResult](k, (*KeyKeeping)(nil).RewrapRepository, RewrapInput{Tenant: "acme", From: 1, To: 2})
			return r.Verdict, err
		},
		"drop": func() (backup.Verdict, error) {
			return attempt[backup.Verdict](k, (*KeyKeeping)(nil).DropKey, RewrapInput{Tenant: "acme", From: 1, To: 2})
		},
	}
	for _, code := range []backup.Code{backup.CodeNotConnected, backup.CodeSealed, backup.CodeUnreachable, backup.CodeDenied, backup.CodeBadCredential} {
		k.connector.err = &backup.Error{Code: code, Fault: backup.FaultCustomer, Message: "no", Hint: "mend it", Retryable: true}
		for name, look := range looks {
			if v, err := look(); err != nil || v.Passing || v.Code != code || v.Hint != "mend it" {
				t.Errorf("%s, %s: %+v, %v", name, code, v, err)
			}
		}
	}
	k.connector.err = &backup.Error{Code: backup.CodeThrottled, Fault: backup.FaultCustomer, Message: "later", Retryable: true, RetryAfter: time.Minute}
	for name, look := range looks {
		var told *temporal.ApplicationError
		if _, err := look(); !errors.As(err, &told) || told.NonRetryable() || told.NextRetryDelay() != time.Minute {
			t.Errorf("%s, throttled: %v", name, err)
		}
	}
}

// A run that cannot have its key ends its attempt for good, under the holder's code; one that meets a repository in mid-change comes back.
func TestRunsKey(t *testing.T) {
	k := newKeeping(t)
	k.provision()
	o := newOffice(t, 1)
	k.env.RegisterActivity(&BackingUp{Tenants: k.store, Runs: o, Apps: o, Keys: k.keys, Repositories: k.repositories})
	try := func() *temporal.ApplicationError {
		_, err := k.env.ExecuteActivity((*BackingUp)(nil).BackUpShard, ShardInput{Tenant: "acme", App: backup.Microsoft365, Number: 1})
		var told *temporal.ApplicationError
		if !errors.As(err, &told) {
			t.Fatalf("got %v", err)
		}
		return told
	}
	for code, fault := range map[backup.Code]backup.Fault{backup.CodeNotConnected: backup.FaultCustomer, backup.CodeSealed: backup.FaultCustomer,
		backup.CodeUnreachable: backup.FaultCustomer, backup.CodeInternal: backup.FaultOurs, backup.CodeThrottled: backup.FaultVendor} {
		k.connector.err = &backup.Error{Code: code, Fault: fault, Message: "no", Retryable: true}
		passes := code == backup.CodeInternal || code == backup.CodeThrottled
		if told := try(); told.Type() != string(code) || told.NonRetryable() == passes {
			t.Errorf("%s: %s, for good: %t", code, told.Type(), told.NonRetryable())
		}
	}
	k.connector.err = nil
	other := k.password(1) + "x"
	k.must(k.repositories.Rewrap(t.Context(), acme, k.password(1), other))
	if told := try(); told.Type() != string(backup.CodeWrongKey) || !told.NonRetryable() {
		t.Errorf("a wrong key: %v", told)
	}
	run[KeyChangeResult](k, (*KeyKeeping)(nil).PrepareKey, KeyChangeInput{Tenant: "acme"})
	if told := try(); told.Type() != string(backup.CodeWrongKey) || told.NonRetryable() {
		t.Errorf("in mid-change: %v", told)
	}
}

func TestShred(t *testing.T) {
	k := newKeeping(t)
	k.provision()
	_, err := k.change(backup.KeyByKMS)
	k.must(err)
	report := backup.ShredReport{Tenant: "acme", RequestedBy: "anna", ApprovedBy: []string{"ben", "cleo"}, Requested: time.Now()}
	proof := run[ShredProofResult](k, (*KeyKeeping)(nil).ProveShred, ShredProofInput{report})
	if proof.Verdict.Passing || proof.Report.Signature != nil {
		t.Fatalf("proved before it was done: %+v", proof)
	}
	k.kms.err = &backup.Error{Code: backup.CodeSealed, Fault: backup.FaultCustomer, Message: "sealed"}
	if d := run[DestroyResult](k, (*KeyKeeping)(nil).DestroyKey, TenantInput{Tenant: "acme"}); d.Verdict.Passing || d.Verdict.Code != backup.CodeSealed || len(d.Holders) != 2 {
		t.Fatalf("destroyed while sealed: %+v", d)
	}
	if proof = run[ShredProofResult](k, (*KeyKeeping)(nil).ProveShred, ShredProofInput{report}); proof.Verdict.Passing || proof.Verdict.Code != backup.CodeSealed {
		t.Fatalf("that nobody could be asked is a proof: %+v", proof.Verdict)
	}
	for _, waived := range []bool{false, true} { // a holder that is gone for ever cannot be asked; only a person can do without its word
		p := proofsNeeded(backup.ShredReport{Holders: []backup.KeyProof{{Holder: "vault", OK: !waived}},
			Proof: []backup.KeyProof{{Generation: 1, OK: true}, {Generation: 2, Code: backup.CodeUnreachable}, {Generation: 3, Code: backup.CodeNotAllowed}, {Holder: "repository", OK: true}}})
		if waived != (len(p) == 3) || !waived != (len(p) == 4) || !slices.ContainsFunc(p, func(p backup.KeyProof) bool { return p.Generation == 3 }) {
			t.Errorf("waived %v: %+v", waived, p)
		}
	}
	k.kms.err = nil
	d := run[DestroyResult](k, (*KeyKeeping)(nil).DestroyKey, TenantInput{Tenant: "acme"})
	if !d.Verdict.Passing || len(d.Holders) != 2 {
		t.Fatalf("destroyed: %+v", d)
	}
	report.Holders = d.Holders
	for range 2 {
		proof = run[ShredProofResult](k, (*KeyKeeping)(nil).ProveShred, ShredProofInput{report})
		if r := proof.Report; !proof.Verdict.Passing || len(r.Signature) == 0 || !slices.Equal(r.Generations, []int{1, 2}) || len(r.Proof) != 3 || r.Proof[2].Code != backup.CodeWrongKey {
			t.Fatalf("the report: %+v", proof)
		}
	}
	status, err := k.store.KeyStatus(t.Context(), "acme")
	if err != nil || status.Shred == nil || status.Shred.RequestedBy != "anna" {
		t.Errorf("stored: %+v, %v", status.Shred, err)
	}
	_, err = attempt[KeyPlanResult](k, (*KeyKeeping)(nil).PlanKey, TenantInput{Tenant: "acme"})
	var told *temporal.ApplicationError
	if !errors.As(err, &told) || told.Type() != string(backup.CodeDestroyed) || !told.NonRetryable() {
		t.Errorf("a plan for a shredded key: %v", err)
	}
}

func TestEnrolling(t *testing.T) {
	k := newKeeping(t)
	k.env.RegisterActivity(&Enrolling{Tenants: k.store, Enrolments: k.store})
	named := EnrolmentInput{Tenant: "acme", Connector: "hq"}
	open := EnrolInput{Tenant: "acme", Connector: "hq", SecretHash: make([]byte, 32), Expires: time.Now().Add(time.Hour)}
	run[any](k, (*Enrolling)(nil).OpenEnrolment, open)
	_, err := k.store.UseEnrolment(t.Context(), open.SecretHash, "ed25519:x", []byte("r"), time.Now())
	k.must(err)
	run[any](k, (*Enrolling)(nil).OpenEnrolment, open) // once more, after it was presented
	if e := run[backup.Enrolment](k, (*Enrolling)(nil).ReadEnrolment, named); e.Identity != "ed25519:x" || e.Presented.IsZero() {
		t.Errorf("read %+v", e)
	}
	for range 2 {
		run[any](k, (*Enrolling)(nil).PinConnector, named)
	}
	if plan := run[KeyPlanResult](k, (*KeyKeeping)(nil).PlanKey, TenantInput{Tenant: "acme"}); plan.Connectors != 1 || plan.Active.Generation != 0 {
		t.Errorf("the plan: %+v", plan)
	}
	for range 2 {
		run[any](k, (*Enrolling)(nil).CloseEnrolment, named)
	}
	for range 2 {
		if r := run[RemovedConnector](k, (*Enrolling)(nil).RemoveConnector, named); r.Identity != "ed25519:x" {
			t.Errorf("removed %+v", r)
		}
	}
	if plan := run[KeyPlanResult](k, (*KeyKeeping)(nil).PlanKey, TenantInput{Tenant: "acme"}); plan.Connectors != 0 {
		t.Errorf("the plan after the removal: %+v", plan)
	}
	_, err = attempt[backup.Enrolment](k, (*Enrolling)(nil).ReadEnrolment, named)
	var told *temporal.ApplicationError
	if !errors.As(err, &told) || told.Type() != string(backup.CodeNotFound) {
		t.Errorf("a closed one: %v", err)
	}
	open.SecretHash = []byte("the secret itself")
	if _, err := attempt[any](k, (*Enrolling)(nil).OpenEnrolment, open); err == nil {
		t.Error("something other than a SHA-256 was taken")
	}
}

func TestShardSize(t *testing.T) {
	for accounts, want := range map[int]int{0: 10, 1: 10, 160: 10, 161: 11, 500: 32, 4000: 250, 100_000: 250} {
		if got := shardSize(accounts); got != want {
			t.Errorf("%d accounts: %d instead of %d", accounts, got, want)
		}
	}
	if n := (500 + shardSize(500) - 1) / shardSize(500); n != 16 {
		t.Errorf("500 accounts make %d shards", n)
	}
}

// muted is a store of one alert, and counts who is told of it.
type muted struct {
	until time.Time
	told  int
}

func (m *muted) RaiseAlert(_ context.Context, a backup.Alert, _ time.Time) (backup.Alert, bool, error) {
	a.MutedUntil = m.until
	return a, false, nil
}

func (m *muted) ResolveAlert(context.Context, string, backup.AlertKind, string, time.Time) (bool, error) {
	return true, nil
}

func (m *muted) Notify(context.Context, backup.Alert) error { m.told++; return nil }

func TestMutedAlert(t *testing.T) {
	m := &muted{until: time.Now().Add(time.Hour)}
	a := &Alerting{Alerts: m, Notifier: m}
	if err := a.RaiseAlert(t.Context(), AlertInput{}); err != nil || m.told != 0 {
		t.Errorf("told %d times, %v", m.told, err)
	}
	m.until = time.Now().Add(-time.Second)
	if err := a.RaiseAlert(t.Context(), AlertInput{}); err != nil || m.told != 1 {
		t.Errorf("told %d times, %v", m.told, err)
	}
}
