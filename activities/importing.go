package activities

import (
	"context"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Importing reads a directory into the store, compares it with what is known and makes it the truth.
type Importing struct {
	Tenants     Tenants
	People      People
	Directories Directories
}

// ReadDirectory stages one complete read: of what changed since the last import, or of everybody. A retry goes on behind the last page that
// was staged where the directory can, and begins again otherwise.
func (a *Importing) ReadDirectory(ctx context.Context, in PassInput) (ReadResult, error) {
	t, dir, err := a.directory(ctx, in)
	if err != nil {
		return ReadResult{}, fail(err)
	}
	// The report begins before the directory is reached, so that there is one of an import that did not get so far.
	pass := in.pass()
	pass.Attempt = activity.GetInfo(ctx).Attempt
	from, err := a.People.BeginPass(ctx, pass, backup.ImportStart{WorkflowID: activity.GetInfo(ctx).WorkflowExecution.ID, By: in.RequestedBy, Preview: in.Preview,
		Rules: t.PeopleRules()})
	if err != nil {
		return ReadResult{}, fail(err)
	}
	if dir.Retired {
		return ReadResult{Mode: backup.FullRead}, fail(a.readNobody(ctx, pass))
	}
	open, err := a.Directories.OpenDirectory(ctx, t, dir)
	if err != nil {
		return ReadResult{}, fail(err)
	}
	defer open.Close()
	var n atomic.Int64
	stop := beat(ctx, func() any { return n.Load() })
	defer stop()
	read := func(from backup.ReadFrom) (backup.ReadEnd, error) {
		staging := a.People.Stage(ctx, pass)
		end, err := open.Read(ctx, from, func(page backup.EntryPage) error {
			t.Assign(dir.Name, page.Entries)
			n.Add(int64(len(page.Entries) + len(page.Present) + len(page.Gone)))
			return staging.Page(page)
		})
		if kept := staging.Close(); err == nil {
			err = kept
		}
		return end, err
	}
	end, err := read(from)
	if backup.HasCode(err, backup.CodeCursorExpired) {
		if err := a.People.RestartPass(ctx, pass); err != nil {
			return ReadResult{}, fail(err)
		}
		n.Store(0)
		end, err = read(backup.ReadFrom{})
	}
	if err != nil {
		return ReadResult{}, fail(err)
	}
	return ReadResult{Entries: int(n.Load()), Mode: end.Mode}, fail(a.People.EndRead(ctx, pass, end))
}

// readNobody is the read of a directory that is retired. What was staged before it was is not the directory any more.
func (a *Importing) readNobody(ctx context.Context, pass backup.Pass) error {
	if err := a.People.RestartPass(ctx, pass); err != nil {
		return err
	}
	return a.People.EndRead(ctx, pass, backup.ReadEnd{Mode: backup.FullRead, Note: "the directory is retired: nobody is in it"})
}

func (a *Importing) directory(ctx context.Context, in PassInput) (backup.Tenant, backup.DirectoryConfig, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return t, backup.DirectoryConfig{}, err
	}
	dir, err := t.Directory(in.Directory)
	return t, dir, err
}

// CompareListing tells the staged read from what is known, and judges what may be done with the difference.
func (a *Importing) CompareListing(ctx context.Context, in PassInput) (CompareResult, error) {
	t, dir, err := a.directory(ctx, in)
	if err != nil {
		return CompareResult{}, fail(err)
	}
	d, err := a.People.ComparePass(ctx, t, in.pass())
	if err != nil {
		return CompareResult{}, fail(err)
	}
	v, why := judge(t, dir, d)
	return CompareResult{Counts: d.Counts, Verdict: v, Why: why, Report: d.Report, Digest: d.Digest}, nil
}

func judge(t backup.Tenant, dir backup.DirectoryConfig, d backup.ImportDifference) (backup.ImportVerdict, string) {
	switch {
	case dir.Retired:
		return backup.JudgeRetired(d)
	case dir.Kind == backup.SCIM:
		return backup.JudgePush(d, dir.Removals, t.People.ApproveFirstImport)
	}
	return backup.JudgeImport(d, dir.Removals, t.People.ApproveFirstImport)
}

// ApplyListing makes the staged read the truth, in one transaction, if it is still the difference that was compared.
func (a *Importing) ApplyListing(ctx context.Context, in ApplyListingInput) (ApplyResult, error) {
	t, _, err := a.directory(ctx, in.PassInput)
	if err != nil {
		return ApplyResult{}, fail(err)
	}
	accounts, err := a.People.ApplyPass(ctx, t, in.pass(), in.Digest, in.ApprovedBy, time.Now())
	return ApplyResult{Accounts: accounts}, fail(err)
}

// EndListing writes down how an import ended that was not applied.
func (a *Importing) EndListing(ctx context.Context, in EndListingInput) error {
	return fail(a.People.EndPass(ctx, in.pass(), in.End, time.Now()))
}
