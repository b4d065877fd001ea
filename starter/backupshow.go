package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newBackupShow(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "show TENANT RUN", Short: "Show one run, account by account",
		Example: `  holdfast backup show acme 7
  holdfast backup show acme 7 --json | jq '.parts[] | select(.state == "failed")'`,
		Args: takes(p, "TENANT", "RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || number < 1 {
				return &usageError{errNumber}
			}
			return runBackupShow(cmd.Context(), p, args[0], number)
		},
	}
}

func runBackupShow(ctx context.Context, p *program, tenant string, number int64) error {
	return p.withReader(func(r reader) error {
		report, err := r.Run(ctx, tenant, number)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(report)
		}
		p.sayRun(report.Run)
		p.sayParts(report.Parts)
		if shown := len(report.Parts); shown < report.Run.Parts {
			p.say("These are %d of %d; what failed comes first.", shown, report.Run.Parts)
		}
		return nil
	})
}

func (p *program) sayParts(parts []backup.RunPart) {
	if len(parts) == 0 {
		return
	}
	rows := make([][]string, len(parts))
	for i, part := range parts {
		c := part.Counts
		rows[i] = []string{clean(part.Account.Mail), string(part.Service), partState(part.State), fmt.Sprint(c.Stored), fmt.Sprint(c.Unchanged),
			skips(part), size(c.Bytes), clean(part.Snapshot), clean(part.Detail)}
	}
	p.say("")
	p.table([]string{"account", "service", "state", "stored", "unchanged", "skipped", "read", "snapshot", "because"}, rows)
}

// sayFailedParts names what failed, a few at most: the report has all.
func (p *program) sayFailedParts(parts []backup.RunPart) {
	const few = 10
	failed := 0
	for _, part := range parts {
		if part.State != backup.PartFailed {
			continue
		}
		if failed++; failed <= few {
			p.say("  failed      %s of %s: %s", part.Service, clean(part.Account.Mail), clean(part.Detail))
		}
	}
	if failed > few {
		p.say("  failed      and %d more", failed-few)
	}
}

func partState(s backup.PartState) string { return strings.ReplaceAll(string(s), "_", " ") }

// skips tells how many items were skipped, and why.
func skips(part backup.RunPart) string {
	if len(part.Skips) == 0 {
		return fmt.Sprint(part.Counts.Skipped)
	}
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(part.Skips)) {
		reasons = append(reasons, fmt.Sprintf("%d %s", part.Skips[reason], strings.ReplaceAll(string(reason), "_", " ")))
	}
	return strings.Join(reasons, ", ")
}
