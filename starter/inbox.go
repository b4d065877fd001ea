package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

func newInbox(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "inbox [TENANT]", Short: "Show what waits for a person",
		Example: `  holdfast inbox
  holdfast inbox acme
  holdfast inbox --json | jq -r '.tasks[].task.name'`,
		Args: takes(p, "[TENANT]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			tenant := ""
			if len(args) == 1 {
				tenant = args[0]
			}
			return runInbox(cmd.Context(), p, tenant)
		},
	}
}

func runInbox(ctx context.Context, p *program, tenant string) error {
	return p.withFlows(ctx, func(c flows, _ settings) error {
		tasks, err := c.Inbox(ctx, tenant)
		if err != nil {
			return err
		}
		if p.json {
			if tasks == nil {
				tasks = []orchestrator.Waiting{}
			}
			return p.emit(map[string]any{"tasks": tasks})
		}
		if len(tasks) == 0 {
			p.say("Nothing waits for a person.")
			return nil
		}
		for _, w := range tasks {
			p.sayTask(w)
		}
		return nil
	})
}

func (p *program) sayTask(w orchestrator.Waiting) {
	t := w.Task
	p.say("%s  %s: %s", p.colour(yellow, clean(w.Tenant)), clean(t.Name), clean(t.Title))
	p.say("      %s", clean(t.Detail))
	since := ""
	if !t.Since.IsZero() {
		since = "waits for " + about(p.now().Sub(t.Since))
	}
	if !t.Deadline.IsZero() {
		since += ", until " + p.when(t.Deadline)
	}
	if since != "" {
		p.say("      %s", since)
	}
	p.sayAnswers(w.Tenant, t)
}
