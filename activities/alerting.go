package activities

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Alerting raises and resolves alerts.
type Alerting struct {
	Alerts   Alerts
	Notifier Notifier
}

// RaiseAlert opens an alert or counts it once more, and tells people. The alert is in the store before anybody is told, so a
// failing notifier loses nothing; the retry counts it once more, which is the truth. Of a muted one nobody is told.
func (a *Alerting) RaiseAlert(ctx context.Context, in AlertInput) error {
	now := time.Now()
	stored, _, err := a.Alerts.RaiseAlert(ctx, in.Alert, now)
	if err != nil || stored.MutedUntil.After(now) {
		return fail(err)
	}
	return fail(a.Notifier.Notify(ctx, stored))
}

// ResolveAlerts closes several alerts at a time, those that are open.
func (a *Alerting) ResolveAlerts(ctx context.Context, in []ResolveInput) error {
	for _, alert := range in {
		if err := a.ResolveAlert(ctx, alert); err != nil {
			return err
		}
	}
	return nil
}

// ResolveAlert closes an alert if it is open, and tells people when it was.
func (a *Alerting) ResolveAlert(ctx context.Context, in ResolveInput) error {
	now := time.Now()
	open, err := a.Alerts.ResolveAlert(ctx, in.Tenant, in.Kind, in.Subject, now)
	if err != nil || !open {
		return fail(err)
	}
	return fail(a.Notifier.Notify(ctx, backup.Alert{Tenant: in.Tenant, Kind: in.Kind, Subject: in.Subject, Resolved: now}))
}
