package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// previewed is what `users preview --json` prints of one directory.
type previewed struct {
	Report backup.ImportReport `json:"report"`
	// Waiting: this is the difference of an import that waits for an approval.
	Waiting bool                  `json:"waiting"`
	Changes []backup.ImportChange `json:"changes"`
}

// previewLimit bounds how many lines a preview shows; the counts are of all.
const previewLimit = 10_000

// importOptions are those of users import and users preview.
type importOptions struct{ by, directory string }

func (o *importOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	cmd.Flags().StringVar(&o.directory, "directory", "", "only this one (default: all of the tenant's directories, in their order)")
}

func newUsersPreview(p *program) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use: "preview TENANT", Short: "Show what an import would change, and change nothing",
		Long: `Reads the tenant's directories and compares them with who is known. Nothing is changed; the difference is kept as a report (holdfast
users imports). While an import waits for an approval, that import's difference is shown instead.`,
		Example: `  holdfast users preview acme
  holdfast users preview acme --directory headquarters
  holdfast users preview acme --json | jq '.directories[].report.counts'`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsersPreview(cmd.Context(), p, args[0], o) },
	}
	o.flags(cmd)
	return cmd
}

func runUsersPreview(ctx context.Context, p *program, tenant string, o importOptions) error {
	return p.withBoth(ctx, func(c flows, r reader, s settings) error {
		names, err := directoriesOf(ctx, r, tenant, o.directory)
		if err != nil {
			return err
		}
		all := make([]previewed, 0, len(names))
		for _, name := range names {
			one, err := p.preview(ctx, c, r, s, tenant, name, o.by)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		if p.json {
			return p.emit(map[string]any{"directories": all})
		}
		for _, one := range all {
			p.sayPreview(tenant, one)
		}
		return nil
	})
}

// directoriesOf are the names of the tenant's directories, or the one that was asked for.
func directoriesOf(ctx context.Context, r reader, tenant, only string) ([]backup.DirectoryName, error) {
	report, err := r.Tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if only != "" {
		d, err := report.Tenant.Directory(backup.DirectoryName(only))
		return []backup.DirectoryName{d.Name}, err
	}
	var names []backup.DirectoryName
	for _, d := range report.Tenant.Directories {
		names = append(names, d.Name)
	}
	if len(names) == 0 {
		return nil, errors.New("the tenant " + tenant + " has no directory")
	}
	return names, nil
}

// preview shows the import that waits, where one does: another preview would throw away what it read.
func (p *program) preview(ctx context.Context, c flows, r reader, s settings, tenant string, dir backup.DirectoryName, by string) (previewed, error) {
	waiting, err := importWaits(ctx, c, tenant, dir)
	if err != nil {
		return previewed{}, err
	}
	if !waiting {
		if _, err := p.importNow(ctx, c, s, tenant, dir, by, true); err != nil {
			return previewed{}, err
		}
	}
	newest, err := r.Imports(ctx, tenant, dir, 1)
	if err != nil || len(newest.Imports) == 0 {
		return previewed{Waiting: waiting, Changes: []backup.ImportChange{}}, err
	}
	result := previewed{Report: newest.Imports[0], Waiting: waiting}
	result.Changes, err = changesOf(ctx, r, tenant, result.Report.Number, previewLimit)
	return result, err
}

// approvals are the tasks in which an import waits.
var approvals = []string{backup.TaskRemovals, backup.TaskFirstImport}

func importWaits(ctx context.Context, c flows, tenant string, dir backup.DirectoryName) (bool, error) {
	tasks, err := c.Inbox(ctx, tenant)
	return slices.ContainsFunc(tasks, func(w orchestrator.Waiting) bool { return waitsForImport(w, tenant, dir) }), err
}

func waitsForImport(w orchestrator.Waiting, tenant string, dir backup.DirectoryName) bool {
	return slices.Contains(approvals, w.Task.Name) && w.WaitsIn(tenant, dir)
}

func changesOf(ctx context.Context, r reader, tenant string, number int64, limit int) ([]backup.ImportChange, error) {
	changes := []backup.ImportChange{}
	for after := ""; len(changes) < limit; {
		page, err := r.Changes(ctx, tenant, number, after)
		if err != nil {
			return nil, err
		}
		changes = append(changes, page.Changes...)
		if page.Next == "" || page.Next == after {
			break
		}
		after = page.Next
	}
	return changes[:min(len(changes), limit)], nil
}

func (p *program) sayPreview(tenant string, r previewed) {
	p.sayChanges(r.Changes)
	p.sayCounts(r.Report.Directory, r.Report.Counts)
	if r.Waiting {
		p.say("This import waits for an approval.")
		p.next("holdfast inbox " + clean(tenant))
		return
	}
	p.say("Nothing was changed.")
	p.next("holdfast users import " + clean(tenant))
}

func (p *program) sayChanges(changes []backup.ImportChange) {
	rows := make([][]string, len(changes))
	for i, c := range changes {
		rows[i] = []string{string(c.Kind), clean(c.Entry.DisplayName), clean(cmp.Or(c.Entry.Mail, c.Entry.DN, c.Entry.ID)), fieldsText(c.Fields), clean(whyNot(c.Entry))}
	}
	if len(rows) > 0 {
		p.table([]string{"difference", "name", "mail or entry", "what", "problem"}, rows)
	}
}

// fieldsText is "mail a@x -> b@x, department -> Sales".
func fieldsText(fields []backup.FieldChange) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, strings.TrimSpace(string(f.Field)+" "+clean(f.From))+" -> "+clean(f.To))
	}
	return strings.Join(parts, ", ")
}

func (p *program) sayCounts(dir backup.DirectoryName, c backup.ImportCounts) {
	p.say("%s: %d read: %d new, %d changed, %d unchanged, %d returned; %d vanished, %d disabled.", clean(string(dir)), c.Listed, c.Added, c.Changed, c.Unchanged, c.Returned, c.Vanished, c.Disabled)
	if c.Merged > 0 {
		p.say("%d are people whom another directory has, too.", c.Merged)
	}
	if problems := c.Problems(); problems > 0 {
		p.say("%d cannot be protected as they are: %d without mail, %d with another's mail, %d unreadable, %d wait for a decision.", problems, c.NoMail, c.DuplicateMail, c.BadEntries, c.Conflicts)
	}
}
