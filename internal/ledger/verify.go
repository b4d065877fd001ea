package ledger

import (
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Verify reads a tenant's log in order of the receipts' numbers and names everything that is wrong with it. Memory does not grow with the
// log. The error is that of rows; what is wrong with the log is in the report.
//
// Every head carries the hash of its own receipt, so a row is checked alone, and one that was changed does not hide others. The roots
// tell more: that a head which a worker signed continues the log as it is here. They can be followed as long as every receipt is
// in its place.
func Verify(tenant string, rows iter.Seq2[Row, error], e Expectation) (Report, error) {
	v := newVerifier(tenant, e)
	for row, err := range rows {
		if err != nil {
			return Report{}, err
		}
		v.row(row)
	}
	return v.conclude(), nil
}

// verifier is a verification under way.
type verifier struct {
	tenant string
	known  []string
	newest *Head // nil: there is none, or a known worker did not sign it
	seen   *Head

	report Report
	last   int64 // the number of the row before
	tree   *tree // nil once the roots cannot be followed any more

	// there are the numbers whose receipts were found, wherever they stand.
	there spans
	// doubts are rows that a known worker did not sign as they are.
	doubts []doubt
	// shifts are rows that are as they were signed, in another place.
	shifts []shift
}

// doubt is about the rows from..to: either no known worker signed their heads, or, for a single row, the head is another receipt's.
type doubt struct {
	from, to int64
	identity string // of the stranger who signed the heads
	proof    proof
	// head is a known worker's head on a receipt that it was not signed for.
	head    *Head
	receipt backup.Receipt
	paired  bool
}

// proof is what a later root says of what receipts say that have no good head.
type proof int

const (
	none proof = iota
	confirmed
	refuted
)

// shift is the rows from..to, which were signed for numbers that are higher by offset.
type shift struct{ from, to, offset int64 }

func newVerifier(tenant string, e Expectation) *verifier {
	v := &verifier{tenant: tenant, known: e.Identities, seen: e.Seen, tree: &tree{}, report: Report{Tenant: tenant, Breaks: []Break{}}}
	if len(e.Newest) == 0 {
		return v
	}
	if h, _, ok := v.head(e.Newest); ok {
		v.newest = &h
	} else {
		v.found(Break{Kind: NewestHead})
	}
	return v
}

// head reads a head; ok tells that a known worker signed it, stranger who else did.
func (v *verifier) head(b []byte) (h Head, stranger string, ok bool) {
	h, err := ParseHead(b)
	if err != nil || !h.signed(v.tenant) {
		return h, "", false
	}
	if !slices.Contains(v.known, h.Signer) {
		return h, h.Signer, false
	}
	return h, "", true
}

// row looks at one row.
func (v *verifier) row(row Row) {
	r := row.Receipt
	v.report.Receipts++
	if r.Number != v.last+1 {
		v.tree = nil
	}
	if r.Number <= v.last {
		v.found(Break{Kind: Inserted, From: r.Number, To: r.Number})
		return
	}
	v.last = r.Number
	h, stranger, ok := v.head(row.Head)
	switch {
	case !ok:
		v.doubt(doubt{from: r.Number, to: r.Number, identity: stranger})
		v.grow(leafHash(r))
	case h.Size == r.Number:
		v.inPlace(r, h)
	case h.belongsTo(r):
		v.tree = nil
		v.mark(h.Size)
		v.shift(r.Number, h.Size-r.Number)
	default:
		v.doubt(doubt{from: r.Number, to: r.Number, head: &h, receipt: r})
		v.grow(leafHash(r))
	}
	if v.newest != nil && v.newest.Size == r.Number {
		v.follow(*v.newest)
	}
}

// belongsTo tells whether the head was signed for what the receipt says, but for its number.
func (h Head) belongsTo(r backup.Receipt) bool {
	r.Number = h.Size
	return leafHash(r) == h.Leaf
}

// inPlace looks at a row whose head was signed for its number.
func (v *verifier) inPlace(r backup.Receipt, h Head) {
	if h.belongsTo(r) {
		v.mark(h.Size)
	} else {
		v.doubt(doubt{from: r.Number, to: r.Number, head: &h, receipt: r})
	}
	if v.seen != nil && v.seen.Size == h.Size && v.seen.Root != h.Root {
		v.found(Break{Kind: Rewritten, From: 1, To: h.Size})
	}
	// The head says what the receipt was, also when the receipt does not any more.
	v.grow(h.Leaf)
	v.follow(h)
	v.report.Head = &h
}

// grow appends a leaf to the tree as long as it is followed.
func (v *verifier) grow(leaf tlog.Hash) {
	if v.tree != nil && v.tree.add(leaf) != nil {
		v.tree = nil
	}
}

// follow compares the root over the receipts read so far with the one that was signed. Receipts without a head of their own are
// confirmed or refuted by it.
func (v *verifier) follow(h Head) {
	if v.tree == nil {
		return
	}
	verdict := confirmed
	if root, err := v.tree.root(); err != nil || root != h.Root {
		verdict = refuted
	}
	waited := false
	for i := len(v.doubts) - 1; i >= 0 && v.doubts[i].proof == none; i-- {
		waited = waited || !v.doubts[i].inPlace()
		v.doubts[i].proof = verdict
	}
	if verdict == refuted {
		v.tree = nil
		if !waited {
			v.found(Break{Kind: Forked, From: h.Size, To: h.Size})
		}
	}
}

// inPlace tells that the head is the right one, and the receipt is not.
func (d doubt) inPlace() bool { return d.head != nil && d.head.Size == d.from }

// mark remembers that the receipt of this number was found.
func (v *verifier) mark(n int64) {
	if !v.there.add(n) {
		v.report.More = true
	}
}

func (v *verifier) doubt(d doubt) {
	if i := len(v.doubts) - 1; i >= 0 && v.doubts[i].continuedBy(d) {
		v.doubts[i].to = d.to
	} else if v.room(len(v.doubts)) {
		v.doubts = append(v.doubts, d)
	} else if d.inPlace() {
		v.mark(d.from)
		v.found(Break{Kind: Altered, From: d.from, To: d.to})
	}
}

func (d doubt) continuedBy(next doubt) bool {
	return d.head == nil && next.head == nil && d.to == next.from-1 && d.identity == next.identity && d.proof == none
}

func (v *verifier) shift(n, offset int64) {
	if i := len(v.shifts) - 1; i >= 0 && v.shifts[i].to == n-1 && v.shifts[i].offset == offset {
		v.shifts[i].to = n
	} else if v.room(len(v.shifts)) {
		v.shifts = append(v.shifts, shift{n, n, offset})
	}
}

// found remembers a break, together with the one before when that is of the same kind and stands beside it.
func (v *verifier) found(b Break) {
	if i := len(v.report.Breaks) - 1; i >= 0 && v.report.Breaks[i].continuedBy(b) {
		v.report.Breaks[i].To = b.To
	} else if v.room(len(v.report.Breaks)) {
		v.report.Breaks = append(v.report.Breaks, b)
	}
}

// room tells whether one more may be remembered besides n.
func (v *verifier) room(n int) bool {
	if n >= MaxBreaks {
		v.report.More = true
	}
	return n < MaxBreaks
}
