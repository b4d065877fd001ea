package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// morning is when the tests take place.
var morning = time.Date(2026, 3, 2, 8, 30, 0, 0, time.UTC)

// fakeFlows answers as told and remembers what it was asked.
type fakeFlows struct {
	err         error
	started     bool
	onboardings []orchestrator.Onboarding // one for each look; the last one stays
	inbox       []orchestrator.Waiting
	schedule    *orchestrator.BackupSchedule
	imported    orchestrator.ImportResult
	run         orchestrator.BackupResult
	runErr      error
	verdicts    map[orchestrator.System]backup.Verdict
	keyFlows    []orchestrator.KeyFlow // one for each look; the last one stays
	drill       backup.KeyDrill
	holds       int
	wait        time.Duration // how long an import, a run or a restore takes

	change   string // what was asked for of the key
	enrolled orchestrator.EnrolmentRequest
	token    orchestrator.SCIMTokenRequest
	inside   string // the workflow that a decision was for
	applied  backup.Tenant
	decision backup.Decision
	settled  backup.MergeDecision
	restore  orchestrator.RestoreRequest
	note     string
	by       string
	preview  int
}

func (f *fakeFlows) ApplyTenant(_ context.Context, t backup.Tenant, _ backup.App, by string) (bool, error) {
	f.applied, f.by = t, by
	return f.started, f.err
}

func (f *fakeFlows) Onboarding(context.Context, string, backup.App) (orchestrator.Onboarding, error) {
	if len(f.onboardings) == 0 {
		return orchestrator.Onboarding{}, orchestrator.ErrNotFound
	}
	o := f.onboardings[0]
	if len(f.onboardings) > 1 {
		f.onboardings = f.onboardings[1:]
	}
	return o, f.err
}

func (f *fakeFlows) Inbox(context.Context, string) ([]orchestrator.Waiting, error) {
	return f.inbox, f.err
}

func (f *fakeFlows) DecideIn(_ context.Context, _, workflowID string, d backup.Decision) (backup.Task, error) {
	f.decision, f.inside = d, workflowID
	return backup.Task{Name: d.Task, Title: "The key can be had", State: backup.Failing, DecidedBy: d.By}, f.err
}

func (f *fakeFlows) ImportPeople(ctx context.Context, _ string, _ backup.DirectoryName, preview bool, by string) (orchestrator.ImportResult, error) {
	f.by = by
	if preview {
		f.preview++
	}
	return f.imported, f.work(ctx)
}

func (f *fakeFlows) Settle(_ context.Context, _ string, d backup.MergeDecision) error {
	f.settled = d
	return f.err
}

func (f *fakeFlows) work(ctx context.Context) error {
	select {
	case <-time.After(f.wait):
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeFlows) TriggerBackup(context.Context, string, backup.App) (string, bool, error) {
	return "backup/acme/microsoft365-2026-03-02T08:30:00Z", f.started, f.err
}

func (f *fakeFlows) WaitBackup(ctx context.Context, _ string) (orchestrator.BackupResult, error) {
	if err := f.work(ctx); err != nil {
		return orchestrator.BackupResult{}, err
	}
	return f.run, f.runErr
}

func (f *fakeFlows) BackupSchedule(context.Context, string, backup.App) (orchestrator.BackupSchedule, error) {
	if f.schedule == nil {
		return orchestrator.BackupSchedule{}, orchestrator.ErrNotFound
	}
	return *f.schedule, f.err
}

func (f *fakeFlows) PauseBackups(_ context.Context, _ string, _ backup.App, note string) error {
	f.note, f.schedule.Paused, f.schedule.Note = note, true, note
	return f.err
}

func (f *fakeFlows) ResumeBackups(_ context.Context, _ string, _ backup.App, note string) error {
	f.note, f.schedule.Paused, f.schedule.Note = note, false, note
	return f.err
}

func (f *fakeFlows) Restore(ctx context.Context, r orchestrator.RestoreRequest) (orchestrator.RestoreResult, error) {
	f.restore = r
	return orchestrator.RestoreResult{Snapshot: "k4f1c", Counts: backup.RestoreCounts{Folders: 4, Files: 120, Bytes: 3_400_000, Kept: 2, Skipped: 3}}, f.work(ctx)
}

func (f *fakeFlows) CheckSystem(_ context.Context, _ backup.Tenant, _ backup.App, s orchestrator.System) (backup.Verdict, error) {
	return f.verdicts[s], f.err
}

func (f *fakeFlows) RotateKey(_ context.Context, tenant, by string) (string, error) {
	f.change = "rotate " + tenant + " by " + by
	return "r1", f.err
}

func (f *fakeFlows) SwitchKey(_ context.Context, tenant string, method backup.KeyMethod, by string) (string, error) {
	f.change = "switch " + tenant + " to " + string(method) + " by " + by
	return "r1", f.err
}

func (f *fakeFlows) RewrapKey(_ context.Context, tenant, by string) (string, error) {
	f.change = "rewrap " + tenant + " by " + by
	return "r1", f.err
}

func (f *fakeFlows) ShredKey(_ context.Context, tenant, by, reason string) (string, error) {
	f.change = "shred " + tenant + " by " + by + ": " + reason
	return "r1", f.err
}

func (f *fakeFlows) KeyFlow(context.Context, string, string) (orchestrator.KeyFlow, error) {
	if len(f.keyFlows) == 0 {
		return orchestrator.KeyFlow{}, orchestrator.ErrNotFound
	}
	flow := f.keyFlows[0]
	if len(f.keyFlows) > 1 {
		f.keyFlows = f.keyFlows[1:]
	}
	return flow, f.err
}

func (f *fakeFlows) DrillKey(ctx context.Context, _ string) (backup.KeyDrill, error) {
	return f.drill, f.work(ctx)
}

func (f *fakeFlows) EnrollConnector(_ context.Context, r orchestrator.EnrolmentRequest) error {
	f.enrolled = r
	return f.err
}

func (f *fakeFlows) RemoveConnector(_ context.Context, tenant, connector, by string) (string, error) {
	f.change = "remove " + connector + " of " + tenant + " by " + by
	return "ed25519:BBBB", f.err
}

func (f *fakeFlows) WaitEnrolment(ctx context.Context, _, _ string) (int, error) {
	return f.holds, f.work(ctx)
}

func (f *fakeFlows) ChangeSCIMToken(_ context.Context, r orchestrator.SCIMTokenRequest) error {
	f.token = r
	return f.err
}

func (f *fakeFlows) Close() {}

// fakeReader answers from what it holds, two to a page.
type fakeReader struct {
	err       error
	report    *readapi.TenantReport
	accounts  []backup.Account
	entries   []backup.DirectoryEntry
	imports   []backup.ImportReport // newest first
	changes   []backup.ImportChange
	conflicts []backup.MergeConflict
	known     []backup.KnownEntry
	person    *backup.AccountReport
	runs      []backup.Run
	parts     []backup.RunPart
	alerts    []backup.Alert
	key       backup.KeyStatus
	muted     []readapi.Mute
	receipts  []readapi.ReceiptEntry
	tokens    []readapi.SCIMToken
	head      []byte // the newest of the receipts
	identity  string // the workers'; empty: one that signed nothing
}

var notThere = &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "there is no tenant acme", Hint: "holdfast apply -f FILE"}

// twoOf cuts a page of two; the cursor is the number of those shown.
func twoOf[T any](all []T, after string) (page []T, next string) {
	from := len(after)
	to := min(from+2, len(all))
	if to < len(all) {
		next = after + "xx"
	}
	return all[from:to], next
}

func (f *fakeReader) Tenant(context.Context, string) (readapi.TenantReport, error) {
	if f.report == nil {
		return readapi.TenantReport{}, notThere
	}
	return *f.report, f.err
}

func (f *fakeReader) Users(_ context.Context, _ string, _ backup.AccountState, after string) (readapi.UserPage, error) {
	page, next := twoOf(f.accounts, after)
	return readapi.UserPage{Accounts: page, Next: next}, f.err
}

func (f *fakeReader) Problems(_ context.Context, _, after string) (readapi.ProblemPage, error) {
	page, next := twoOf(f.entries, after)
	return readapi.ProblemPage{Entries: page, Next: next}, f.err
}

func (f *fakeReader) User(_ context.Context, _, ref string) (backup.AccountReport, error) {
	if f.person == nil || ref != f.person.Account.Mail && ref != f.person.Account.ID {
		return backup.AccountReport{}, &backup.Error{Code: backup.CodeNotFound, Message: "the tenant acme has no account " + ref, Hint: "holdfast users list acme shows whom it has"}
	}
	return *f.person, f.err
}

func (f *fakeReader) FindEntries(context.Context, string, string) (readapi.EntryPage, error) {
	return readapi.EntryPage{Entries: f.known}, f.err
}

func (f *fakeReader) Entries(_ context.Context, _ string, _ backup.DirectoryName, after string) (readapi.EntryPage, error) {
	page, next := twoOf(f.known, after)
	return readapi.EntryPage{Entries: page, Next: next}, f.err
}

func (f *fakeReader) Conflicts(_ context.Context, _, after string) (readapi.ConflictPage, error) {
	page, next := twoOf(f.conflicts, after)
	return readapi.ConflictPage{Conflicts: page, Next: next}, f.err
}

func (f *fakeReader) Imports(_ context.Context, _ string, _ backup.DirectoryName, limit int) (readapi.ImportPage, error) {
	return readapi.ImportPage{Imports: f.imports[:min(limit, len(f.imports))]}, f.err
}

func (f *fakeReader) Import(_ context.Context, _ string, number int64) (backup.ImportReport, error) {
	for _, r := range f.imports {
		if r.Number == number {
			return r, f.err
		}
	}
	return backup.ImportReport{}, &backup.Error{Code: backup.CodeNotFound, Message: "there is no such import", Hint: "holdfast users imports acme"}
}

func (f *fakeReader) Changes(_ context.Context, _ string, _ int64, after string) (readapi.ChangePage, error) {
	page, next := twoOf(f.changes, after)
	return readapi.ChangePage{Changes: page, Next: next}, f.err
}

func (f *fakeReader) Runs(context.Context, string, int) (readapi.RunPage, error) {
	return readapi.RunPage{Runs: f.runs}, f.err
}

func (f *fakeReader) Run(_ context.Context, _ string, number int64) (readapi.RunReport, error) {
	for _, r := range f.runs {
		if r.Number == number {
			return readapi.RunReport{Run: r, Parts: f.parts}, f.err
		}
	}
	return readapi.RunReport{}, &backup.Error{Code: backup.CodeNotFound, Message: "there is no such run", Hint: "holdfast backup list acme"}
}

func (f *fakeReader) Alerts(context.Context, string, bool) (readapi.AlertPage, error) {
	return readapi.AlertPage{Alerts: f.alerts}, f.err
}

func (f *fakeReader) MuteAlert(_ context.Context, _ string, m readapi.Mute) error {
	f.muted = append(f.muted, m)
	return f.err
}

func (f *fakeReader) Receipts(_ context.Context, _, run, after string) (readapi.ReceiptPage, error) {
	number, _ := strconv.ParseInt(after, 10, 64)
	page := readapi.ReceiptPage{Head: f.head}
	for _, e := range f.receipts {
		switch {
		case e.Number <= number || (run != "" && run != e.RunID && run != strconv.FormatInt(e.Run, 10)):
		case len(page.Receipts) == 2:
			page.Next = strconv.FormatInt(page.Receipts[1].Number, 10)
			return page, f.err
		default:
			page.Receipts = append(page.Receipts, e)
		}
	}
	return page, f.err
}

func (f *fakeReader) WorkerIdentity(context.Context) (readapi.WorkerIdentity, error) {
	if f.identity != "" {
		return readapi.WorkerIdentity{Identity: f.identity}, f.err
	}
	return readapi.WorkerIdentity{Identity: "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, f.err
}

func (f *fakeReader) SCIMTokens(context.Context, string) (readapi.SCIMTokenPage, error) {
	return readapi.SCIMTokenPage{Tokens: f.tokens}, f.err
}

func (f *fakeReader) Key(context.Context, string) (backup.KeyStatus, error) { return f.key, f.err }
func (f *fakeReader) Close()                                                {}

// newFake is a program without a terminal, in a world that answers as told.
func newFake(out, err io.Writer, c *fakeFlows, r *fakeReader, env map[string]string) *program {
	return &program{
		out: out, err: err, zone: time.UTC, now: func() time.Time { return morning }, poll: time.Millisecond,
		getenv:     func(name string) string { return env[name] },
		openFlows:  func(context.Context, settings) (flows, error) { return c, nil },
		openReader: func(settings) (reader, error) { return r, nil },
	}
}
