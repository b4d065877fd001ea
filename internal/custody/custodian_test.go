package custody_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/custody"
)

// A tenant's key begins, is used, is replaced by one of the other method, and the old one goes.
func TestLife(t *testing.T) {
	d := newDesk(t)
	d.begin()
	first := d.obtain(backup.PurposeBackup, 0)
	if first.Generation != 1 || first.Receipt != 2 {
		t.Errorf("leased generation %d by receipt %d", first.Generation, first.Receipt)
	}
	from, to, err := d.Prepare(t.Context(), d.tenant, backup.KeyByKMS, d.use(backup.PurposeCreate, 0))
	d.must(err)
	if from.Generation != 1 || to.Generation != 2 || to.Method != backup.KeyByKMS || to.Wrapped == "" {
		t.Fatalf("prepared %+v after %+v", to, from)
	}
	if d.obtain(backup.PurposeBackup, 0).Generation != 1 {
		t.Error("the pending generation is used")
	}
	if d.obtain(backup.PurposeRotate, 2).Generation != 2 {
		t.Error("the pending generation is not to be had")
	}
	d.must(d.Activate(t.Context(), d.tenant, 2, d.now, time.Hour))
	d.must(d.Activate(t.Context(), d.tenant, 2, d.now, time.Hour)) // again
	if old := d.books.ekeys[0]; old.State != backup.EKeyRetiring || !old.RetireAfter.Equal(d.now.Add(time.Hour)) {
		t.Errorf("the old one is %+v", old)
	}
	if d.obtain(backup.PurposeBackup, 0).Generation != 2 || d.obtain(backup.PurposeRestore, 1).Generation != 1 {
		t.Error("both generations are to be had until the old one retires")
	}
	d.must(d.Retire(t.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1)))
	d.must(d.Retire(t.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1))) // again
	_, err = d.Obtain(t.Context(), d.tenant, d.use(backup.PurposeRestore, 1))
	d.wants("a retired generation", err, backup.CodeRevoked)
	if n := slices.Index(d.connector.asked, "retire 1"); n < 0 || n != len(d.connector.asked)-1 {
		t.Errorf("the connector was asked %v", d.connector.asked)
	}
	k, err := d.Rewrap(t.Context(), d.tenant, d.use(backup.PurposeRotate, 0))
	if err != nil || d.books.ekeys[1].Wrapped != "wrapped 2 anew" || k.Generation != 2 {
		t.Errorf("wrapped anew: %+v, %v", d.books.ekeys[1], err)
	}
	drill, err := d.Drill(t.Context(), d.tenant, d.use(backup.PurposeDrill, 0))
	if err != nil || !drill.OK || drill.Generation != 2 || d.books.drill == nil {
		t.Errorf("the drill: %+v, %v", drill, err)
	}
	d.must(d.Share(t.Context(), d.tenant, 0, "branch", d.use(backup.PurposeShare, 0)))
	if d.kms.asked[len(d.kms.asked)-1] != "share with branch 2" {
		t.Errorf("the kms was asked %v", d.kms.asked)
	}
}

// Who holds what in which state may be asked for what: every state by every operation.
func TestStates(t *testing.T) {
	setUps := map[string]func(*desk){
		"nothing": func(d *desk) {},
		"pending": func(d *desk) {
			_, err := d.Ensure(d.Context(), d.tenant, d.use(backup.PurposeProvision, 0))
			d.must(err)
		},
		"active": func(d *desk) { d.begin() },
		"changing": func(d *desk) {
			d.begin()
			_, _, err := d.Prepare(d.Context(), d.tenant, "", d.use(backup.PurposeCreate, 0))
			d.must(err)
		},
		"shredded": func(d *desk) {
			d.begin()
			_, err := d.RecordShred(d.Context(), backup.ShredReport{Tenant: "acme"})
			d.must(err)
		},
	}
	operations := map[string]func(*desk) error{
		"backup": func(d *desk) error {
			_, err := d.Obtain(d.Context(), d.tenant, d.use(backup.PurposeBackup, 0))
			return err
		},
		"provision": func(d *desk) error {
			_, err := d.Obtain(d.Context(), d.tenant, d.use(backup.PurposeProvision, 0))
			return err
		},
		"second": func(d *desk) error {
			_, err := d.Obtain(d.Context(), d.tenant, d.use(backup.PurposeRotate, 2))
			return err
		},
		"ensure": func(d *desk) error {
			_, err := d.Ensure(d.Context(), d.tenant, d.use(backup.PurposeProvision, 0))
			return err
		},
		"prepare": func(d *desk) error {
			_, _, err := d.Prepare(d.Context(), d.tenant, "", d.use(backup.PurposeCreate, 0))
			return err
		},
		"reachable": func(d *desk) error { return d.Reachable(d.Context(), d.tenant) },
		"drill": func(d *desk) error {
			_, err := d.Drill(d.Context(), d.tenant, d.use(backup.PurposeDrill, 0))
			return err
		},
		"retire 1": func(d *desk) error { return d.Retire(d.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1)) },
		"retire 2": func(d *desk) error { return d.Retire(d.Context(), d.tenant, 2, d.use(backup.PurposeRetire, 2)) },
		"activate 2": func(d *desk) error {
			return d.Activate(d.Context(), d.tenant, 2, d.now, time.Hour)
		},
		"rewrap": func(d *desk) error {
			_, err := d.Rewrap(d.Context(), d.tenant, d.use(backup.PurposeRotate, 0))
			return err
		},
		"destroy": func(d *desk) error {
			_, err := d.Destroy(d.Context(), d.tenant, d.use(backup.PurposeDestroy, 0))
			return err
		},
	}
	const none, gone, refused = backup.CodeNotFound, backup.CodeDestroyed, backup.CodeNotAllowed
	table := map[string]map[string]backup.Code{
		"nothing":  {"backup": none, "provision": none, "second": none, "prepare": none, "drill": none, "retire 1": none, "retire 2": none, "activate 2": none, "rewrap": none, "destroy": none},
		"pending":  {"backup": none, "second": none, "prepare": none, "drill": none, "retire 2": none, "activate 2": none, "rewrap": none},
		"active":   {"second": none, "retire 1": refused, "retire 2": none, "activate 2": none},
		"changing": {"retire 1": refused, "rewrap": refused},
		"shredded": {"backup": gone, "provision": gone, "second": gone, "ensure": gone, "prepare": gone, "reachable": gone, "drill": gone, "retire 1": gone, "retire 2": gone, "activate 2": gone, "rewrap": gone},
	}
	for state, setUp := range setUps {
		for operation, do := range operations {
			t.Run(state+"/"+operation, func(t *testing.T) {
				d := newDesk(t)
				setUp(d)
				err := do(d)
				d.wants("once", err, table[state][operation])
				if state == "shredded" && err != nil && !strings.Contains(err.Error(), "2026-11-23") {
					t.Errorf("it is not said when: %v", err)
				}
				d.wants("again", do(d), table[state][operation])
			})
		}
	}
}

// Without a receipt, and for a wrong key, nobody gets anything, and what was released is wiped.
func TestNothingIsHandedOut(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*desk)
		want  backup.Code
	}{
		"no receipt":        {func(d *desk) { d.books.fail = 1 }, backup.CodeInternal},
		"another key":       {func(d *desk) { d.connector.keys[1] = bytes.Repeat([]byte{7}, backup.EKeySize) }, backup.CodeWrongKey},
		"half a key":        {func(d *desk) { d.connector.keys[1] = d.connector.keys[1][:16] }, backup.CodeWrongKey},
		"the holder is out": {func(d *desk) { d.connector.err = &backup.Error{Code: backup.CodeNotConnected} }, backup.CodeNotConnected},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.begin()
			receipts := len(d.books.receipts)
			c.spoil(d)
			lease, err := d.Obtain(t.Context(), d.tenant, d.use(backup.PurposeBackup, 0))
			d.wants("obtain", err, c.want)
			if lease != nil || len(d.books.receipts) != receipts {
				t.Errorf("got %v, %d receipts more", lease, len(d.books.receipts)-receipts)
			}
			if last := d.connector.gave[len(d.connector.gave)-1]; len(bytes.Trim(last, "\x00")) > 0 {
				t.Error("the released key was not wiped")
			}
		})
	}
}

// A generation of a KMS is known by its first release, before anybody can have made anything with it.
func TestFirstReleaseSettlesTheCheck(t *testing.T) {
	d := newDesk(t)
	d.tenant.Key.Method = backup.KeyByKMS
	_, err := d.Ensure(t.Context(), d.tenant, d.use(backup.PurposeProvision, 0))
	d.must(err)
	d.wants("activating what nobody had", d.Activate(t.Context(), d.tenant, 1, d.now, time.Hour), backup.CodeNotAllowed)
	d.books.fail = 1 // the check cannot be recorded
	if _, err := d.Obtain(t.Context(), d.tenant, d.use(backup.PurposeProvision, 0)); !errors.Is(err, errBooks) || len(d.books.receipts) > 0 {
		t.Fatalf("handed out unrecorded: %v", err)
	}
	lease := d.obtain(backup.PurposeProvision, 0)
	check, err := lease.Check("acme")
	if err != nil || d.books.ekeys[0].Check != check || d.books.ekeys[0].Wrapped != "wrapped 1" {
		t.Errorf("recorded %+v, leased %s, %v", d.books.ekeys[0], check, err)
	}
	if r := d.books.receipts[0]; r.Holder != "vault" || r.Method != backup.KeyByKMS || r.WorkflowID != "key/acme" || r.Generation != 1 || r.At.IsZero() {
		t.Errorf("the receipt is %+v", r)
	}
}

// What the description wants counts only as long as there is no key: an active one keeps its method, and one that nobody ever had is
// given up.
func TestDescribedMethod(t *testing.T) {
	d := newDesk(t)
	d.begin()
	d.tenant.Key.Method = backup.KeyByKMS
	if k, err := d.Ensure(t.Context(), d.tenant, d.use(backup.PurposeProvision, 0)); err != nil || k.Method != backup.KeyByConnector || k.Generation != 1 {
		t.Errorf("the active one: %+v, %v", k, err)
	}
	d.obtain(backup.PurposeBackup, 0)
	if len(d.kms.asked) > 0 {
		t.Errorf("the kms was asked %v", d.kms.asked)
	}

	d = newDesk(t)
	d.connector.err = &backup.Error{Code: backup.CodeNotConnected}
	_, err := d.Ensure(t.Context(), d.tenant, d.use(backup.PurposeProvision, 0))
	d.wants("no connector", err, backup.CodeNotConnected)
	d.tenant.Key.Method = backup.KeyByKMS
	if k, err := d.Ensure(t.Context(), d.tenant, d.use(backup.PurposeProvision, 0)); err != nil || k.Method != backup.KeyByKMS || k.Generation != 2 {
		t.Errorf("the first one, described anew: %+v, %v", k, err)
	}
	if d.state(1) != backup.EKeyRetired {
		t.Errorf("the one that nobody had is %s", d.state(1))
	}
}

// A change that was left unfinished is not replaced by one of another method behind its back.
func TestPrepareFindsAnUnfinishedChange(t *testing.T) {
	d := newDesk(t)
	d.begin()
	for range 2 {
		_, to, err := d.Prepare(t.Context(), d.tenant, backup.KeyByKMS, d.use(backup.PurposeCreate, 0))
		if err != nil || to.Generation != 2 || to.Method != backup.KeyByKMS {
			t.Fatalf("prepared %+v, %v", to, err)
		}
	}
	if n := len(d.kms.asked); n != 1 {
		t.Errorf("the kms made it %d times", n)
	}
	_, to, err := d.Prepare(t.Context(), d.tenant, backup.KeyByConnector, d.use(backup.PurposeCreate, 0))
	if err != nil || to.Method != backup.KeyByKMS {
		t.Errorf("prepared %+v, %v", to, err)
	}
	d.must(d.Retire(t.Context(), d.tenant, 2, d.use(backup.PurposeRetire, 2)))
	_, to, err = d.Prepare(t.Context(), d.tenant, backup.KeyByConnector, d.use(backup.PurposeCreate, 0))
	if err != nil || to.Generation != 3 || to.Method != backup.KeyByConnector {
		t.Errorf("prepared %+v, %v", to, err)
	}
}

// A connector keeps the newest generation that it holds, whoever asks. After a switch that one is retired all the same.
func TestASwitchAwayFromConnectorsComesToItsEnd(t *testing.T) {
	d := newDesk(t)
	d.begin()
	d.connector.retire = &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer}
	_, _, err := d.Prepare(t.Context(), d.tenant, "", d.use(backup.PurposeCreate, 0))
	d.must(err)
	d.obtain(backup.PurposeRotate, 2).Close()
	d.must(d.Activate(t.Context(), d.tenant, 2, d.now, time.Hour))
	d.wants("a connector that did not get the new generation yet", d.Retire(t.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1)), backup.CodeNotAllowed)

	_, _, err = d.Prepare(t.Context(), d.tenant, backup.KeyByKMS, d.use(backup.PurposeCreate, 0))
	d.must(err)
	d.obtain(backup.PurposeRotate, 3).Close()
	d.wants("while the key is had by connectors", d.Retire(t.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1)), backup.CodeNotAllowed)
	d.must(d.Activate(t.Context(), d.tenant, 3, d.now, time.Hour))
	for n := 1; n <= 2; n++ {
		d.must(d.Retire(t.Context(), d.tenant, n, d.use(backup.PurposeRetire, n)))
		_, err = d.Obtain(t.Context(), d.tenant, d.use(backup.PurposeRestore, n))
		d.wants("what connectors keep", err, backup.CodeRevoked)
	}
}

// sparing is a holder that would take generations along.
type sparing struct{ *vaultlike }

func (s sparing) Spares(old, kept backup.EKey) error {
	return s.note(fmt.Sprint("spares ", old.Generation), kept.Generation)
}

// Nothing is retired that would take the key in use along, and the holder is not even asked to.
func TestRetiringSparesTheKeyInUse(t *testing.T) {
	d := newDesk(t)
	kms := sparing{d.kms}
	d.Custodian = custody.New(custody.Options{Records: d.books, Receipts: d.books, Signer: d.signer, Clock: func() time.Time { return d.now },
		Holders: map[backup.KeyMethod]custody.Holder{backup.KeyByConnector: d.connector, backup.KeyByKMS: kms}})
	d.tenant.Key.Method = backup.KeyByKMS
	d.begin()
	for n := 2; n <= 3; n++ {
		_, _, err := d.Prepare(t.Context(), d.tenant, "", d.use(backup.PurposeCreate, 0))
		d.must(err)
		d.obtain(backup.PurposeRotate, n).Close()
		d.must(d.Activate(t.Context(), d.tenant, n, d.now, time.Hour))
	}
	_, _, err := d.Prepare(t.Context(), d.tenant, "", d.use(backup.PurposeCreate, 0))
	d.must(err)
	d.kms.asked, d.kms.err = nil, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer}
	d.wants("retired", d.Retire(t.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1)), backup.CodeNotAllowed)
	if d.state(1) != backup.EKeyRetiring || !slices.Equal(d.kms.asked, []string{"spares 1 3"}) {
		t.Errorf("it is %s, asked %v", d.state(1), d.kms.asked)
	}
	d.kms.asked, d.kms.err = nil, nil
	d.must(d.Retire(t.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1)))
	if !slices.Equal(d.kms.asked, []string{"spares 1 3", "spares 1 4", "retire 1"}) {
		t.Errorf("asked %v", d.kms.asked)
	}
}

// Every change of the books may fail, or be the last before a crash: asked again, everything comes to the same end.
func TestAgainAfterEveryFailure(t *testing.T) {
	steps := func(d *desk) error {
		k, err := d.Ensure(d.Context(), d.tenant, d.use(backup.PurposeProvision, 0))
		if err != nil {
			return err
		}
		lease, err := d.Obtain(d.Context(), d.tenant, d.use(backup.PurposeProvision, k.Generation))
		if err != nil {
			return err
		}
		lease.Close()
		if err := d.Activate(d.Context(), d.tenant, k.Generation, d.now, time.Hour); err != nil {
			return err
		}
		if d.state(1) == backup.EKeyActive {
			_, to, err := d.Prepare(d.Context(), d.tenant, backup.KeyByKMS, d.use(backup.PurposeCreate, 0))
			if err != nil {
				return err
			}
			if lease, err = d.Obtain(d.Context(), d.tenant, d.use(backup.PurposeRotate, to.Generation)); err != nil {
				return err
			}
			lease.Close()
			if err := d.Activate(d.Context(), d.tenant, to.Generation, d.now, time.Hour); err != nil {
				return err
			}
		}
		return d.Retire(d.Context(), d.tenant, 1, d.use(backup.PurposeRetire, 1))
	}
	failures := 0
	for n := 1; ; n++ {
		d := newDesk(t)
		d.books.fail = n
		err := steps(d)
		if err == nil {
			break
		}
		failures++
		if !errors.Is(err, errBooks) {
			t.Fatalf("failure %d: %v", n, err)
		}
		d.must(steps(d))
		if len(d.books.ekeys) != 2 || d.state(1) != backup.EKeyRetired || d.state(2) != backup.EKeyActive {
			t.Errorf("after failure %d: %+v", n, d.books.ekeys)
		}
	}
	if failures < 9 {
		t.Errorf("only %d changes were tried", failures)
	}
}

// A shredding asks every holder, keeps asking the holders until the report stands, and then nothing is asked any more.
func TestShred(t *testing.T) {
	d := newDesk(t)
	d.begin()
	_, to, err := d.Prepare(t.Context(), d.tenant, backup.KeyByKMS, d.use(backup.PurposeCreate, 0))
	d.must(err)
	d.obtain(backup.PurposeRotate, to.Generation)
	d.must(d.Activate(t.Context(), d.tenant, 2, d.now, time.Hour))

	d.kms.err = &backup.Error{Code: backup.CodeSealed, Fault: backup.FaultCustomer, Message: "sealed", Hint: "unseal it", Retryable: true}
	said, err := d.Destroy(t.Context(), d.tenant, d.use(backup.PurposeDestroy, 0))
	if err != nil || len(said) != 2 || !said[0].OK || said[1].OK || said[1].Code != backup.CodeSealed || said[1].Hint != "unseal it" {
		t.Fatalf("with a sealed kms: %+v, %v", said, err)
	}
	d.kms.err = nil
	for range 2 {
		said, err = d.Destroy(t.Context(), d.tenant, d.use(backup.PurposeDestroy, 0))
		if err != nil || len(said) != 2 || !said[0].OK || !said[1].OK {
			t.Fatalf("said %+v, %v", said, err)
		}
	}
	asked := len(d.kms.asked)
	if _, err := d.Obtain(t.Context(), d.tenant, d.use(backup.PurposeVerify, 2)); err == nil || len(d.kms.asked) != asked+1 {
		t.Errorf("the proof did not ask the holder: %v", err)
	}
	d.books.fail = 2 // a crash after the report
	report := backup.ShredReport{Tenant: "acme", RequestedBy: "anna", ApprovedBy: []string{"ben", "cleo"}, Holders: said}
	if _, err := d.RecordShred(t.Context(), report); !errors.Is(err, errBooks) || d.books.shred == nil {
		t.Fatalf("%+v, %v", d.books.shred, err)
	}
	r, err := d.RecordShred(t.Context(), report)
	d.must(err)
	statement, err := r.Statement()
	d.must(err)
	public := d.signer.PrivateKey.Public().(ed25519.PublicKey)
	if !ed25519.Verify(public, append([]byte(backup.ShredDomain+"\x00"), statement...), r.Signature) || !slices.Equal(r.Generations, []int{1, 2}) {
		t.Errorf("the report is %+v", r)
	}
	r.Reason = "another"
	if statement, err = r.Statement(); err != nil || ed25519.Verify(public, append([]byte(backup.ShredDomain+"\x00"), statement...), r.Signature) {
		t.Error("the report can be altered")
	}
	asked = len(d.kms.asked) + len(d.connector.asked)
	said, err = d.Destroy(t.Context(), d.tenant, d.use(backup.PurposeDestroy, 0))
	if err != nil || len(said) != 2 || !said[0].OK || !said[1].OK || len(d.kms.asked)+len(d.connector.asked) != asked {
		t.Errorf("once more: %+v, %v", said, err)
	}
}

// A source that cannot prove it, or a method that cannot be asked, fails the drill and is no error; trouble of ours is one.
func TestDrill(t *testing.T) {
	d := newDesk(t)
	d.begin()
	d.connector.keys[1] = bytes.Repeat([]byte{7}, backup.EKeySize)
	drill, err := d.Drill(t.Context(), d.tenant, d.use(backup.PurposeDrill, 0))
	if err != nil || drill.OK || d.books.drill.OK {
		t.Errorf("a wrong key: %+v, %v", drill, err)
	}
	d.connector.err = &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Message: "none is connected", Retryable: true}
	drill, err = d.Drill(t.Context(), d.tenant, d.use(backup.PurposeDrill, 0))
	if err != nil || drill.OK || drill.Proofs[len(drill.Proofs)-1].Code != backup.CodeNotConnected {
		t.Errorf("nobody there: %+v, %v", drill, err)
	}
	d.connector.err = errors.New("the store is busy")
	if _, err = d.Drill(t.Context(), d.tenant, d.use(backup.PurposeDrill, 0)); err == nil {
		t.Error("trouble of ours is no result")
	}
}

func TestRefusals(t *testing.T) {
	d := newDesk(t)
	d.begin()
	use := d.use(backup.PurposeBackup, 0)
	use.Tenant = "other"
	_, err := d.Obtain(t.Context(), d.tenant, use)
	d.wants("a use for another tenant", err, backup.CodeInternal)
	_, _, err = d.Prepare(t.Context(), d.tenant, "paper", d.use(backup.PurposeCreate, 0))
	d.wants("a method that is not offered", err, backup.CodeBadConfig)
	if len(d.books.ekeys) != 1 {
		t.Error("a generation was added for it")
	}
}
