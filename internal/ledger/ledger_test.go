package ledger_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/ledger"
)

const acme = "acme"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// signer is an identity of the tests, made from its name.
type signer struct{ private ed25519.PrivateKey }

func newSigner(name string) signer {
	seed := sha256.Sum256([]byte(name))
	return signer{ed25519.NewKeyFromSeed(seed[:])}
}

func (s signer) Public() string {
	return "ed25519:" + base64.RawURLEncoding.EncodeToString(s.private.Public().(ed25519.PublicKey))
}

// Sign writes the statement that the package comment describes, field by field.
func (s signer) Sign(domain string, message []byte) []byte {
	b := []byte{0, 0, 0, byte(len(domain))}
	b = append(b, domain...)
	b = append(b, 0, 0, byte(len(message)>>8), byte(len(message)))
	return ed25519.Sign(s.private, append(b, message...))
}

// rig is a real store with a log in it.
type rig struct {
	t      testing.TB
	path   string
	store  *sqlstore.Store
	worker signer
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "holdfast.db"), worker: newSigner("worker")}
	r.open()
	if err := r.store.SaveTenant(t.Context(), backup.Tenant{ID: acme, Name: "Acme"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// forty is the file of a store with forty receipts, appended one by one as newRig's fill does: it is filled once for all that begin with it.
var forty struct {
	once sync.Once
	file []byte
}

func newRigOfForty(t testing.TB) *rig {
	t.Helper()
	forty.once.Do(func() {
		r := newRig(t)
		r.fill(40)
		err := r.store.Close()
		if err == nil {
			forty.file, err = os.ReadFile(r.path)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "holdfast.db"), worker: newSigner("worker")}
	if err := os.WriteFile(r.path, forty.file, 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	s, err := sqlstore.Open(r.t.Context(), "sqlite://"+r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = s
	r.t.Cleanup(func() { _ = s.Close() })
}

// release is the i-th receipt: unlike every other in many fields.
func release(i int) backup.Receipt {
	return backup.Receipt{Tenant: acme, Generation: 1 + i/50, Method: backup.KeyByConnector, Purpose: backup.PurposeBackup,
		WorkflowID: "backup/acme/microsoft365", RunID: fmt.Sprintf("0199c0de-%04d", i/3), Attempt: 1 + i%3, Holder: "connector hq",
		Requester: "ed25519:AAAAAAAAAAAA", Nonce: fmt.Sprintf("nonce-%05d", i), At: noon.Add(time.Duration(i) * time.Second), Until: noon.Add(time.Duration(i+60) * time.Second)}
}

// fill appends n receipts.
func (r *rig) fill(n int) {
	r.t.Helper()
	log := ledger.New(r.store, r.worker)
	for i := range n {
		number, err := log.AppendReceipt(r.t.Context(), release(i))
		if err != nil || number != int64(i+1) {
			r.t.Fatalf("receipt %d got number %d: %v", i+1, number, err)
		}
	}
}

// rows reads the log page by page.
func (r *rig) rows(ctx context.Context) iter.Seq2[ledger.Row, error] {
	return func(yield func(ledger.Row, error) bool) {
		for after := int64(0); ; {
			page, next, err := r.store.ListReceipts(ctx, acme, "", after, 500)
			if err != nil {
				yield(ledger.Row{}, err)
				return
			}
			for _, row := range page {
				if !yield(ledger.Row{Receipt: row.Receipt, Head: row.Head}, nil) {
					return
				}
			}
			if next == 0 {
				return
			}
			after = next
		}
	}
}

func (r *rig) verify(seen *ledger.Head) ledger.Report {
	r.t.Helper()
	newest, err := r.store.ReceiptHead(r.t.Context(), acme)
	if err != nil {
		r.t.Fatal(err)
	}
	report, err := ledger.Verify(acme, r.rows(r.t.Context()), ledger.Expectation{Identities: []string{r.worker.Public()}, Newest: newest, Seen: seen})
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// tamper changes the store's file behind its back.
func (r *rig) tamper(statements ...string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range append([]string{`CREATE TEMP TABLE copy AS SELECT * FROM receipt`}, statements...) {
		if _, err := db.ExecContext(r.t.Context(), s); err != nil {
			r.t.Fatalf("%s: %v", s, err)
		}
	}
}

// kinds is what a report says, in few words: "altered 3", "missing 4-6", "exchanged 2 9".
func kinds(report ledger.Report) (all []string) {
	for _, b := range report.Breaks {
		text := string(b.Kind)
		switch {
		case b.Other != 0 && b.Kind == ledger.Exchanged:
			text += fmt.Sprintf(" %d %d", b.From, b.Other)
		case b.To > b.From:
			text += fmt.Sprintf(" %d-%d", b.From, b.To)
		case b.From != 0:
			text += fmt.Sprintf(" %d", b.From)
		}
		all = append(all, text)
	}
	return all
}

func TestUntouchedLogIsRight(t *testing.T) {
	r := newRig(t)
	if report := r.verify(nil); !report.OK() || report.Head != nil || report.Receipts != 0 {
		t.Errorf("an empty log gives %+v", report)
	}
	r.fill(70)
	report := r.verify(nil)
	if !report.OK() || report.Receipts != 70 || report.Head == nil || report.Head.Size != 70 {
		t.Fatalf("it is %+v", report)
	}
	again := r.verify(report.Head)
	if !again.OK() {
		t.Errorf("against what was seen before: %v", kinds(again))
	}
	// The same receipt again, as after a crash, changes nothing.
	if n, err := ledger.New(r.store, r.worker).AppendReceipt(t.Context(), release(4)); n != 5 || err != nil {
		t.Errorf("repeated receipt 5 got number %d: %v", n, err)
	}
	if report := r.verify(report.Head); !report.OK() || report.Receipts != 70 {
		t.Errorf("after a repetition: %v", kinds(report))
	}
}

func TestEveryTamperingIsNamed(t *testing.T) {
	// exchange swaps a column of two receipts, past the unique index of nonces.
	exchange := func(a, b int, columns ...string) (all []string) {
		for _, c := range columns {
			all = append(all, fmt.Sprintf(`UPDATE receipt SET %[1]s = CASE number WHEN %[2]d THEN (SELECT %[1]s FROM copy WHERE number = %[3]d) ELSE (SELECT %[1]s FROM copy WHERE number = %[2]d) END WHERE number IN (%[2]d, %[3]d)`, c, a, b))
		}
		return slices.Concat([]string{fmt.Sprintf(`UPDATE receipt SET nonce = 'x' || nonce WHERE number IN (%d, %d)`, a, b)}, all)
	}
	said := []string{"generation", "method", "purpose", "workflow_id", "run_id", "attempt", "holder", "requester", "nonce", "released", "until"}
	renumber := func(where, by string) []string {
		return []string{`UPDATE receipt SET number = -number WHERE ` + where, `UPDATE receipt SET number = -number ` + by + ` WHERE number < 0`}
	}
	for name, c := range map[string]struct {
		sql  []string
		want []string
	}{
		"purpose altered":             {[]string{`UPDATE receipt SET purpose = 'restore' WHERE number = 17`}, []string{"altered 17"}},
		"several altered":             {[]string{`UPDATE receipt SET holder = 'vault' WHERE number IN (3, 20, 21, 22)`}, []string{"altered 3", "altered 20-22"}},
		"last altered":                {[]string{`UPDATE receipt SET released = released + 1 WHERE number = 40`}, []string{"altered 40"}},
		"one dropped":                 {[]string{`DELETE FROM receipt WHERE number = 17`}, []string{"missing 17"}},
		"several dropped":             {[]string{`DELETE FROM receipt WHERE number BETWEEN 5 AND 9`}, []string{"missing 5-9"}},
		"first dropped":               {[]string{`DELETE FROM receipt WHERE number = 1`}, []string{"missing 1"}},
		"dropped, the gap closed":     {append([]string{`DELETE FROM receipt WHERE number = 17`}, renumber("number > 17", "- 1")...), []string{"missing 17"}},
		"end dropped":                 {[]string{`DELETE FROM receipt WHERE number > 35`}, []string{"short 36-40"}},
		"all dropped":                 {[]string{`DELETE FROM receipt`}, []string{"short 1-40"}},
		"places exchanged":            {[]string{`UPDATE receipt SET number = -9 WHERE number = 9`, `UPDATE receipt SET number = 9 WHERE number = 30`, `UPDATE receipt SET number = 30 WHERE number = -9`}, []string{"exchanged 9 30"}},
		"neighbours exchanged":        {[]string{`UPDATE receipt SET number = -9 WHERE number = 9`, `UPDATE receipt SET number = 9 WHERE number = 10`, `UPDATE receipt SET number = 10 WHERE number = -9`}, []string{"exchanged 9 10"}},
		"contents exchanged":          {exchange(9, 30, said...), []string{"exchanged 9 30"}},
		"heads exchanged":             {exchange(9, 30, "head")[1:], []string{"exchanged 9 30"}},
		"inserted in the middle":      {append(renumber("number > 17", "+ 1"), `INSERT INTO receipt SELECT tenant, 18, generation, method, purpose, workflow_id, run_id, attempt, holder, requester, 'new', released, until, NULL FROM receipt WHERE number = 17`), []string{"inserted 18"}},
		"inserted with another head":  {append(renumber("number > 17", "+ 1"), `INSERT INTO receipt SELECT tenant, 18, generation, method, purpose, workflow_id, run_id, attempt, holder, requester, 'new', released, until, head FROM receipt WHERE number = 17`), []string{"inserted 18"}},
		"inserted at the end":         {[]string{`INSERT INTO receipt SELECT tenant, 41, generation, method, purpose, workflow_id, run_id, attempt, holder, requester, 'new', released, until, head FROM receipt WHERE number = 40`}, []string{"inserted 41"}},
		"head removed":                {[]string{`UPDATE receipt SET head = NULL WHERE number = 17`}, []string{"head_altered 17"}},
		"head of another":             {[]string{`UPDATE receipt SET head = (SELECT head FROM receipt WHERE number = 3) WHERE number = 17`}, []string{"head_altered 17"}},
		"last head removed":           {[]string{`UPDATE receipt SET head = NULL WHERE number = 40`}, []string{"head_altered 40"}},
		"altered and head removed":    {[]string{`UPDATE receipt SET head = NULL, purpose = 'restore' WHERE number = 17`}, []string{"altered 17"}},
		"one bit of a head":           {[]string{`UPDATE receipt SET head = CAST(replace(CAST(head AS TEXT), '"size":17,', '"size":18,') AS BLOB) WHERE number = 17`}, []string{"head_altered 17"}},
		"newest head removed":         {[]string{`UPDATE receipt_log SET head = NULL`}, []string{"newest_head"}},
		"newest head altered":         {[]string{`UPDATE receipt_log SET head = CAST('{}' AS BLOB)`}, []string{"newest_head"}},
		"given to another tenant":     {[]string{`UPDATE receipt SET tenant = 'other' WHERE number = 17`}, []string{"missing 17"}},
		"moved to the end":            {[]string{`UPDATE receipt SET number = 99 WHERE number = 17`}, []string{"moved 99"}},
		"one of each, as in the demo": {append([]string{`UPDATE receipt SET run_id = 'r' WHERE number = 5`, `DELETE FROM receipt WHERE number = 11`}, exchange(20, 31, said...)...), []string{"altered 5", "missing 11", "exchanged 20 31"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRigOfForty(t)
			r.tamper(c.sql...)
			report := r.verify(nil)
			if have := kinds(report); !slices.Equal(have, c.want) || report.Head != nil {
				t.Errorf("it says %q, want %q", have, c.want)
			}
			for _, b := range report.Breaks {
				t.Log(b)
			}
		})
	}
}

// A log that lost its end together with the newest head is whole for anybody who never saw it longer.
func TestTruncationIsFoundByWhoSawMore(t *testing.T) {
	r := newRigOfForty(t)
	seen := r.verify(nil).Head
	r.tamper(`DELETE FROM receipt WHERE number > 35`,
		`UPDATE receipt_log SET size = 35, head = (SELECT head FROM receipt WHERE number = 35), tree = NULL`)
	if report := r.verify(nil); !report.OK() {
		t.Errorf("without having seen it: %q", kinds(report))
	}
	if have := kinds(r.verify(seen)); !slices.Equal(have, []string{"short 36-40"}) {
		t.Errorf("having seen it: %q", have)
	}
}

// A store that was put back from a copy goes on as another log; whoever verified the one that was lost is told.
func TestAnotherHistoryIsFound(t *testing.T) {
	r := newRigOfForty(t)
	seen := r.verify(nil).Head
	other := newRig(t)
	log := ledger.New(other.store, other.worker)
	for i := range 45 {
		receipt := release(i)
		receipt.Attempt += i / 30
		if _, err := log.AppendReceipt(t.Context(), receipt); err != nil {
			t.Fatal(err)
		}
	}
	if have := kinds(other.verify(nil)); have != nil {
		t.Fatalf("alone: %q", have)
	}
	if have := kinds(other.verify(seen)); !slices.Equal(have, []string{"rewritten 1-40"}) {
		t.Errorf("having seen another: %q", have)
	}
}

// A worker that forgot what came before signs a head that does not continue it.
func TestForkIsFound(t *testing.T) {
	r := newRigOfForty(t)
	other := newRig(t)
	log := ledger.New(other.store, other.worker)
	for i := range 40 {
		receipt := release(i)
		if i == 12 {
			receipt.Purpose = backup.PurposeRestore
		}
		if _, err := log.AppendReceipt(t.Context(), receipt); err != nil {
			t.Fatal(err)
		}
	}
	// From receipt 20 on, the other history, in which receipt 13 was another.
	r.tamper(`ATTACH '`+other.path+`' AS other`, `DELETE FROM receipt WHERE number >= 20`, `INSERT INTO receipt SELECT * FROM other.receipt WHERE number >= 20`)
	if have := kinds(r.verify(nil)); !slices.Equal(have, []string{"forked 20"}) {
		t.Errorf("it says %q", have)
	}
}

func TestStrangerIsNamed(t *testing.T) {
	r := newRig(t)
	r.fill(10)
	stranger := newSigner("stranger")
	if _, err := ledger.New(r.store, stranger).AppendReceipt(t.Context(), release(10)); err != nil {
		t.Fatal(err)
	}
	report := r.verify(nil)
	if have := kinds(report); !slices.Equal(have, []string{"newest_head", "stranger 11"}) || report.Breaks[1].Identity != stranger.Public() {
		t.Errorf("it says %q", have)
	}
}

// Every single column, in random rows, with random changes: none goes unnoticed, and the row is named.
func TestRandomTamperingsAreFound(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t)
	const size = 50
	r.fill(size)
	whole := r.verify(nil).Head
	text := []string{"method", "purpose", "workflow_id", "run_id", "holder", "requester", "nonce"}
	numbers := []string{"generation", "attempt", "released", "until"}
	for range 45 {
		n := 1 + rnd.Int64N(size)
		var change, want string
		switch rnd.IntN(9) {
		case 0:
			change, want = fmt.Sprintf(`UPDATE receipt SET %s = %d WHERE number = %d`, numbers[rnd.IntN(len(numbers))], rnd.Int64N(1<<40)+1000, n), fmt.Sprint("altered ", n)
		case 1:
			c := text[rnd.IntN(len(text))]
			change, want = fmt.Sprintf(`UPDATE receipt SET %s = %s || '%x' WHERE number = %d`, c, c, rnd.Uint32(), n), fmt.Sprint("altered ", n)
		case 2:
			change, want = fmt.Sprintf(`DELETE FROM receipt WHERE number = %d`, n), fmt.Sprint("missing ", n)
			if n == size {
				want = fmt.Sprint("short ", n)
			}
		case 3:
			change, want = fmt.Sprintf(`UPDATE receipt SET head = x'%016x' WHERE number = %d`, rnd.Uint64(), n), fmt.Sprint("head_altered ", n)
		case 4:
			change, want = fmt.Sprintf(`UPDATE receipt SET number = %d WHERE number = %d`, size+n, n), fmt.Sprint("moved ", size+n)
		case 5: // one byte of the head, wherever it is
			at := 1 + rnd.IntN(350)
			change = fmt.Sprintf(`UPDATE receipt SET head = CAST(substr(CAST(head AS TEXT), 1, %d) || char(%d) || substr(CAST(head AS TEXT), %d) AS BLOB) WHERE number = %d`, at-1, 128+rnd.IntN(100), at+1, n)
			want = fmt.Sprint("head_altered ", n)
		case 6:
			other := 1 + (n+rnd.Int64N(size-1))%size
			change = fmt.Sprintf(`UPDATE receipt SET number = -number WHERE number IN (%[1]d, %[2]d); UPDATE receipt SET number = %[1]d + %[2]d + number WHERE number < 0`, n, other)
			want = fmt.Sprintf("exchanged %d %d", min(n, other), max(n, other))
		case 7:
			change = fmt.Sprintf(`UPDATE receipt SET number = -number WHERE number >= %[1]d; UPDATE receipt SET number = 1 - number WHERE number < 0;
				INSERT INTO receipt SELECT tenant, %[1]d, generation, method, purpose, workflow_id, run_id, attempt, holder, requester, 'new', released, until, head FROM receipt WHERE number = %[1]d + 1`, n)
			want = fmt.Sprint("inserted ", n)
		case 8:
			n = min(n, size-2)
			change = fmt.Sprintf(`DELETE FROM receipt WHERE number > %[1]d; UPDATE receipt_log SET head = (SELECT head FROM receipt WHERE number = %[1]d)`, n)
			want = fmt.Sprintf("short %d-%d", n+1, size)
		}
		r.tamper(`CREATE TABLE kept AS SELECT * FROM receipt`, `CREATE TABLE kept_log AS SELECT * FROM receipt_log`, change)
		if have := kinds(r.verify(whole)); !slices.Equal(have, []string{want}) {
			t.Errorf("%s: it says %q, want %q", change, have, want)
		}
		r.tamper(`DELETE FROM receipt`, `INSERT INTO receipt SELECT * FROM kept`, `DROP TABLE kept`,
			`DELETE FROM receipt_log`, `INSERT INTO receipt_log SELECT * FROM kept_log`, `DROP TABLE kept_log`)
	}
	if have := kinds(r.verify(whole)); have != nil {
		t.Errorf("put back, it says %q", have)
	}
}

// However many rows a gateway leaves out, repeats, alters and puts elsewhere: it is right only if it is as it was written.
func TestOnlyTheWholeLogIsRight(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	r := newRig(t)
	r.fill(23)
	whole := r.verify(nil).Head
	var written []ledger.Row
	for row, err := range r.rows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, row)
	}
	for range 200 {
		rows := slices.Clone(written)
		for range 1 + rnd.IntN(5) {
			i, j := rnd.IntN(len(rows)), rnd.IntN(len(rows))
			switch rnd.IntN(7) {
			case 0:
				rows = slices.Delete(rows, i, i+1)
			case 1:
				rows = slices.Insert(rows, i, rows[j])
			case 2:
				rows[i], rows[j] = rows[j], rows[i]
			case 3:
				rows[i].Receipt.Number, rows[j].Receipt.Number = rows[j].Receipt.Number, rows[i].Receipt.Number
			case 4:
				rows[i].Head, rows[j].Head = rows[j].Head, rows[i].Head
			case 5:
				rows[i].Receipt.Attempt += rnd.IntN(2)
			case 6:
				for k := i; k < len(rows); k++ {
					rows[k].Receipt.Number += int64(rnd.IntN(3) - 1)
				}
			}
		}
		same := slices.EqualFunc(rows, written, func(a, b ledger.Row) bool { return a.Receipt == b.Receipt && slices.Equal(a.Head, b.Head) })
		report, err := ledger.Verify(acme, func(yield func(ledger.Row, error) bool) {
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		}, ledger.Expectation{Identities: []string{r.worker.Public()}, Newest: written[len(written)-1].Head, Seen: whole})
		if err != nil || report.OK() != same {
			t.Fatalf("same %t, but it says %q %v: %+v", same, kinds(report), err, rows)
		}
	}
}

// A log in which everything is wrong gives a report of bounded size.
func TestReportIsBounded(t *testing.T) {
	n := newNotebook(t, 1500)
	for i := range n.rows {
		n.rows[i].Receipt.Attempt++
	}
	if have := kinds(n.verify(nil)); !slices.Equal(have, []string{"altered 1-1500"}) {
		t.Errorf("all altered: %.200q", have)
	}
	for i := range n.rows {
		n.rows[i].Receipt.Number = 1501 - n.rows[i].Receipt.Number
	}
	slices.Reverse(n.rows) // a store gives them in order of their numbers
	report := n.verify(nil)
	if report.OK() || len(report.Breaks) > ledger.MaxBreaks {
		t.Errorf("all reversed: %d breaks, OK %t", len(report.Breaks), report.OK())
	}
}

// 10,000 releases, then one altered, one dropped and two exchanged: each is found.
func TestTenThousandReceipts(t *testing.T) {
	n := newNotebook(t, 10_000)
	seen, err := ledger.ParseHead(n.newest)
	if err != nil {
		t.Fatal(err)
	}
	n.rows[1234-1].Receipt.WorkflowID = "restore/acme/1"
	seventh, ninth := &n.rows[7000-1], &n.rows[9100-1]
	*seventh, *ninth = *ninth, *seventh
	seventh.Receipt.Number, ninth.Receipt.Number = 7000, 9100
	n.rows = slices.Delete(n.rows, 5678-1, 5678)
	if have := kinds(n.verify(&seen)); !slices.Equal(have, []string{"altered 1234", "missing 5678", "exchanged 7000 9100"}) {
		t.Errorf("it says %q", have)
	}
}

// notebook is a log in memory, for those so long that a store would take its time.
type notebook struct {
	t      *testing.T
	worker signer
	rows   []ledger.Row
	tree   []byte
	newest []byte
}

// newNotebook appends receipts as a rig's fill does.
func newNotebook(t *testing.T, receipts int) *notebook {
	t.Helper()
	n := &notebook{t: t, worker: newSigner("worker")}
	log := ledger.New(n, n.worker)
	for i := range receipts {
		if _, err := log.AppendReceipt(t.Context(), release(i)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// SealReceipt satisfies ledger.Rows for receipts that are new.
func (n *notebook) SealReceipt(_ context.Context, r backup.Receipt, seal func(backup.Receipt, []byte) (head, next []byte, err error)) (int64, error) {
	r.Number = int64(len(n.rows) + 1)
	head, next, err := seal(r, n.tree)
	n.rows, n.tree, n.newest = append(n.rows, ledger.Row{Receipt: r, Head: head}), next, head
	return r.Number, err
}

func (n *notebook) verify(seen *ledger.Head) ledger.Report {
	n.t.Helper()
	report, err := ledger.Verify(acme, func(yield func(ledger.Row, error) bool) {
		for _, row := range n.rows {
			if !yield(row, nil) {
				return
			}
		}
	}, ledger.Expectation{Identities: []string{n.worker.Public()}, Newest: n.newest, Seen: seen})
	if err != nil {
		n.t.Fatal(err)
	}
	return report
}

func TestDamagedTreeStopsAppending(t *testing.T) {
	for name, change := range map[string]string{
		"forgotten":     `UPDATE receipt_log SET tree = NULL`,
		"cut":           `UPDATE receipt_log SET tree = substr(tree, 1, 20)`,
		"another's":     `UPDATE receipt_log SET tree = x'0000000000000001' || zeroblob(32)`,
		"negative":      `UPDATE receipt_log SET tree = x'8000000000000001' || zeroblob(32)`,
		"number behind": `UPDATE receipt_log SET size = 7`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fill(10)
			r.tamper(change)
			_, err := ledger.New(r.store, r.worker).AppendReceipt(t.Context(), release(11))
			if !backup.HasCode(err, backup.CodeInternal) {
				t.Errorf("the error is %v", err)
			}
			if have := r.verify(nil); have.Receipts != 10 {
				t.Errorf("there are %d receipts", have.Receipts)
			}
		})
	}
}
