package main

import (
	"context"
	"slices"

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
			p.sayTask(w, twice(tasks, w))
		}
		return nil
	})
}

// twice tells whether another task of the tenant has the same name, so that a decision must say which one it is about.
func twice(tasks []orchestrator.Waiting, w orchestrator.Waiting) bool {
	return slices.ContainsFunc(tasks, func(o orchestrator.Waiting) bool {
		return o.Tenant == w.Tenant && o.Task.Name == w.Task.Name && o.WorkflowID != w.WorkflowID
	})
}

func (p *program) sayTask(w orchestrator.Waiting, ambiguous bool) {
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
	suffix := ""
	if ambiguous {
		suffix = " --workflow " + clean(w.WorkflowID)
	}
	p.sayAnswers(w.Tenant, t, suffix)
}
