package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// switched is what `backup pause --json` and `backup resume --json` print.
type switched struct {
	Tenant   string                      `json:"tenant"`
	Schedule orchestrator.BackupSchedule `json:"schedule"`
}

type pauseOptions struct{ by, reason string }

func newBackupPause(p *program) *cobra.Command {
	var o pauseOptions
	cmd := &cobra.Command{
		Use: "pause TENANT", Short: "Keep the clock from starting backups",
		Long:    "Keeps the clock from starting backups until holdfast backup resume. A backup that is under way goes on, and holdfast backup run still starts one.",
		Example: `  holdfast backup pause acme --reason "moving the file server"`,
		Args:    takes(p, "TENANT"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runPause(cmd.Context(), p, args[0], o) },
	}
	cmd.Flags().StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why; shown by holdfast status")
	return cmd
}

func newBackupResume(p *program) *cobra.Command {
	var o pauseOptions
	cmd := &cobra.Command{
		Use: "resume TENANT", Short: "Let the clock start backups again",
		Example: `  holdfast backup resume acme`,
		Args:    takes(p, "TENANT"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runResume(cmd.Context(), p, args[0], o) },
	}
	cmd.Flags().StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	return cmd
}

func runPause(ctx context.Context, p *program, tenant string, o pauseOptions) error {
	return p.withFlows(ctx, func(c flows, s settings) error {
		note, err := o.note(s, "paused by ")
		if err == nil {
			err = c.PauseBackups(ctx, tenant, app, note)
		}
		if err != nil {
			return err
		}
		return p.saySwitched(ctx, c, tenant, "No backup of "+clean(tenant)+" starts by the clock any more.", "holdfast backup resume "+clean(tenant))
	})
}

func runResume(ctx context.Context, p *program, tenant string, o pauseOptions) error {
	return p.withFlows(ctx, func(c flows, s settings) error {
		note, err := o.note(s, "resumed by ")
		if err == nil {
			err = c.ResumeBackups(ctx, tenant, app, note)
		}
		if err != nil {
			return err
		}
		return p.saySwitched(ctx, c, tenant, "Backups of "+clean(tenant)+" start by the clock again.", "")
	})
}

func (o pauseOptions) note(s settings, what string) (string, error) {
	by, err := s.who(o.by)
	if o.reason != "" {
		return what + by + ": " + o.reason, err
	}
	return what + by, err
}

func (p *program) saySwitched(ctx context.Context, c flows, tenant, text, next string) error {
	schedule, err := c.BackupSchedule(ctx, tenant, app)
	if err != nil {
		return err
	}
	if p.json {
		return p.emit(switched{tenant, schedule})
	}
	p.say("%s", text)
	p.saySchedule(schedule)
	if next != "" {
		p.next(next)
	}
	return nil
}
