package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newUsersImports(p *program) *cobra.Command {
	var directory string
	cmd := &cobra.Command{
		Use: "imports TENANT [NUMBER]", Short: "List the reports of imports, or show one with all that it changed",
		Example: `  holdfast users imports acme
  holdfast users imports acme 17
  holdfast users imports acme 17 --json | jq '.changes[] | select(.kind == "removed")'`,
		Args: takes(p, "TENANT", "[NUMBER]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return runUsersImports(cmd.Context(), p, args[0], backup.DirectoryName(directory))
			}
			number, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || number < 1 {
				return &usageError{fmt.Errorf("%s is not the number of an import", clean(args[1]))}
			}
			return runUsersImportShow(cmd.Context(), p, args[0], number)
		},
	}
	cmd.Flags().StringVar(&directory, "directory", "", "only imports of this one")
	return cmd
}

// importsShown is how many reports the list has.
const importsShown = 50

func runUsersImports(ctx context.Context, p *program, tenant string, dir backup.DirectoryName) error {
	return p.withReader(func(r reader) error {
		page, err := r.Imports(ctx, tenant, dir, importsShown)
		if err != nil {
			return err
		}
		if p.json {
			if page.Imports == nil {
				page.Imports = []backup.ImportReport{}
			}
			return p.emit(page)
		}
		if len(page.Imports) == 0 {
			p.say("Nobody was imported yet.")
			p.next("holdfast users import " + clean(tenant))
			return nil
		}
		rows := make([][]string, len(page.Imports))
		for i, r := range page.Imports {
			c := r.Counts
			rows[i] = []string{strconv.FormatInt(r.Number, 10), p.when(r.Started), clean(string(r.Directory)), outcomeText(r), string(r.Mode),
				strconv.Itoa(c.Listed), strconv.Itoa(c.Added), strconv.Itoa(c.Changed), strconv.Itoa(c.Leaving), strconv.Itoa(c.Problems())}
		}
		p.table([]string{"import", "started", "directory", "outcome", "read", "listed", "new", "changed", "leaving", "problems"}, rows)
		return nil
	})
}

func outcomeText(r backup.ImportReport) string {
	if r.Outcome == backup.ImportUnderWay {
		return "under way"
	}
	return string(r.Outcome)
}

func runUsersImportShow(ctx context.Context, p *program, tenant string, number int64) error {
	return p.withReader(func(r reader) error {
		report, err := r.Import(ctx, tenant, number)
		if err != nil {
			return err
		}
		changes, err := changesOf(ctx, r, tenant, number, previewLimit)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(map[string]any{"report": report, "changes": changes})
		}
		p.sayImportReport(report)
		p.sayChanges(changes)
		return nil
	})
}

func (p *program) sayImportReport(r backup.ImportReport) {
	p.say("Import %d of %s: %s", r.Number, clean(string(r.Directory)), outcomeText(r))
	if r.Detail != "" {
		p.say("  %s", clean(r.Detail))
	}
	who := "by the schedule, or a push"
	if r.By != "" {
		who = "asked for by " + clean(r.By)
	}
	if r.Approved != "" {
		who += ", approved by " + clean(r.Approved)
	}
	took := ""
	if !r.Ended.IsZero() {
		took = ", took " + r.Ended.Sub(r.Started).Round(time.Millisecond).String()
	}
	p.say("  started %s %s%s", p.when(r.Started), who, took)
	p.say("  read: %s, %d requests, %d pages%s", modeText(r), r.Calls, r.Pages, resumedText(r.Resumed))
	p.sayCounts(r.Directory, r.Counts)
}

func modeText(r backup.ImportReport) string {
	text := map[backup.ReadMode]string{backup.FullRead: "everybody", backup.ChangesRead: "changes"}[r.Mode]
	if text == "" {
		text = "not to the end"
	}
	if r.Note != "" {
		text += " (" + clean(r.Note) + ")"
	}
	return text
}

func resumedText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", went on %d times after it broke off", n)
}
