package activities

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// desk is where conflicts and leavers are kept, alerts are written down, and flows are woken.
type desk struct {
	Scheduler // what is not asked for here must not be called
	waiting   int
	refuses   error
	log       []string
}

func (d *desk) note(what string) error {
	d.log = append(d.log, what)
	return d.refuses
}

func (d *desk) CountConflicts(context.Context, string) (int, error) { return d.waiting, d.refuses }

func (d *desk) DecideConflict(_ context.Context, tenant string, m backup.MergeDecision) error {
	return d.note("decided " + m.EntryID + " of " + tenant)
}

func (d *desk) PushedPeople(_ context.Context, s backup.SCIMScope) error {
	d.log = append(d.log, "import "+string(s.Directory)+" of "+s.Tenant)
	return nil
}

func (d *desk) WakeConflicts(_ context.Context, tenant string, begin bool) error {
	if begin {
		tenant += ", or begin"
	}
	d.log = append(d.log, "wake "+tenant)
	return nil
}

func (d *desk) MarkDue(_ context.Context, t backup.Tenant, _ time.Time) (int, string, error) {
	return 7, "digest of " + t.ID, d.refuses
}

func (d *desk) ReleaseDue(_ context.Context, tenant, digest, by string, _ time.Time) (int, error) {
	return 7, d.note("released " + digest + " of " + tenant + " by " + by)
}

func (d *desk) RaiseAlert(_ context.Context, a backup.Alert, _ time.Time) (backup.Alert, bool, error) {
	return a, true, nil
}

// ResolveAlert finds only alerts of the directory ldap open.
func (d *desk) ResolveAlert(_ context.Context, _ string, _ backup.AlertKind, subject string, _ time.Time) (bool, error) {
	return subject == "ldap", d.note("resolved " + subject)
}

func (d *desk) Notify(_ context.Context, a backup.Alert) error {
	d.log = append(d.log, "told of "+a.Subject)
	return nil
}

func (d *desk) wants(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(d.log, want) {
		t.Errorf("did %q, want %q", d.log, want)
	}
}

func wantType(t *testing.T, err error, code backup.Code) {
	t.Helper()
	var refused *temporal.ApplicationError
	if !errors.As(err, &refused) || refused.Type() != string(code) {
		t.Errorf("got %v, want %s", err, code)
	}
}

// A decision is kept first and imported then; one that cannot be kept imports nothing.
func TestADecisionHasItsDirectoryImported(t *testing.T) {
	in := DecideConflictInput{Tenant: "acme", Decision: backup.MergeDecision{Directory: "ldap", EntryID: "e1", Verdict: backup.MergeSeparate, By: "anna"}}
	d := &desk{}
	if err := (&Settling{Conflicts: d, Scheduler: d}).DecideConflict(t.Context(), in); err != nil {
		t.Error(err)
	}
	d.wants(t, "decided e1 of acme", "import ldap of acme")

	d = &desk{refuses: &backup.Error{Code: backup.CodeNotFound, Message: "there is no entry e1"}}
	wantType(t, (&Settling{Conflicts: d, Scheduler: d}).DecideConflict(t.Context(), in), backup.CodeNotFound)
	d.wants(t, "decided e1 of acme")

	d = &desk{}
	in.Decision.EntryID = ""
	if err := (&Settling{Conflicts: d, Scheduler: d}).DecideConflict(t.Context(), in); err == nil {
		t.Error("a decision about nobody was kept")
	}
	d.wants(t)
}

// Where nobody waits a flow is told, but none is begun.
func TestConflictsAreWokenWhereSomebodyWaits(t *testing.T) {
	for waiting, want := range []string{"wake acme", "wake acme, or begin"} {
		d := &desk{waiting: waiting}
		a := &Settling{Conflicts: d, Scheduler: d}
		if err := a.WakeConflicts(t.Context(), TenantInput{Tenant: "acme"}); err != nil {
			t.Error(err)
		}
		d.wants(t, want)
		if open, err := a.CountConflicts(t.Context(), TenantInput{Tenant: "acme"}); err != nil || open.Waiting != waiting {
			t.Errorf("%+v, %v", open, err)
		}
	}
	d := &desk{refuses: &backup.Error{Code: backup.CodeUnreachable, Message: "the store is away", Retryable: true}}
	wantType(t, (&Settling{Conflicts: d, Scheduler: d}).WakeConflicts(t.Context(), TenantInput{Tenant: "acme"}), backup.CodeUnreachable)
	d.wants(t)
}

// What is released is what was approved, under the approver's name, and it is nothing when others are due by then.
func TestLeaversAreReleasedAsApproved(t *testing.T) {
	d := &desk{}
	a := &Leaving{Tenants: registry{&backup.Tenant{ID: "acme"}}, Leavers: d}
	due, err := a.MarkDue(t.Context(), TenantInput{Tenant: "acme"})
	if err != nil || due.Due != 7 || due.Digest != "digest of acme" {
		t.Errorf("%+v, %v", due, err)
	}
	in := ReleaseInput{Tenant: "acme", Digest: due.Digest, ApprovedBy: "bert"}
	if released, err := a.ReleaseDue(t.Context(), in); err != nil || released.Released != 7 {
		t.Errorf("%+v, %v", released, err)
	}
	d.wants(t, "released digest of acme of acme by bert")

	d.refuses = &backup.Error{Code: backup.CodeDifferenceChanged, Message: "others are due"}
	_, err = a.ReleaseDue(t.Context(), in)
	wantType(t, err, backup.CodeDifferenceChanged)
	_, err = (&Leaving{Tenants: registry{}, Leavers: d}).MarkDue(t.Context(), TenantInput{Tenant: "acme"})
	wantType(t, err, backup.CodeNotFound)
}

// Of several alerts people are told only of those that were open.
func TestResolvingSeveralTellsOfTheOpenOnes(t *testing.T) {
	d := &desk{}
	a := &Alerting{Alerts: d, Notifier: d}
	both := []ResolveInput{{Tenant: "acme", Kind: backup.AlertImportRefused, Subject: "okta"}, {Tenant: "acme", Kind: backup.AlertImportRefused, Subject: "ldap"}}
	if err := a.ResolveAlerts(t.Context(), both); err != nil {
		t.Error(err)
	}
	d.wants(t, "resolved okta", "resolved ldap", "told of ldap")

	d = &desk{refuses: &backup.Error{Code: backup.CodeUnreachable, Message: "the store is away", Retryable: true}}
	wantType(t, (&Alerting{Alerts: d, Notifier: d}).ResolveAlerts(t.Context(), both), backup.CodeUnreachable)
	d.wants(t, "resolved okta")
}
