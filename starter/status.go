package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// statusReport is what `status --json` prints. What is not there yet is left out.
type statusReport struct {
	Tenant     string                       `json:"tenant"`
	Report     *readapi.TenantReport        `json:"report,omitempty"`
	Onboarding *orchestrator.Onboarding     `json:"onboarding,omitempty"`
	Schedule   *orchestrator.BackupSchedule `json:"schedule,omitempty"`
}

func newStatus(p *program) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "status TENANT", Short: "Show how far a tenant is, and how its backups go",
		Example: `  holdfast status acme
  holdfast status acme --watch            # follow the onboarding to its end, also while it waits for a person
  holdfast status acme --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				return watchOnboarding(cmd.Context(), p, args[0])
			}
			return runStatus(cmd.Context(), p, args[0])
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "follow the onboarding to its end")
	return cmd
}

func watchOnboarding(ctx context.Context, p *program, tenant string) error {
	return p.withFlows(ctx, func(c flows, _ settings) error {
		o, err := p.follow(ctx, c, tenant, true)
		if err != nil {
			return err
		}
		return p.sayFollowed(applied{Tenant: tenant, Onboarding: &o})
	})
}

func runStatus(ctx context.Context, p *program, tenant string) error {
	return p.withBoth(ctx, func(c flows, r reader, _ settings) error {
		s, err := gather(ctx, c, r, tenant)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(s)
		}
		p.sayStatus(s)
		return nil
	})
}

// gather asks for the three parts. Each may be missing: an onboarding is forgotten after a while, a schedule is made at its end.
func gather(ctx context.Context, c flows, r reader, tenant string) (statusReport, error) {
	s := statusReport{Tenant: tenant}
	report, err := r.Tenant(ctx, tenant)
	if s.Report, err = found(report, err); err != nil {
		return s, err
	}
	onboarding, err := c.Onboarding(ctx, tenant, app)
	if s.Onboarding, err = found(onboarding, err); err != nil {
		return s, err
	}
	schedule, err := c.BackupSchedule(ctx, tenant, app)
	if s.Schedule, err = found(schedule, err); err != nil {
		return s, err
	}
	if s.Report == nil && s.Onboarding == nil {
		return s, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "there is no tenant " + clean(tenant), Hint: "holdfast apply -f FILE"}
	}
	return s, nil
}

// found turns "not there" into nil.
func found[T any](v T, err error) (*T, error) {
	switch {
	case err == nil:
		return &v, nil
	case errors.Is(err, orchestrator.ErrNotFound), backup.HasCode(err, backup.CodeNotFound):
		return nil, nil
	}
	return nil, err
}

func (p *program) sayStatus(s statusReport) {
	p.say("%s", headline(s))
	if o := s.Onboarding; o != nil {
		p.say("")
		p.sayChecklist(o.Tasks)
	}
	if r := s.Report; r != nil {
		p.say("")
		p.sayReport(*r)
	}
	if s.Schedule != nil {
		p.saySchedule(*s.Schedule)
	}
	if s.Onboarding != nil && s.Onboarding.Running {
		p.sayWaiting(s.Tenant, s.Onboarding.Tasks)
	}
	if s.Report != nil && s.Report.Alerts > 0 {
		p.next("holdfast alerts " + clean(s.Tenant))
	}
}

func headline(s statusReport) string {
	name := clean(s.Tenant)
	if r := s.Report; r != nil && r.Tenant.Name != "" && r.Tenant.Name != s.Tenant {
		name = clean(r.Tenant.Name) + " (" + name + ")"
	}
	switch o := s.Onboarding; {
	case o == nil:
		return name
	case o.Running:
		return name + ": onboarding"
	case o.Err != nil:
		return name + ": onboarding failed: " + clean(o.Err.Error())
	}
	return name + ": onboarded"
}

func (p *program) sayReport(r readapi.TenantReport) {
	p.say("  people        %d protected, %d preserved", r.Accounts.Active, r.Accounts.Preserved)
	if r.LastRun != nil {
		p.say("  last backup   %s", p.runLine(*r.LastRun))
	} else {
		p.say("  last backup   none yet")
	}
	p.say("  key           %s", keyLine(r.Key))
	p.say("  alerts        %d open", r.Alerts)
}

func (p *program) saySchedule(s orchestrator.BackupSchedule) {
	switch {
	case s.Paused:
		p.say("  next backup   paused: %s", clean(s.Note))
	case s.Running != "":
		p.say("  next backup   one is under way")
	default:
		p.say("  next backup   %s, every %s", p.when(s.Next), every(s.Every))
	}
}

func every(d backup.Duration) string { return about(d.Or(0)) }

func keyLine(k backup.KeyStatus) string {
	connected := 0
	for _, c := range k.Connectors {
		if c.Connected {
			connected++
		}
	}
	switch {
	case k.Shred != nil:
		return "destroyed"
	case k.Method != backup.KeyByConnector:
		return fmt.Sprintf("%s, generation %d", k.Method, k.Generation)
	}
	made := "none yet"
	if k.Generation > 0 {
		made = fmt.Sprintf("generation %d", k.Generation)
	}
	return fmt.Sprintf("%s, %d of %d connectors connected", made, connected, len(k.Connectors))
}
