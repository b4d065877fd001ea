package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// imported is what `users import --json` prints of one directory.
type imported struct {
	Directory backup.DirectoryName `json:"directory"`
	Counts    backup.ImportCounts  `json:"counts"`
	Accounts  backup.Accounts      `json:"accounts"`
}

func newUsersImport(p *program) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use: "import TENANT", Short: "Read the directories now, and make them the truth",
		Long: `Reads the tenant's directories, one after the other, and writes the difference. It happens every day by itself. A directory that answers
with an error, or with nothing, changes nobody; a difference in which many would leave waits for an approval, and this command with it.`,
		Example: `  holdfast users import acme
  holdfast users import acme --directory headquarters
  holdfast users import acme --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsersImport(cmd.Context(), p, args[0], o) },
	}
	o.flags(cmd)
	return cmd
}

func runUsersImport(ctx context.Context, p *program, tenant string, o importOptions) error {
	return p.withBoth(ctx, func(c flows, r reader, s settings) error {
		names, err := directoriesOf(ctx, r, tenant, o.directory)
		if err != nil {
			return err
		}
		all := make([]imported, 0, len(names))
		for _, name := range names {
			result, err := p.importNow(ctx, c, s, tenant, name, o.by, false)
			if err != nil {
				return err
			}
			all = append(all, imported{name, result.Counts, result.Accounts})
		}
		if p.json {
			return p.emit(map[string]any{"directories": all})
		}
		p.sayImported(tenant, all)
		return nil
	})
}

func (p *program) sayImported(tenant string, all []imported) {
	for _, one := range all {
		p.sayCounts(one.Directory, one.Counts)
	}
	last := all[len(all)-1].Accounts
	p.say("%d are protected now, %d preserved.", last.Active, last.Preserved+last.Due)
	some := func(count func(backup.ImportCounts) int) bool {
		return slices.ContainsFunc(all, func(i imported) bool { return count(i.Counts) > 0 })
	}
	if some(func(c backup.ImportCounts) int { return c.Conflicts }) {
		p.next("holdfast users conflicts " + clean(tenant))
	} else if some(backup.ImportCounts.Problems) {
		p.next("holdfast users problems " + clean(tenant))
	}
}

// importNow runs an import or a preview of one directory. While it waits for a person it says so.
func (p *program) importNow(ctx context.Context, c flows, s settings, tenant string, dir backup.DirectoryName, by string, preview bool) (result orchestrator.ImportResult, err error) {
	if by, err = s.who(by); err != nil {
		return result, err
	}
	err = p.during(ctx, "reading the directory "+clean(string(dir))+" of "+clean(tenant), func(ctx context.Context) (err error) {
		result, err = c.ImportPeople(ctx, tenant, dir, preview, by)
		return err
	}, func(ctx context.Context) string { return waitsIn(ctx, c, tenant, dir) })
	return result, err
}

// waitsIn is the line that tells of an import that waits for an approval; a look that fails tells nothing, what is waited for will.
func waitsIn(ctx context.Context, c flows, tenant string, dir backup.DirectoryName) string {
	tasks, err := c.Inbox(ctx, tenant)
	if err != nil {
		return ""
	}
	for _, w := range tasks {
		if waitsForImport(w, tenant, dir) {
			return "waiting for an approval: " + clean(w.Task.Detail) + "; holdfast approve " + clean(tenant) + " " + clean(w.Task.Name)
		}
	}
	return ""
}
