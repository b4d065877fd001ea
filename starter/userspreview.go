package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// previewed is what `users preview --json` prints.
type previewed struct {
	Counts backup.ImportCounts `json:"counts"`
	// Waiting: this is the difference of an import that waits for an approval.
	Waiting bool                   `json:"waiting"`
	Entries []readapi.PreviewEntry `json:"entries"`
}

// previewLimit bounds how many lines a preview shows; the counts are of all.
const previewLimit = 10_000

func newUsersPreview(p *program) *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use: "preview TENANT", Short: "Show what an import would change, and change nothing",
		Long: `Reads the directory and compares it with who is known. Nothing is changed. While an import waits for the approval of its removals,
that import's difference is shown instead.`,
		Example: `  holdfast users preview acme
  holdfast users preview acme --json | jq .counts`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsersPreview(cmd.Context(), p, args[0], by) },
	}
	cmd.Flags().StringVar(&by, "by", "", "in whose name (default: this machine's user)")
	return cmd
}

func runUsersPreview(ctx context.Context, p *program, tenant, by string) error {
	return p.withBoth(ctx, func(c flows, r reader, s settings) (err error) {
		result := previewed{Entries: []readapi.PreviewEntry{}}
		if result.Waiting, err = importWaits(ctx, c, tenant); err != nil {
			return err
		}
		if !result.Waiting {
			imported, err := p.importNow(ctx, c, r, s, tenant, by, true)
			if err != nil {
				return err
			}
			result.Counts = imported.Counts
		}
		if err := result.read(ctx, r, tenant); err != nil {
			return err
		}
		if p.json {
			return p.emit(result)
		}
		p.sayPreview(tenant, result)
		return nil
	})
}

// importWaits tells whether an import waits for an approval. Another preview would throw away its listing.
func importWaits(ctx context.Context, c flows, tenant string) (bool, error) {
	tasks, err := c.Inbox(ctx, tenant)
	return slices.ContainsFunc(tasks, func(w orchestrator.Waiting) bool { return w.Task.Name == backup.TaskRemovals }), err
}

func (r *previewed) read(ctx context.Context, from reader, tenant string) error {
	for after := ""; len(r.Entries) < previewLimit; {
		page, err := from.Preview(ctx, tenant, after)
		if err != nil {
			return err
		}
		if r.Waiting {
			r.Counts = page.Counts
		}
		r.Entries = append(r.Entries, page.Entries...)
		if page.Next == "" || page.Next == after {
			return nil
		}
		after = page.Next
	}
	return nil
}

func (p *program) sayPreview(tenant string, r previewed) {
	rows := make([][]string, len(r.Entries))
	for i, e := range r.Entries {
		rows[i] = append([]string{string(e.Difference)}, entryRow(e.Entry)...)
	}
	if len(rows) > 0 {
		p.table([]string{"difference", "name", "mail", "entry", "problem"}, rows)
	}
	p.sayCounts(r.Counts)
	if r.Waiting {
		p.say("This import waits for an approval.")
		p.next("holdfast approve " + clean(tenant) + " " + backup.TaskRemovals)
		return
	}
	p.say("Nothing was changed.")
	p.next("holdfast users import " + clean(tenant))
}

func (p *program) sayCounts(c backup.ImportCounts) {
	p.say("%d listed: %d new, %d changed, %d unchanged, %d returned; %d vanished, %d disabled.", c.Listed, c.Added, c.Changed, c.Unchanged, c.Returned, c.Vanished, c.Disabled)
	if problems := c.NoMail + c.DuplicateMail + c.BadEntries; problems > 0 {
		p.say("%d cannot be protected as they are: %d without mail, %d with another's mail, %d unreadable.", problems, c.NoMail, c.DuplicateMail, c.BadEntries)
	}
}
