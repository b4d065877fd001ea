package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

type decideOptions struct {
	by, reason, workflow, difference string
}

// newDecisions makes one command for each action: they differ in words only.
func newDecisions(p *program) []*cobra.Command {
	return []*cobra.Command{
		newDecision(p, backup.Approve, "Approve what waits for an approval", "removals", "was approved"),
		newDecision(p, backup.Reject, "Reject what waits for an approval", "removals", "was rejected"),
		newDecision(p, backup.Retry, "Look again at a prerequisite now", "key", "is looked at again"),
		newDecision(p, backup.Waive, "Go on without a prerequisite, for a reason", "app-permissions", "was waived"),
		newDecision(p, backup.Abort, "Give up what waits", "directory", "was given up"),
	}
}

func newDecision(p *program, action backup.Action, short, example, done string) *cobra.Command {
	var o decideOptions
	reason := ""
	if action == backup.Waive {
		reason = ` --reason "the pilot has mail only"`
	}
	cmd := &cobra.Command{
		Use: string(action) + " TENANT TASK", Short: short,
		Long: short + ".\n\nThe answer comes at once: the decision is accepted, or refused with the reason (exit code 6). holdfast inbox shows the\ntasks and the decisions that each takes.",
		Example: "  holdfast " + string(action) + " acme " + example + reason + "\n" +
			"  holdfast " + string(action) + " acme " + example + reason + " --by bela@acme.example",
		Args:              takes(p, "TENANT", "TASK"),
		ValidArgsFunction: completeTask,
		RunE: func(cmd *cobra.Command, args []string) error {
			d := backup.Decision{Task: args[1], Action: action, By: o.by, Reason: o.reason, Difference: o.difference}
			return runDecide(cmd.Context(), p, args[0], o.workflow, d, done)
		},
	}
	cmd.Flags().StringVar(&o.by, "by", "", "who decides (default: this machine's user)")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why; kept with the decision")
	if action == backup.Approve {
		cmd.Flags().StringVar(&o.difference, "difference", "", "approve only exactly this one (default: the one that the inbox shows now)")
	}
	cmd.Flags().StringVar(&o.workflow, "workflow", "", "in which workflow, when several wait with a task of this name")
	return cmd
}

func completeTask(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{backup.TaskAdministrator, backup.TaskKey, backup.TaskApp, backup.TaskDirectory, backup.TaskPeople, backup.TaskRemovals, backup.TaskFirstBackup,
		backup.TaskKeyChange, backup.TaskNewKey, backup.TaskHolders, backup.TaskRewrap, backup.TaskRetire, backup.TaskConnector,
		backup.TaskShred, backup.TaskShredToo, backup.TaskShredWait, backup.TaskDestroy}, cobra.ShellCompDirectiveNoFileComp
}

// differenceOf is what the task is about now, where it is bound to a difference: a person who approves without naming one approves what the
// inbox shows.
func differenceOf(ctx context.Context, c flows, tenant, workflowID, task string) (string, error) {
	tasks, err := c.Inbox(ctx, tenant)
	if err != nil {
		return "", err
	}
	for _, w := range tasks {
		if w.Task.Name == task && (workflowID == "" || w.WorkflowID == workflowID) {
			return w.Task.Difference, nil
		}
	}
	return "", nil
}

func runDecide(ctx context.Context, p *program, tenant, workflowID string, d backup.Decision, done string) error {
	if d.Action == backup.Waive && d.Reason == "" {
		return &usageError{errors.New(`to waive needs a reason: give --reason "..."`)}
	}
	return p.withFlows(ctx, func(c flows, s settings) (err error) {
		if d.By, err = s.who(d.By); err != nil {
			return err
		}
		if d.Difference == "" && d.Action == backup.Approve {
			if d.Difference, err = differenceOf(ctx, c, tenant, workflowID, d.Task); err != nil {
				return err
			}
		}
		task, err := c.DecideIn(ctx, tenant, workflowID, d)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(map[string]any{"tenant": tenant, "task": task})
		}
		p.say("%s of %s %s by %s.", clean(d.Task), clean(tenant), done, clean(d.By))
		p.next("holdfast status " + clean(tenant))
		return nil
	})
}
