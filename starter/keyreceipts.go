package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/ledger"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// maxReceiptsShown bounds what one command shows. How many it verifies is not bounded.
const maxReceiptsShown = 10_000

type keyReceiptsOptions struct {
	verify     bool
	run        string
	against    string
	limit      int
	identities []string
}

func newKeyReceipts(p *program) *cobra.Command {
	var o keyReceiptsOptions
	cmd := &cobra.Command{
		Use: "receipts TENANT", Short: "Show who released the key when and for what, and verify that nothing of it was changed",
		Long: `Shows the newest receipts of the tenant's key.

--verify reads all of them and checks here, on this machine, that none was altered, removed, inserted or put elsewhere: each is signed by
the worker that wrote it, together with a hash over all before it. What was verified is remembered, so that a log that is shorter the
next time is found, too. Whose signatures count is decided by --identity; without it, the first time, this asks the gateway and
remembers the answer: compare it with what "holdfastd identity" prints on a worker.

--against compares with a connector's own log, the file releases.jsonl in its folder.`,
		Example: `  holdfast key receipts acme
  holdfast key receipts acme --verify
  holdfast key receipts acme --run 12
  holdfast key receipts acme --against releases.jsonl --json | jq .comparison`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runKeyReceipts(cmd.Context(), p, args[0], o) },
	}
	cmd.Flags().BoolVar(&o.verify, "verify", false, "verify the whole log")
	cmd.Flags().StringVar(&o.run, "run", "", "only receipts of this run: its number, run id or workflow id")
	cmd.Flags().StringVar(&o.against, "against", "", "compare with this file, a connector's releases.jsonl")
	cmd.Flags().IntVar(&o.limit, "limit", 50, "show so many of the newest")
	cmd.Flags().StringArrayVar(&o.identities, "identity", nil, "trust this worker's public identity, from now on (ed25519:...)")
	return cmd
}

// receiptsReport is what `key receipts --json` prints.
type receiptsReport struct {
	Receipts     []readapi.ReceiptEntry `json:"receipts"`
	Verification *verification          `json:"verification,omitempty"`
	Comparison   *ledger.Comparison     `json:"comparison,omitempty"`
}

// verification is what verifying found, and what it was measured by.
type verification struct {
	ledger.Report
	OK      bool         `json:"ok"`
	Trusted []string     `json:"trusted"`
	Before  *ledger.Head `json:"before,omitempty"` // the head that was verified last time
	pinned  bool         // the trusted identity was taken from the gateway just now
}

func runKeyReceipts(ctx context.Context, p *program, tenant string, o keyReceiptsOptions) error {
	if o.limit < 1 || o.limit > maxReceiptsShown {
		return &usageError{fmt.Errorf("--limit is a number from 1 to %d", maxReceiptsShown)}
	}
	if i := slices.IndexFunc(o.identities, func(id string) bool { return !ledger.IsIdentity(id) }); i >= 0 {
		return &usageError{errors.New("--identity is what holdfastd identity prints: ed25519: and 43 letters")}
	}
	return p.withReader(func(r reader) error {
		reading, err := startReading(ctx, r, tenant, o)
		if err != nil {
			return err
		}
		report, err := reading.report(p)
		if err != nil {
			return err
		}
		if p.json {
			err = p.emit(report)
		} else {
			p.sayReceipts(tenant, report)
		}
		if err == nil && !report.ok() {
			return outcome(exitFailed)
		}
		return err
	})
}

func (r receiptsReport) ok() bool {
	return (r.Verification == nil || r.Verification.OK) && (r.Comparison == nil || r.Comparison.OK())
}

// receiptReading reads a tenant's log once, from its first receipt or from where the newest begin, and does all that was asked for on the way.
type receiptReading struct {
	ctx    context.Context
	reader reader
	tenant string
	o      keyReceiptsOptions

	first readapi.ReceiptPage
	run   string // the gateway's filter: empty when everything is needed
	copy  *ledger.Copy
	shown []readapi.ReceiptEntry // the newest so far, at least those that are to be shown
}

func startReading(ctx context.Context, r reader, tenant string, o keyReceiptsOptions) (*receiptReading, error) {
	reading := &receiptReading{ctx: ctx, reader: r, tenant: tenant, o: o, shown: []readapi.ReceiptEntry{}}
	after := ""
	if !o.verify && o.against == "" {
		reading.run = o.run
		if o.run == "" {
			k, err := r.Key(ctx, tenant)
			if err != nil {
				return nil, err
			}
			after = strconv.FormatInt(max(0, k.Receipts-int64(o.limit)), 10)
		}
	}
	var err error
	reading.first, err = r.Receipts(ctx, tenant, reading.run, after)
	return reading, err
}

// rows yields the receipts page by page, and keeps what is to be shown.
func (r *receiptReading) rows() iter.Seq2[ledger.Row, error] {
	return func(yield func(ledger.Row, error) bool) {
		for page, last := r.first, ""; ; {
			for _, entry := range page.Receipts {
				err := r.look(entry)
				if !yield(ledger.Row{Receipt: entry.Receipt, Head: entry.Head}, err) || err != nil {
					return
				}
			}
			if page.Next == "" || page.Next == last {
				return
			}
			last = page.Next
			var err error
			if page, err = r.reader.Receipts(r.ctx, r.tenant, r.run, last); err != nil {
				yield(ledger.Row{}, err)
				return
			}
		}
	}
}

func (r *receiptReading) look(e readapi.ReceiptEntry) error {
	if r.o.run == "" || r.o.run == e.RunID || r.o.run == e.WorkflowID || r.o.run == strconv.FormatInt(e.Run, 10) {
		if len(r.shown) == 2*r.o.limit {
			r.shown = append(r.shown[:0], r.newest()...)
		}
		r.shown = append(r.shown, e)
	}
	if r.copy == nil {
		return nil
	}
	return r.copy.Receipt(e.Receipt)
}

func (r *receiptReading) newest() []readapi.ReceiptEntry {
	return r.shown[max(0, len(r.shown)-r.o.limit):]
}

// report reads everything and says what was found.
func (r *receiptReading) report(p *program) (report receiptsReport, err error) {
	if r.o.against != "" {
		file, err := os.Open(r.o.against)
		if err != nil {
			return report, err
		}
		defer file.Close()
		if r.copy, err = openCopy(r.tenant, file); err != nil {
			return report, err
		}
	}
	if r.o.verify {
		report.Verification, err = r.verify(p)
	} else {
		err = r.skim()
	}
	if err != nil {
		return report, err
	}
	report.Receipts = r.newest()
	if r.copy != nil {
		var c ledger.Comparison
		c, err = r.copy.Conclude()
		report.Comparison = &c
	}
	return report, err
}

func openCopy(tenant string, file *os.File) (*ledger.Copy, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return ledger.OpenCopy(tenant, file, info.Size())
}

func (r *receiptReading) skim() error {
	for _, err := range r.rows() {
		if err != nil {
			return err
		}
	}
	return nil
}

// verify checks the whole log and, when it is right, remembers how far it went.
func (r *receiptReading) verify(p *program) (*verification, error) {
	memory, err := p.rememberedReceipts(r.tenant)
	if err != nil {
		return nil, err
	}
	v := &verification{Before: memory.Head}
	for _, id := range r.o.identities {
		if !slices.Contains(memory.Identities, id) {
			memory.Identities = append(memory.Identities, id)
		}
	}
	if v.pinned = len(memory.Identities) == 0; v.pinned {
		if memory.Identities, err = r.workersIdentity(); err != nil {
			return nil, err
		}
	}
	v.Trusted = memory.Identities
	v.Report, err = ledger.Verify(r.tenant, r.rows(), ledger.Expectation{Identities: v.Trusted, Newest: r.first.Head, Seen: v.Before})
	if err != nil {
		return nil, err
	}
	if v.OK = v.Report.OK(); !v.OK || v.Head == nil {
		return v, nil
	}
	memory.Head = v.Head
	return v, p.rememberReceipts(r.tenant, memory)
}

// workersIdentity asks the gateway, which is as good as nothing against somebody who changes receipts there: but once, and then remembered.
func (r *receiptReading) workersIdentity() ([]string, error) {
	id, err := r.reader.WorkerIdentity(r.ctx)
	switch {
	case backup.HasCode(err, backup.CodeNotFound):
		return nil, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "the gateway does not know by which identity the workers sign",
			Hint: "run holdfastd identity on a worker, and give what it prints as --identity"}
	case err != nil:
		return nil, err
	case !ledger.IsIdentity(id.Identity):
		return nil, &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultOurs, Message: "the gateway's answer is not a worker's identity"}
	}
	return []string{id.Identity}, nil
}

func (p *program) sayReceipts(tenant string, r receiptsReport) {
	rows := make([][]string, len(r.Receipts))
	for i, e := range r.Receipts {
		what := clean(e.WorkflowID)
		if e.Run > 0 {
			what = fmt.Sprintf("run %d", e.Run)
		}
		rows[i] = []string{strconv.FormatInt(e.Number, 10), p.when(e.At), clean(string(e.Purpose)), what, strconv.Itoa(e.Generation), clean(e.Holder), clean(e.Requester)}
	}
	if len(rows) > 0 {
		p.table([]string{"number", "released", "purpose", "for", "generation", "by", "to"}, rows)
	} else {
		p.say("No receipt of %s is to be shown.", clean(tenant))
	}
	if r.Verification != nil {
		p.sayVerification(tenant, *r.Verification)
	}
	if r.Comparison != nil {
		p.sayComparison(*r.Comparison)
	}
}

func (p *program) sayVerification(tenant string, v verification) {
	if v.pinned {
		p.say("Trusted from now on, because the gateway says so: %s. Compare it with what holdfastd identity prints on a worker.", v.Trusted[0])
	}
	if v.OK {
		p.say("%s", p.colour(green, fmt.Sprintf("Verified: %d receipts, nothing is altered, missing, inserted or out of its place.", v.Receipts)))
		if v.Head != nil {
			p.say("The log ends with head %d, %s, signed by %s.", v.Head.Size, v.Head.Root, v.Head.Signer)
		}
		if v.Before != nil {
			p.say("It continues the %d receipts that were verified before.", v.Before.Size)
		}
		return
	}
	p.say("%s", p.colour(red, fmt.Sprintf("Broken: the receipts of %s are not as they were written.", clean(tenant))))
	for _, b := range v.Breaks {
		p.say("  %s", clean(b.String()))
	}
	if v.More {
		p.say("  and more than can be listed")
	}
	if i := slices.IndexFunc(v.Breaks, func(b ledger.Break) bool { return b.Kind == ledger.Stranger }); i >= 0 {
		p.next("holdfast key receipts " + clean(tenant) + " --verify --identity " + v.Breaks[i].Identity + "   (only if that is one of your workers)")
	}
}

func (p *program) sayComparison(c ledger.Comparison) {
	p.say("The connector's log has %d releases; %d of our receipts should be there, %d are the same.", c.Lines, c.Receipts, c.Matching)
	for _, d := range c.Differences {
		p.say("  %s", p.colour(red, clean(d.String())))
	}
	if more := c.Different - int64(len(c.Differences)); more > 0 {
		p.say("  and %d more", more)
	}
	if c.Late > 0 {
		p.say("%d requests were answered by another connector first.", c.Late)
	}
	if c.Unreadable > 0 {
		p.say("%d lines of the file cannot be read.", c.Unreadable)
	}
	if c.Torn {
		p.say("The file's last line breaks off: the connector was killed then, or is writing it now.")
	}
	if c.OK() {
		p.say("%s", p.colour(green, "Both logs say the same."))
	}
}
