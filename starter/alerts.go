package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newAlerts(p *program) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "alerts TENANT", Short: "Show what a person should know, newest first",
		Example: `  holdfast alerts acme
  holdfast alerts acme --all              # those that were resolved, too
  holdfast alerts acme --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runAlerts(cmd.Context(), p, args[0], all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "resolved ones, too")
	cmd.AddCommand(newAlertsMute(p), newAlertsUnmute(p))
	return cmd
}

func runAlerts(ctx context.Context, p *program, tenant string, all bool) error {
	return p.withReader(func(r reader) error {
		page, err := r.Alerts(ctx, tenant, all)
		if err != nil {
			return err
		}
		if p.json {
			if page.Alerts == nil {
				page.Alerts = []backup.Alert{}
			}
			return p.emit(page)
		}
		if len(page.Alerts) == 0 {
			p.say("There is no alert.")
		}
		for _, a := range page.Alerts {
			p.sayAlert(a)
		}
		return nil
	})
}

func (p *program) sayAlert(a backup.Alert) {
	state := p.colour(red, "open")
	if !a.Resolved.IsZero() {
		state = "resolved " + p.when(a.Resolved)
	} else if a.MutedUntil.After(p.now()) {
		state = "muted until " + p.when(a.MutedUntil)
	}
	times := ""
	if a.Times > 1 {
		times = fmt.Sprintf(", %d times, last %s", a.Times, p.when(a.Last))
	}
	p.say("%s  %s (%s): %s", p.when(a.Raised), a.Kind.Title(), clean(a.Subject), clean(a.Message))
	p.say("      %s%s", state, times)
	if a.Hint != "" && a.Resolved.IsZero() {
		p.next(clean(a.Hint))
	}
}
