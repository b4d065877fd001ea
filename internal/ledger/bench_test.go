package ledger_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/ledger"
)

// BenchmarkAppendReceipt is one release's receipt, head, signature and commit in a real store.
func BenchmarkAppendReceipt(b *testing.B) {
	r := newRig(b)
	r.fill(1000)
	log := ledger.New(r.store, r.worker)
	for i := 0; b.Loop(); i++ {
		receipt := release(i)
		receipt.Nonce = fmt.Sprint("bench-", i)
		if _, err := log.AppendReceipt(b.Context(), receipt); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify10000 is the verification of 10,000 receipts, without reading them.
func BenchmarkVerify10000(b *testing.B) {
	r := newRig(b)
	r.fill(10_000)
	var rows []ledger.Row
	for row, err := range r.rows(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		rows = append(rows, row)
	}
	newest := rows[len(rows)-1].Head
	b.ReportAllocs()
	for b.Loop() {
		report, err := ledger.Verify(acme, func(yield func(ledger.Row, error) bool) {
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		}, ledger.Expectation{Identities: []string{r.worker.Public()}, Newest: newest})
		if err != nil || !report.OK() {
			b.Fatal(report, err)
		}
	}
}

// BenchmarkReadAndVerify10000 reads them from the store, too.
func BenchmarkReadAndVerify10000(b *testing.B) {
	r := newRig(b)
	r.fill(10_000)
	for b.Loop() {
		newest, err := r.store.ReceiptHead(b.Context(), acme)
		if err != nil {
			b.Fatal(err)
		}
		report, err := ledger.Verify(acme, r.rows(b.Context()), ledger.Expectation{Identities: []string{r.worker.Public()}, Newest: newest})
		if err != nil || !report.OK() || report.Receipts != 10_000 {
			b.Fatal(report, err)
		}
	}
}

// BenchmarkCompare10000 is the comparison with a connector's own log of 10,000 releases, all in memory.
func BenchmarkCompare10000(b *testing.B) {
	var file []byte
	var ours []backup.Receipt
	for i := range 10_000 {
		ours, file = append(ours, release(i)), append(file, line(release(i), nil)...)
	}
	for b.Loop() {
		if found := compared(b, string(file), ours...); !found.OK() {
			b.Fatal(found.Different)
		}
	}
}
