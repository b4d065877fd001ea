package main

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// flows is what the commands need of the orchestrator.
type flows interface {
	ApplyTenant(ctx context.Context, t backup.Tenant, app backup.App, by string) (started bool, err error)
	Onboarding(ctx context.Context, tenant string, app backup.App) (orchestrator.Onboarding, error)
	Inbox(ctx context.Context, tenant string) ([]orchestrator.Waiting, error)
	DecideIn(ctx context.Context, tenant, workflowID string, d backup.Decision) (backup.Task, error)
	ImportPeople(ctx context.Context, tenant string, dir backup.DirectoryName, preview bool, by string) (orchestrator.ImportResult, error)
	Settle(ctx context.Context, tenant string, d backup.MergeDecision) error
	TriggerBackup(ctx context.Context, tenant string, app backup.App) (workflowID string, started bool, err error)
	WaitBackup(ctx context.Context, workflowID string) (orchestrator.BackupResult, error)
	BackupSchedule(ctx context.Context, tenant string, app backup.App) (orchestrator.BackupSchedule, error)
	PauseBackups(ctx context.Context, tenant string, app backup.App, note string) error
	ResumeBackups(ctx context.Context, tenant string, app backup.App, note string) error
	Restore(ctx context.Context, r orchestrator.RestoreRequest) (orchestrator.RestoreResult, error)
	CheckSystem(ctx context.Context, t backup.Tenant, app backup.App, s orchestrator.System) (backup.Verdict, error)
	RotateKey(ctx context.Context, tenant, by string) (runID string, err error)
	SwitchKey(ctx context.Context, tenant string, method backup.KeyMethod, by string) (runID string, err error)
	RewrapKey(ctx context.Context, tenant, by string) (runID string, err error)
	ShredKey(ctx context.Context, tenant, by, reason string) (runID string, err error)
	KeyFlow(ctx context.Context, tenant, runID string) (orchestrator.KeyFlow, error)
	DrillKey(ctx context.Context, tenant string) (backup.KeyDrill, error)
	EnrollConnector(ctx context.Context, r orchestrator.EnrolmentRequest) error
	WaitEnrolment(ctx context.Context, tenant, connector string) (holds int, err error)
	RemoveConnector(ctx context.Context, tenant, connector, by string) (identity string, err error)
	ChangeSCIMToken(ctx context.Context, r orchestrator.SCIMTokenRequest) error
	Close()
}

// reader is what the commands need of the gateway.
type reader interface {
	Tenant(ctx context.Context, tenant string) (readapi.TenantReport, error)
	Users(ctx context.Context, tenant string, state backup.AccountState, after string) (readapi.UserPage, error)
	Problems(ctx context.Context, tenant, after string) (readapi.ProblemPage, error)
	User(ctx context.Context, tenant, ref string) (backup.AccountReport, error)
	FindEntries(ctx context.Context, tenant, ref string) (readapi.EntryPage, error)
	Entries(ctx context.Context, tenant string, dir backup.DirectoryName, after string) (readapi.EntryPage, error)
	Conflicts(ctx context.Context, tenant, after string) (readapi.ConflictPage, error)
	Imports(ctx context.Context, tenant string, dir backup.DirectoryName, limit int) (readapi.ImportPage, error)
	Import(ctx context.Context, tenant string, number int64) (backup.ImportReport, error)
	Changes(ctx context.Context, tenant string, number int64, after string) (readapi.ChangePage, error)
	Runs(ctx context.Context, tenant string, limit int) (readapi.RunPage, error)
	Run(ctx context.Context, tenant string, number int64) (readapi.RunReport, error)
	Alerts(ctx context.Context, tenant string, all bool) (readapi.AlertPage, error)
	MuteAlert(ctx context.Context, tenant string, m readapi.Mute) error
	Key(ctx context.Context, tenant string) (backup.KeyStatus, error)
	Receipts(ctx context.Context, tenant, run, after string) (readapi.ReceiptPage, error)
	WorkerIdentity(ctx context.Context) (readapi.WorkerIdentity, error)
	SCIMTokens(ctx context.Context, tenant string) (readapi.SCIMTokenPage, error)
	Close()
}

// app is the one SaaS app of this version.
const app = backup.Microsoft365

// program is what all commands share.
type program struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	// asks tells that a person sits there who can be asked to confirm.
	asks bool
	// live tells that progress may redraw itself, colours that it may be coloured.
	live, colours bool
	zone          *time.Location
	now           func() time.Time
	poll          time.Duration // between two looks at something that goes on
	settle        time.Duration // how long a task must wait before `apply --wait` gives up on it, and a start is watched for a refusal
	getenv        func(string) string

	state   string // --state
	command string // the command under way, for hints
	parsed  bool   // the command line was understood

	openFlows  func(ctx context.Context, s settings) (flows, error)
	openReader func(s settings) (reader, error)
}

func newProgram() *program {
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	return &program{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		asks:    term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		live:    term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb",
		colours: term.IsTerminal(int(os.Stdout.Fd())) && !plain,
		zone:    time.Local, now: time.Now, poll: time.Second, settle: 3 * time.Second, getenv: os.Getenv,
		openFlows:  dialFlows,
		openReader: dialReader,
	}
}

func dialFlows(ctx context.Context, s settings) (flows, error) {
	return orchestrator.Dial(ctx, orchestrator.Options{Profile: s.Profile, Identity: "holdfast " + s.User})
}

func dialReader(s settings) (reader, error) {
	if s.Gateway == "" {
		return nil, errNotSetUp
	}
	return readapi.NewClient(readapi.ClientOptions{Gateway: s.Gateway, CAFile: s.CAFile, TokenFile: s.TokenFile})
}

// withFlows opens the orchestrator for one command.
func (p *program) withFlows(ctx context.Context, f func(flows, settings) error) error {
	s, err := p.settings()
	if err != nil {
		return err
	}
	c, err := p.openFlows(ctx, s)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c, s)
}

// withReader opens the gateway for one command.
func (p *program) withReader(f func(reader) error) error {
	s, err := p.settings()
	if err != nil {
		return err
	}
	r, err := p.openReader(s)
	if err != nil {
		return err
	}
	defer r.Close()
	return f(r)
}

// withBoth opens both.
func (p *program) withBoth(ctx context.Context, f func(flows, reader, settings) error) error {
	return p.withFlows(ctx, func(c flows, s settings) error {
		return p.withReader(func(r reader) error { return f(c, r, s) })
	})
}

// pause waits between two looks.
func (p *program) pause(ctx context.Context) error {
	t := time.NewTimer(p.poll)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
