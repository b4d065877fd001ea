package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// imported is what `users import --json` prints.
type imported struct {
	Counts   backup.ImportCounts `json:"counts"`
	Accounts backup.Accounts     `json:"accounts"`
}

func newUsersImport(p *program) *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use: "import TENANT", Short: "Read the directory now, and make it the truth",
		Long: `Reads the directory and writes the difference. It happens every day by itself. A directory that answers with an error, or with
nothing, changes nobody; a difference in which many would leave waits for an approval, and this command with it.`,
		Example: `  holdfast users import acme
  holdfast users import acme --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsersImport(cmd.Context(), p, args[0], by) },
	}
	cmd.Flags().StringVar(&by, "by", "", "in whose name (default: this machine's user)")
	return cmd
}

func runUsersImport(ctx context.Context, p *program, tenant, by string) error {
	return p.withBoth(ctx, func(c flows, r reader, s settings) error {
		result, err := p.importNow(ctx, c, r, s, tenant, by, false)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(imported{result.Counts, result.Accounts})
		}
		p.sayCounts(result.Counts)
		p.say("%d are protected now, %d preserved.", result.Accounts.Active, result.Accounts.Preserved)
		if c := result.Counts; c.NoMail+c.DuplicateMail+c.BadEntries > 0 {
			p.next("holdfast users problems " + clean(tenant))
		}
		return nil
	})
}

// importNow runs an import or a preview of the tenant's own directory. While it waits for a person it says so.
func (p *program) importNow(ctx context.Context, c flows, r reader, s settings, tenant, by string, preview bool) (orchestrator.ImportResult, error) {
	by, err := s.who(by)
	if err != nil {
		return orchestrator.ImportResult{}, err
	}
	report, err := r.Tenant(ctx, tenant)
	if err != nil {
		return orchestrator.ImportResult{}, err
	}
	var result orchestrator.ImportResult
	err = p.during(ctx, "reading the directory of "+clean(tenant), func(ctx context.Context) (err error) {
		result, err = c.ImportPeople(ctx, tenant, report.Tenant.Directories[0].Name, preview, by)
		return err
	}, func(ctx context.Context) string { return waitsIn(ctx, c, tenant, backup.TaskRemovals) })
	return result, err
}

// waitsIn is the line that tells of a task that waits for an approval; a look that fails tells nothing, what is waited for will.
func waitsIn(ctx context.Context, c flows, tenant, task string) string {
	tasks, err := c.Inbox(ctx, tenant)
	if err != nil {
		return ""
	}
	for _, w := range tasks {
		if w.Task.Name == task {
			return "waiting for an approval: " + clean(w.Task.Detail) + "; holdfast approve " + clean(tenant) + " " + task
		}
	}
	return ""
}
