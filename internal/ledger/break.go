package ledger

import (
	"fmt"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// BreakKind is what is wrong with a log.
type BreakKind string

const (
	Altered     BreakKind = "altered"      // receipts do not say any more what was signed
	Missing     BreakKind = "missing"      // receipts are gone from among others
	Short       BreakKind = "short"        // receipts are gone from the end, up to a head that is known
	Exchanged   BreakKind = "exchanged"    // two receipts have each other's place
	Moved       BreakKind = "moved"        // receipts stand where they were not signed
	Inserted    BreakKind = "inserted"     // receipts that no worker appended
	HeadAltered BreakKind = "head_altered" // the receipts are as they were, and their signed heads are not
	Unsigned    BreakKind = "unsigned"     // nothing that a known worker signed: inserted, or altered together with the heads
	Stranger    BreakKind = "stranger"     // signed by an identity that is not known to be a worker's
	Forked      BreakKind = "forked"       // a head that a worker signed, and that does not continue the receipts before it
	Rewritten   BreakKind = "rewritten"    // another log than the one that was verified before
	NewestHead  BreakKind = "newest_head"  // the log's newest head is not what a known worker signed
)

// Break is one thing that is wrong with a log: with the receipts From to To.
type Break struct {
	Kind BreakKind `json:"kind"`
	From int64     `json:"from"`
	To   int64     `json:"to"`
	// Other is the second receipt of an exchange, or where the first of Moved receipts belongs.
	Other int64 `json:"other,omitempty"`
	// Identity is that of a Stranger.
	Identity string `json:"identity,omitempty"`
}

// String says what is wrong, in a sentence for a person.
func (b Break) String() string {
	which, is := fmt.Sprintf("receipt %d", b.From), "is"
	if b.To > b.From {
		which, is = fmt.Sprintf("receipts %d to %d", b.From, b.To), "are"
	}
	switch b.Kind {
	case Altered:
		return fmt.Sprintf("%s %s altered: not what the worker signed", which, is)
	case Missing:
		return fmt.Sprintf("%s %s missing", which, is)
	case Short:
		return fmt.Sprintf("%s %s missing: the log is shorter than it was", which, is)
	case Exchanged:
		return fmt.Sprintf("receipts %d and %d are exchanged", b.From, b.Other)
	case Moved:
		return fmt.Sprintf("%s %s moved: %d is the place of the first", which, is, b.Other)
	case Inserted:
		return fmt.Sprintf("%s %s inserted: no worker appended it", which, is)
	case HeadAltered:
		return fmt.Sprintf("%s %s unchanged, but for the signed head", which, is)
	case Unsigned:
		return fmt.Sprintf("%s %s not signed by a worker: inserted, or altered with the head", which, is)
	case Stranger:
		return fmt.Sprintf("%s %s signed by %s, which is not known to be a worker's", which, is, b.Identity)
	case Forked:
		return fmt.Sprintf("the head of receipt %d does not continue the receipts before it", b.From)
	case Rewritten:
		return fmt.Sprintf("the receipts up to %d are not those that were verified before", b.To)
	case NewestHead:
		return "the log's newest head is not what a worker signed"
	}
	return fmt.Sprintf("%s: %s", which, b.Kind)
}

// continuedBy tells whether next says the same of the receipts that follow.
func (b Break) continuedBy(next Break) bool {
	switch b.Kind {
	case Altered, Inserted, Missing, HeadAltered, Unsigned:
		return next.Kind == b.Kind && b.To == next.From-1
	case Stranger:
		return next.Kind == b.Kind && b.To == next.From-1 && b.Identity == next.Identity
	}
	return false
}

// Report is what a verification found.
type Report struct {
	Tenant string `json:"tenant"`
	// Receipts is how many rows were read.
	Receipts int64 `json:"receipts"`
	// Head is the last head of the log, when nothing is wrong with it and there is one.
	Head *Head `json:"head,omitempty"`
	// Breaks are at most MaxBreaks, in order of the receipts. More tells that there are others.
	Breaks []Break `json:"breaks"`
	More   bool    `json:"more,omitempty"`
}

// OK tells that nothing is wrong with the log.
func (r Report) OK() bool { return len(r.Breaks) == 0 && !r.More }

// MaxBreaks bounds what one verification remembers of what is wrong.
const MaxBreaks = 500

// Row is a receipt as it stands in a tenant's log, with the head that was signed when it was appended.
type Row struct {
	Receipt backup.Receipt
	Head    []byte
}

// Expectation is what is known of a log from elsewhere.
type Expectation struct {
	// Identities are the public identities of the workers that may sign.
	Identities []string
	// Newest is the log's newest head, as it is kept beside the receipts.
	Newest []byte
	// Seen is the head that was verified last time; nil when there was none.
	Seen *Head
}
