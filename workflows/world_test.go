package workflows

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// world answers the activities. Tenancy and Alerting are the real activities over its store; the outside systems are functions
// that a test replaces. Without that, everything is as it should be.
type world struct {
	mu      sync.Mutex
	tenant  backup.Tenant
	missing bool // the tenant is not stored yet
	now     func() time.Time
	open    map[string]int // open alerts, as "kind subject" → how often raised
	history []string       // every raise, reminder and resolution, in order
	calls   map[string]int

	holder     func() (backup.Verdict, error)
	repository func() (activities.ProvisionResult, error)
	app        func() (backup.Verdict, error)
	directory  func() (backup.Verdict, error)
	read       func() error
	compare    func() (activities.CompareResult, error)
	shards     int
	shard      func(ctx context.Context, in activities.ShardInput) (activities.ShardResult, error)
	finish     func(in activities.FinishRunInput) backup.Run
	restore    func() (activities.RestoreResult, error)
	schedules  func() error
	finished   []activities.FinishRunInput
	applying   func(activities.ApplyListingInput) error
	ended      []activities.EndListingInput
	applied    []activities.ApplyListingInput
	waiting    int // conflicts
	woken      []int
	settledAs  []backup.MergeDecision
	due        func() (activities.DueResult, error)
	release    func(activities.ReleaseInput) error
	released   []activities.ReleaseInput
	keys       vault
}

var passing = backup.Verdict{Passing: true, Detail: "as it should be"}

var notConnected = backup.Verdict{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Detail: "no connector of acme is connected", Hint: "start holdfastd connector"}

func acme() backup.Tenant {
	return backup.Tenant{ID: "acme", Name: "Acme", Key: backup.KeyConfig{Method: backup.KeyByConnector},
		Directories: []backup.DirectoryConfig{{Name: "ldap", Kind: backup.LDAP, LDAP: &backup.LDAPConfig{URL: "ldaps://ldap.acme.example"}}},
		Administrators: []backup.Principal{{Name: "anna@acme.example", Role: backup.CloudAdmin}, {Name: "bert@acme.example", Role: backup.Approver},
			{Name: "cleo@acme.example", Role: backup.Viewer}, {Name: "dora@acme.example", Role: backup.SaaSAdmin}}}
}

func newWorld() *world {
	return &world{tenant: acme(), now: time.Now, open: map[string]int{}, calls: map[string]int{}, shards: 3,
		holder: func() (backup.Verdict, error) { return passing, nil },
		repository: func() (activities.ProvisionResult, error) {
			return activities.ProvisionResult{Verdict: passing, Generation: 1, Receipt: 7}, nil
		},
		app:       func() (backup.Verdict, error) { return passing, nil },
		directory: func() (backup.Verdict, error) { return passing, nil },
		read:      func() error { return nil },
		compare: func() (activities.CompareResult, error) {
			return activities.CompareResult{Counts: backup.ImportCounts{Listed: 25, Added: 25}, Verdict: backup.ImportApply}, nil
		},
		shard: func(context.Context, activities.ShardInput) (activities.ShardResult, error) {
			return activities.ShardResult{Done: 2}, nil
		},
		finish: func(in activities.FinishRunInput) backup.Run {
			run := backup.Run{Tenant: in.Tenant, Number: in.Number, Outcome: backup.RunComplete, Parts: 6, Done: 6, Counts: backup.Counts{Listed: 9, Stored: 9}}
			if in.Cause != nil {
				run.Outcome, run.Code, run.Detail = backup.RunFailed, in.Cause.Code, in.Cause.Detail
			}
			return run
		},
		restore: func() (activities.RestoreResult, error) {
			return activities.RestoreResult{Snapshot: "s1", Counts: backup.RestoreCounts{Files: 3}}, nil
		},
		schedules: func() error { return nil },
		applying:  func(activities.ApplyListingInput) error { return nil },
		due:       func() (activities.DueResult, error) { return activities.DueResult{}, nil },
		release:   func(activities.ReleaseInput) error { return nil },
		keys:      newVault(),
	}
}

// register makes the world answer on a worker or in a test environment.
func (w *world) register(r worker.ActivityRegistry) {
	w.registerKeys(r)
	r.RegisterActivity(&activities.Tenancy{Tenants: (*store)(w)})
	r.RegisterActivity(&activities.Alerting{Alerts: (*store)(w), Notifier: (*store)(w)})
	for name, f := range map[string]any{
		"ObserveKeyHolder": func(context.Context, activities.TenantInput) (backup.Verdict, error) {
			w.called("ObserveKeyHolder")
			return w.answer(&w.holder)
		},
		"EnsureRepository": func(context.Context, activities.TenantInput) (activities.ProvisionResult, error) {
			w.called("EnsureRepository")
			return w.repository()
		},
		"CheckApp": func(context.Context, activities.TenantInput) (backup.Verdict, error) {
			w.called("CheckApp")
			return w.answer(&w.app)
		},
		"CheckDirectory": func(context.Context, activities.TenantInput) (backup.Verdict, error) {
			w.called("CheckDirectory")
			return w.answer(&w.directory)
		},
		"CheckSystem": func(context.Context, activities.CheckInput) (backup.Verdict, error) {
			w.called("CheckSystem")
			return w.answer(&w.app)
		},
		"ReadDirectory": func(ctx context.Context, _ activities.PassInput) (activities.ReadResult, error) {
			w.called("ReadDirectory")
			activity.RecordHeartbeat(ctx, 25)
			return activities.ReadResult{Entries: 25}, w.read()
		},
		"CompareListing": func(context.Context, activities.PassInput) (activities.CompareResult, error) {
			w.called("CompareListing")
			w.mu.Lock()
			now := w.compare
			w.mu.Unlock()
			return now()
		},
		"ApplyListing": func(_ context.Context, in activities.ApplyListingInput) (activities.ApplyResult, error) {
			w.called("ApplyListing")
			w.mu.Lock()
			refuses := w.applying
			w.mu.Unlock()
			if err := refuses(in); err != nil {
				return activities.ApplyResult{}, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.applied = append(w.applied, in)
			return activities.ApplyResult{Accounts: backup.Accounts{Active: 23, Preserved: 2}}, nil
		},
		"EndListing": func(_ context.Context, in activities.EndListingInput) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ended = append(w.ended, in)
			return nil
		},
		"WakeConflicts": func(context.Context, activities.TenantInput) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.woken = append(w.woken, w.waiting)
			return nil
		},
		"CountConflicts": func(context.Context, activities.TenantInput) (activities.ConflictsResult, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return activities.ConflictsResult{Waiting: w.waiting}, nil
		},
		"DecideConflict": func(_ context.Context, in activities.DecideConflictInput) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if in.Decision.EntryID == "nobody" {
				return asActivity(&backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "there is no entry nobody"})
			}
			w.settledAs = append(w.settledAs, in.Decision)
			w.waiting--
			return nil
		},
		"MarkDue": func(context.Context, activities.TenantInput) (activities.DueResult, error) {
			w.called("MarkDue")
			w.mu.Lock()
			now := w.due
			w.mu.Unlock()
			return now()
		},
		"ReleaseDue": func(_ context.Context, in activities.ReleaseInput) (activities.ReleaseResult, error) {
			w.mu.Lock()
			refuses := w.release
			w.mu.Unlock()
			if err := refuses(in); err != nil {
				return activities.ReleaseResult{}, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.released = append(w.released, in)
			return activities.ReleaseResult{Released: 7}, nil
		},
		"StartRun": func(context.Context, activities.TenantInput) (activities.StartRunResult, error) {
			w.called("StartRun")
			return activities.StartRunResult{Number: 12, Parts: 2 * w.shards, Shards: w.shards}, nil
		},
		"BackUpShard": func(ctx context.Context, in activities.ShardInput) (activities.ShardResult, error) {
			w.called("BackUpShard")
			return w.shard(ctx, in)
		},
		"FinishRun": func(_ context.Context, in activities.FinishRunInput) (activities.FinishRunResult, error) {
			w.called("FinishRun")
			w.mu.Lock()
			defer w.mu.Unlock()
			w.finished = append(w.finished, in)
			return activities.FinishRunResult{Run: w.finish(in)}, nil
		},
		"RestoreSnapshot": func(context.Context, activities.RestoreInput) (activities.RestoreResult, error) {
			w.called("RestoreSnapshot")
			return w.restore()
		},
		"EnsureSchedules": func(context.Context, activities.TenantInput) (activities.ScheduleResult, error) {
			w.called("EnsureSchedules")
			return activities.ScheduleResult{Created: true}, w.schedules()
		},
		"EndSchedules": func(context.Context, activities.TenantInput) error {
			w.called("EndSchedules")
			return nil
		},
		"TriggerBackup": func(context.Context, activities.TenantInput) (activities.TriggerResult, error) {
			w.called("TriggerBackup")
			return activities.TriggerResult{WorkflowID: "backup/acme/microsoft365-1", Started: true}, nil
		},
	} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// answer calls the function that stands there now: a test may replace it while a worker asks.
func (w *world) answer(f *func() (backup.Verdict, error)) (backup.Verdict, error) {
	w.mu.Lock()
	now := *f
	w.mu.Unlock()
	return now()
}

func (w *world) called(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[name]++
}

func (w *world) times(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[name]
}

func (w *world) alerts() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.open))
}

// raised is how often the open alert was raised.
func (w *world) raised(alert string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[alert]
}

func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.history)
}

// store is the part of the world that the real activities write to.
type store world

func (s *store) SaveTenant(_ context.Context, t backup.Tenant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["SaveTenant"]++
	s.tenant, s.missing = t, false
	return nil
}

func (s *store) Tenant(context.Context, string) (backup.Tenant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missing {
		return backup.Tenant{}, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "there is no tenant"}
	}
	return s.tenant, nil
}

func (s *store) RaiseAlert(_ context.Context, a backup.Alert, _ time.Time) (backup.Alert, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprintf("%s %s", a.Kind, a.Subject)
	s.open[key]++
	s.history = append(s.history, "raised "+key)
	return a, s.open[key] == 1, nil
}

func (s *store) ResolveAlert(_ context.Context, _ string, kind backup.AlertKind, subject string, _ time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprintf("%s %s", kind, subject)
	_, open := s.open[key]
	delete(s.open, key)
	if open {
		s.history = append(s.history, "resolved "+key)
	}
	return open, nil
}

func (s *store) Notify(context.Context, backup.Alert) error { return nil }

// asActivity gives a classified error the form in which activities return it.
func asActivity(e *backup.Error) error {
	return temporal.NewApplicationErrorWithOptions(e.Error(), string(e.Code), temporal.ApplicationErrorOptions{
		NonRetryable: !e.Retryable, NextRetryDelay: e.RetryAfter, Details: []any{backup.VerdictOf(e, "")}})
}
