package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

func newBackupList(p *program) *cobra.Command {
	limit := 20
	cmd := &cobra.Command{
		Use: "list TENANT", Short: "List the runs, newest first",
		Example: `  holdfast backup list acme
  holdfast backup list acme --limit 100 --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runBackupList(cmd.Context(), p, args[0], limit) },
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many")
	return cmd
}

func runBackupList(ctx context.Context, p *program, tenant string, limit int) error {
	if limit < 1 || limit > readapi.MaxPage {
		return &usageError{fmt.Errorf("--limit is from 1 to %d", readapi.MaxPage)}
	}
	return p.withReader(func(r reader) error {
		page, err := r.Runs(ctx, tenant, limit)
		if err != nil {
			return err
		}
		if p.json {
			if page.Runs == nil {
				page.Runs = []backup.Run{}
			}
			return p.emit(page)
		}
		p.sayRuns(tenant, page.Runs)
		return nil
	})
}

func (p *program) sayRuns(tenant string, runs []backup.Run) {
	if len(runs) == 0 {
		p.say("There is no backup of %s yet.", clean(tenant))
		p.next("holdfast backup run " + clean(tenant))
		return
	}
	rows := make([][]string, len(runs))
	for i, r := range runs {
		took := "-"
		if !r.Ended.IsZero() {
			took = about(r.Ended.Sub(r.Started))
		}
		c := r.Counts
		rows[i] = []string{fmt.Sprint(r.Number), p.when(r.Started), took, string(r.Outcome), fmt.Sprintf("%d of %d", r.Done+r.NoService, r.Parts),
			fmt.Sprint(c.Stored), fmt.Sprint(c.Unchanged), size(c.Bytes), clean(r.Detail)}
	}
	p.table([]string{"run", "started", "took", "outcome", "services", "stored", "unchanged", "read", "because"}, rows)
	p.next(fmt.Sprintf("holdfast backup show %s %d", clean(tenant), runs[0].Number))
}

// errNumber: runs are counted from 1.
var errNumber = errors.New("a run is given by its number; holdfast backup list shows them")
