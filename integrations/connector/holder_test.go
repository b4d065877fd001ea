package connector

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/custody"
)

var _ custody.Holder = (*Broker)(nil)

// generation is one as custody knows it before it was ever had.
func generation(n int) backup.EKey {
	return backup.EKey{Tenant: "acme", Generation: n, Method: backup.KeyByConnector, State: backup.EKeyPending}
}

// TestAGenerationFromItsMakingToItsEnd is the life of an ekey with two connectors.
func TestAGenerationFromItsMakingToItsEnd(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		hq, branch := r.startWith(r.emptyKey("hq")), r.startWith(r.emptyKey("branch"))
		b, ctx := r.broker(), t.Context()
		release := func(k backup.EKey) []byte {
			t.Helper()
			got, err := b.Release(ctx, r.tenant, k, r.use())
			must(t, err)
			if check, err := checkOf(got.EKey, "acme", k.Generation); err != nil || check != k.Check {
				t.Fatalf("another ekey: %s", check)
			}
			return got.EKey
		}

		one, err := b.Create(ctx, r.tenant, generation(1), r.use())
		must(t, err)
		again, err := b.Create(ctx, r.tenant, generation(1), r.use())
		if must(t, err); again.Check != one.Check || one.Check == "" {
			t.Fatal("made twice, it is two different keys")
		}
		release(one) // only one of the two holds it, and is found

		proofs, err := b.Prove(ctx, r.tenant, one, r.use())
		if must(t, err); len(proofs) != 2 || proofs[0].OK == proofs[1].OK {
			t.Fatalf("one of two holds it: %+v", proofs)
		}
		must(t, b.Share(ctx, r.tenant, one, "", r.use()))
		must(t, b.Share(ctx, r.tenant, one, "hq", r.use()))
		proofs, err = b.Prove(ctx, r.tenant, one, r.use())
		if must(t, err); !proofs[0].OK || !proofs[1].OK || proofs[0].Holder != "connector branch" {
			t.Fatalf("both hold it: %+v", proofs)
		}
		if !slices.Equal(hq.keys.Holds(), branch.keys.Holds()) {
			t.Fatal("they hold different keys")
		}

		// The newest is kept, whoever asks; one that was never activated needs no retiring.
		e := wantCode(t, b.Retire(ctx, r.tenant, backup.EKey{Generation: 1, State: backup.EKeyRetiring}, r.use()), backup.CodeNotAllowed)
		if e.Retryable || !strings.Contains(e.Message, "newest") {
			t.Fatalf("%+v", e)
		}
		must(t, b.Retire(ctx, r.tenant, generation(1), r.use()))
		release(one)

		two, err := b.Create(ctx, r.tenant, generation(2), r.use())
		must(t, err)
		if two.Check == one.Check {
			t.Fatal("a new generation is the old one")
		}
		must(t, b.Share(ctx, r.tenant, two, "", r.use()))
		must(t, b.Retire(ctx, r.tenant, one, r.use()))
		must(t, b.Retire(ctx, r.tenant, one, r.use())) // again is the same as once
		_, err = b.Release(ctx, r.tenant, one, r.use())
		wantCode(t, err, backup.CodeRevoked)
		_, err = b.Create(ctx, r.tenant, generation(1), r.use())
		wantCode(t, err, backup.CodeRevoked)
		release(two)

		proofs, err = b.Destroy(ctx, r.tenant, []backup.EKey{one, two}, r.use())
		if must(t, err); proofs[0].OK || proofs[0].Code != backup.CodeDenied || !strings.Contains(proofs[0].Detail, "purposes in the policy file") {
			t.Fatalf("destroyed without being allowed: %+v", proofs)
		}
		release(two)
		for _, a := range []*Agent{hq, branch} {
			must(t, a.SetPolicy(&Policy{Purposes: purposes}))
		}
		proofs, err = b.Destroy(ctx, r.tenant, []backup.EKey{one, two}, r.use())
		if must(t, err); !proofs[0].OK || !proofs[1].OK || !strings.Contains(proofs[0].Detail, "[2]") {
			t.Fatalf("not destroyed: %+v", proofs)
		}
		_, err = b.Release(ctx, r.tenant, two, r.use())
		wantCode(t, err, backup.CodeDestroyed)
		for _, a := range []*Agent{hq, branch} {
			if len(a.keys.Holds()) != 0 || a.keys.Identity() == "" {
				t.Fatalf("%v", a.Status())
			}
		}
		_, err = b.Rewrap(ctx, r.tenant, two, r.use())
		wantCode(t, err, backup.CodeNotAllowed)
	})
}

func TestAConnectorThatIsAwayIsNamed(t *testing.T) {
	r := newRig(t, newMemory())
	r.start("hq")
	r.emptyKey("away")
	b := r.broker()
	e := wantCode(t, b.Share(t.Context(), r.tenant, r.one(), "", r.use()), backup.CodeNotConnected)
	if !e.Retryable || !strings.Contains(e.Message, "connector away") || strings.Contains(e.Message, "connector hq:") {
		t.Fatalf("%+v", e)
	}
	wantCode(t, b.Share(t.Context(), r.tenant, r.one(), "nobody", r.use()), backup.CodeNotFound)
	must(t, b.Share(t.Context(), r.tenant, r.one(), "hq", r.use()))
	proofs, err := b.Prove(t.Context(), r.tenant, r.one(), r.use())
	if must(t, err); proofs[0].OK || proofs[0].Code != backup.CodeNotConnected || proofs[0].Hint == "" || !proofs[1].OK {
		t.Fatalf("%+v", proofs)
	}
	two := r.one()
	two.Generation = 2
	wantCode(t, b.Retire(t.Context(), r.tenant, two, r.use()), backup.CodeNotConnected)
}

// What one connector lost, or cannot reach at the moment, says nothing of the others.
func TestARefusalOfOneConnectorIsNotThatOfAll(t *testing.T) {
	r := newRig(t, newMemory())
	hq, _ := r.start("hq")
	branch, _ := r.start("branch")
	b := r.broker()
	_, err := hq.keys.destroy(t.Context()) // by its administrator; it has told nobody
	must(t, err)
	for range 5 {
		_, err := r.release(b)
		must(t, err)
	}
	branch.keys.o.Source = &vaultLike{keys: map[int][]byte{1: bytes.Clone(r.ekey)}, away: true}
	branch.keys.k.Generations[0].ekey = nil
	for range 5 {
		_, err = r.release(b)
		if e := wantCode(t, err, backup.CodeSealed); !e.Retryable { // it comes back, so the key is not gone
			t.Fatalf("%+v", e)
		}
	}
	_, err = branch.keys.destroy(t.Context())
	wantCode(t, err, backup.CodeSealed)
	branch.keys.o.Source = nil
	_, err = branch.keys.destroy(t.Context())
	must(t, err)
	_, err = r.release(b)
	wantCode(t, err, backup.CodeDestroyed)
}

// A connector that is away and says that it holds the key keeps it from passing for destroyed.
func TestAKeyIsNotDestroyedWhileAHolderIsAway(t *testing.T) {
	r := newRig(t, newMemory())
	hq, _ := r.start("hq")
	_, stop := r.start("branch")
	stop()
	r.gone("branch")
	_, err := hq.keys.destroy(t.Context())
	must(t, err)
	_, err = r.release(r.broker())
	if e := wantCode(t, err, backup.CodeNotConnected); !strings.Contains(e.Hint, "branch") {
		t.Fatalf("%+v", e)
	}
}

func TestAConnectorWithAnotherKeyIsFound(t *testing.T) {
	r := newRig(t, newMemory())
	r.start("hq")
	wrong := r.emptyKey("wrong")
	must(t, wrong.Generate(1, time.Now()))
	r.startWith(wrong)
	b := r.broker()
	for range 10 { // whoever is asked, the right key comes
		_, err := r.release(b)
		must(t, err)
	}
	proofs, err := b.Prove(t.Context(), r.tenant, r.one(), r.use())
	if must(t, err); !proofs[0].OK || proofs[1].OK || proofs[1].Code != backup.CodeWrongKey {
		t.Fatalf("%+v", proofs)
	}
	wantCode(t, b.Share(t.Context(), r.tenant, r.one(), "", r.use()), backup.CodeWrongKey)
}

func TestWhoMadeAGenerationIsWaitedFor(t *testing.T) {
	r := newRig(t, newMemory())
	_, stop := r.start("hq")
	r.startWith(r.emptyKey("branch"))
	b := r.broker()
	_, err := b.Create(t.Context(), r.tenant, generation(1), r.use())
	must(t, err)
	stop()
	r.gone("hq")
	_, err = b.Create(t.Context(), r.tenant, generation(1), r.use())
	if e := wantCode(t, err, backup.CodeNotConnected); !strings.Contains(e.Hint, "hq") {
		t.Fatalf("a second key of the same number, or nobody says who has the first: %+v", e)
	}
	wantCode(t, b.Reachable(t.Context(), r.tenant, r.one()), backup.CodeNotConnected)
}

// deposit is what a right broker carries from hq to branch, without a mailbox; a test alters it on the way.
type deposit struct {
	r          *rig
	hq, branch *KeyFile
	share      Request
	sealed     Answer
}

func newDeposit(t *testing.T) *deposit {
	r := newRig(t, newMemory())
	d := &deposit{r: r, hq: r.key("hq"), branch: r.emptyKey("branch")}
	d.ask(nil)
	return d
}

// ask has hq's ekey sealed for branch.
func (d *deposit) ask(change func(*wish)) {
	address := d.branch.Address()
	use := d.r.use()
	use.Generation, use.Purpose = 1, backup.PurposeShare
	w := wish{use: use, check: d.r.one().Check, address: address, to: &Peer{Connector: "branch", Identity: d.branch.Identity(), Signature: address[recipientSize:]}}
	if change != nil {
		change(&w)
	}
	var err error
	d.share, err = newRequest(w, nil, d.r.worker, time.Now(), 30*time.Second)
	must(d.r.t, err)
	d.seal(d.r.ekey)
}

func (d *deposit) seal(ekey []byte) {
	release, err := sealFor(d.share, ekey, 1)
	must(d.r.t, err)
	d.sealed = answerTo(d.share, d.hq, Answer{Release: release})
}

// request is the deposit as the worker signs it.
func (d *deposit) request(change ...func(*Request)) Request {
	use := d.r.use()
	use.Generation, use.Purpose = 1, backup.PurposeDeposit
	w := wish{use: use, holder: "branch", check: d.share.Check, deposit: &Deposit{Request: d.share, Answer: d.sealed, Sender: d.hq.Identity()}}
	q, err := newRequest(w, nil, d.r.worker, time.Now(), 30*time.Second)
	must(d.r.t, err)
	for _, c := range change {
		c(&q)
	}
	q.Signature = d.r.worker.sign(q.statement())
	return q
}

func TestOnlyTheRightEKeyIsDeposited(t *testing.T) {
	stranger, err := NewIdentity()
	must(t, err)
	for _, c := range []struct {
		what   string
		change func(d *deposit)
		alter  func(d *deposit, q *Request)
		reason string // of the refusal; empty: malformed
	}{
		{what: "another ekey", change: func(d *deposit) { d.seal(bytes.Repeat([]byte{9}, backup.EKeySize)) }, reason: "another ekey than the one that was announced"},
		{what: "sealed to another connector", change: func(d *deposit) {
			other, _ := NewKeyFile(d.r.setup("branch"))
			d.ask(func(w *wish) { w.address = other.Address(); w.to.Signature = w.address[recipientSize:] })
		}, reason: "for another connector"},
		{what: "named for another connector", change: func(d *deposit) { d.ask(func(w *wish) { w.to.Connector = "third" }) }, reason: "for another connector"},
		{what: "another check than the share's", alter: func(d *deposit, q *Request) { q.Check = stranger.Public() }, reason: "of another ekey"},
		{what: "another generation", alter: func(d *deposit, q *Request) { q.Generation = 2 }, reason: "of another ekey"},
		{what: "of another tenant", change: func(d *deposit) { d.ask(func(w *wish) { w.use.Tenant = "other" }) }, reason: "of another ekey"},
		{what: "expired", alter: func(d *deposit, q *Request) {
			q.Deposit.Request.Issued -= time.Hour.Milliseconds()
			q.Deposit.Request.Expires -= time.Hour.Milliseconds()
			q.Deposit.Request.Signature = d.r.worker.sign(q.Deposit.Request.statement())
		}, reason: "expired"},
		{what: "asked for by a stranger", alter: func(d *deposit, q *Request) {
			q.Deposit.Request.Requester = stranger.Public()
			q.Deposit.Request.Signature = stranger.sign(q.Deposit.Request.statement())
		}, reason: "pinned worker"},
		{what: "answered by a stranger", alter: func(d *deposit, q *Request) { q.Deposit.Sender = stranger.Public() }, reason: "not answered by"},
		{what: "altered on the way", alter: func(d *deposit, q *Request) {
			release := *q.Deposit.Answer.Release
			release.Ciphertext = bytes.Clone(release.Ciphertext)
			release.Ciphertext[3] ^= 1
			q.Deposit.Answer.Release = &release
		}, reason: "not answered by"},
		{what: "altered by the sender", change: func(d *deposit) {
			d.sealed.Release.Ciphertext[3] ^= 1
			d.sealed = answerTo(d.share, d.hq, Answer{Release: d.sealed.Release})
		}, reason: "does not open"},
		{what: "for another holder", alter: func(d *deposit, q *Request) { q.Holder = "hq" }, reason: "for another connector"},
	} {
		d := newDeposit(t)
		a := d.r.agent(d.branch, t.TempDir())
		if c.change != nil {
			c.change(d)
		}
		q := d.request(func(q *Request) {
			if c.alter != nil {
				copied := *q.Deposit
				q.Deposit = &copied
				c.alter(d, q)
			}
		})
		word := a.decide(t.Context(), q)
		if word.Refusal == nil || !strings.Contains(word.Refusal.Reason, c.reason) {
			t.Errorf("%s: %+v", c.what, word.Refusal)
		}
		if n := len(a.keys.Holds()); n != 0 {
			t.Errorf("%s: %d generations are held", c.what, n)
		}
		must(t, a.Close())
	}
}

func TestADepositReplacesNothing(t *testing.T) {
	d := newDeposit(t)
	folder := t.TempDir()
	a := d.r.agent(d.branch, folder)
	defer a.Close()
	if word := a.decide(t.Context(), d.request()); word.Proof == nil || word.Proof.Check != d.r.one().Check {
		t.Fatalf("the right one is refused: %+v", word.Refusal)
	}
	if word := a.decide(t.Context(), d.request()); word.Proof == nil {
		t.Fatalf("again is not the same as once: %+v", word.Refusal)
	}
	other := bytes.Repeat([]byte{9}, backup.EKeySize)
	check, err := checkOf(other, "acme", 1)
	must(t, err)
	d.ask(func(w *wish) { w.check = check })
	d.seal(other)
	word := a.decide(t.Context(), d.request())
	if word.Refusal == nil || word.Refusal.Code != backup.CodeNotAllowed || a.keys.Holds()[0].Check != d.r.one().Check {
		t.Fatalf("replaced: %+v, holds %+v", word.Refusal, a.keys.Holds())
	}
	lines := strings.Split(strings.TrimSpace(string(readFile(t, filepath.Join(folder, eventsFile)))), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"purpose":"deposit"`) {
		t.Fatalf("recorded: %q", lines)
	}
}

// TestAShareGoesToTheNamedConnectorOnly: the recipient key is the word of the identity that the request names, and the request is the worker's.
func TestAShareGoesToTheNamedConnectorOnly(t *testing.T) {
	d := newDeposit(t)
	folder := t.TempDir()
	a := d.r.agent(d.hq, folder)
	defer a.Close()
	enemy, err := newRecipient()
	must(t, err)
	stranger, err := NewIdentity()
	must(t, err)
	resign := func(q Request) Request {
		q.Nonce = newNonce()
		q.Signature = d.r.worker.sign(q.statement())
		return q
	}
	for what, change := range map[string]func(q *Request){
		"another recipient": func(q *Request) { q.Recipient = enemy.public() },
		"another identity":  func(q *Request) { q.To.Identity = stranger.Public() },
		"another name":      func(q *Request) { q.To.Connector = "third" },
		"its own":           func(q *Request) { q.To.Identity = d.hq.Identity() },
		"another tenant's address": func(q *Request) {
			q.To.Signature = d.branch.identity.sign(addressStatement("other", "branch", q.Recipient))
		},
	} {
		q, to := d.share, *d.share.To
		q.To = &to
		change(&q)
		if word := a.decide(t.Context(), q); word.Refusal == nil || !strings.Contains(word.Refusal.Reason, "signature is not the worker's") {
			t.Errorf("%s, not signed: %+v", what, word)
		}
		if word := a.decide(t.Context(), resign(q)); word.Release != nil {
			t.Errorf("%s: sealed", what)
		}
	}
	wrong := d.share
	wrong.Check = stranger.Public()
	if word := a.decide(t.Context(), resign(wrong)); word.Refusal == nil || word.Refusal.Code != backup.CodeNotFound {
		t.Errorf("another check: %+v", word)
	}
	if len(readFile(t, filepath.Join(folder, eventsFile))) != 0 {
		t.Fatal("a refusal is recorded as a share")
	}
	if word := a.decide(t.Context(), d.share); word.Release == nil {
		t.Fatalf("the right one is refused: %+v", word.Refusal)
	}
	must(t, a.SetPolicy(&Policy{ShareWith: []string{stranger.Public()}}))
	if word := a.decide(t.Context(), resign(d.share)); word.Refusal == nil || !strings.Contains(word.Refusal.Reason, "shareWith") {
		t.Fatalf("against the policy: %+v", word)
	}
	if line := string(readFile(t, filepath.Join(folder, eventsFile))); strings.Count(line, "\n") != 1 || !strings.Contains(line, d.branch.Identity()) {
		t.Fatalf("recorded: %s", line)
	}
	if len(readFile(t, filepath.Join(folder, releasesFile))) != 0 {
		t.Fatal("a share is no release to a worker")
	}
}

// Who may not be given the ekey may not make it for the others, either: he would know it.
func TestAKeyIsTakenFromThoseOnlyWhomThePolicyLists(t *testing.T) {
	d := newDeposit(t)
	a := d.r.agent(d.branch, t.TempDir())
	defer a.Close()
	stranger, err := NewIdentity()
	must(t, err)
	must(t, a.SetPolicy(&Policy{ShareWith: []string{stranger.Public()}}))
	word := a.decide(t.Context(), d.request())
	if word.Refusal == nil || word.Refusal.Code != backup.CodeDenied || !strings.Contains(word.Refusal.Reason, "shareWith") || len(a.keys.Holds()) != 0 {
		t.Fatalf("taken from somebody else: %+v, holds %+v", word, a.keys.Holds())
	}
	must(t, a.SetPolicy(&Policy{ShareWith: []string{stranger.Public(), d.hq.Identity()}}))
	if word := a.decide(t.Context(), d.request()); word.Proof == nil {
		t.Fatalf("refused, though the sender is listed: %+v", word.Refusal)
	}
}

func TestEveryAlteredFieldOfADepositIsRefused(t *testing.T) {
	d := newDeposit(t)
	a := d.r.agent(d.branch, t.TempDir())
	defer a.Close()
	good := d.request()
	refused := func(what string, deposit Deposit) {
		t.Helper()
		q := good
		q.Deposit = &deposit
		if word := a.decide(t.Context(), q); word.Refusal == nil || !strings.Contains(word.Refusal.Reason, "signature is not the worker's") {
			t.Errorf("%s: %+v", what, word)
		}
	}
	alterations(t, good.Deposit.Request, func(field string, altered Request) {
		refused("request "+field, Deposit{altered, good.Deposit.Answer, good.Deposit.Sender})
	})
	alterations(t, good.Deposit.Answer, func(field string, altered Answer) {
		refused("answer "+field, Deposit{good.Deposit.Request, altered, good.Deposit.Sender})
	})
	alterations(t, *good.Deposit.Request.To, func(field string, altered Peer) {
		share := good.Deposit.Request
		share.To = &altered
		refused("to "+field, Deposit{share, good.Deposit.Answer, good.Deposit.Sender})
	})
	refused("sender", Deposit{good.Deposit.Request, good.Deposit.Answer, d.branch.Identity()})
	if word := a.decide(t.Context(), good); word.Proof == nil {
		t.Fatalf("the unaltered one is refused, so the test proves nothing: %+v", word.Refusal)
	}
}

// TestAProofMeansOneRequestAndOneConnector: what was proved once is no proof for anybody else.
func TestAProofMeansOneRequestAndOneConnector(t *testing.T) {
	r := newRig(t, newMemory())
	hq, branch := r.key("hq"), r.emptyKey("branch")
	drill := func() Request {
		use := r.use()
		use.Generation, use.Purpose = 1, backup.PurposeDrill
		q, err := newRequest(wish{use: use}, nil, r.worker, time.Now(), 30*time.Second)
		must(t, err)
		return q
	}
	accept := func(q Request, a Answer) error {
		body, err := a.wire()
		must(t, err)
		_, err = r.broker().accept(t.Context(), q, nil, &backup.KeyAnswer{Body: body})
		return err
	}
	one, other := drill(), drill()
	proof, err := proveTo(one, hq, hq.Generations[0])
	must(t, err)
	must(t, accept(one, answerTo(one, hq, Answer{Proof: proof})))
	wantCode(t, accept(other, answerTo(other, hq, Answer{Proof: proof})), backup.CodeBadResponse)
	wantCode(t, accept(one, answerTo(one, branch, Answer{Proof: proof})), backup.CodeBadResponse)
	two := *proof
	two.Generation = 2
	wantCode(t, accept(one, answerTo(one, hq, Answer{Proof: &two})), backup.CodeBadResponse)
	wantCode(t, accept(one, answerTo(one, hq, Answer{Done: &Done{Generations: []int{1}}})), backup.CodeBadResponse)
}
