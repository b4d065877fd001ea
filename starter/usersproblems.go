package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newUsersProblems(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "problems TENANT", Short: "List the directory's entries that are not protected, and why",
		Example: `  holdfast users problems acme
  holdfast users problems acme --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsersProblems(cmd.Context(), p, args[0]) },
	}
}

func runUsersProblems(ctx context.Context, p *program, tenant string) error {
	return p.withReader(func(r reader) error {
		var list *jsonList
		count := 0
		err := eachProblemPage(ctx, r, tenant, func(page []backup.DirectoryEntry) error {
			count += len(page)
			if p.json {
				if list == nil {
					list = startList(p.out, "entries")
				}
				return addAll(list, page)
			}
			p.sayProblems(page, count == len(page))
			return nil
		})
		switch {
		case err != nil:
			return err
		case p.json:
			return list.end()
		case count == 0:
			p.say("Every entry of the directory is protected or preserved.")
		default:
			p.say("Mend these in the directory: %d.", count)
			p.next("holdfast users import " + clean(tenant))
		}
		return nil
	})
}

func (p *program) sayProblems(page []backup.DirectoryEntry, first bool) {
	if len(page) == 0 {
		return
	}
	rows := make([][]string, len(page))
	for i, e := range page {
		rows[i] = entryRow(e)
	}
	heading := []string{"name", "mail", "entry", "problem"}
	if !first {
		heading = nil
	}
	p.table(heading, rows)
}

func eachProblemPage(ctx context.Context, r reader, tenant string, f func([]backup.DirectoryEntry) error) error {
	for after := ""; ; {
		page, err := r.Problems(ctx, tenant, after)
		if err != nil {
			return err
		}
		if err := f(page.Entries); err != nil {
			return err
		}
		if page.Next == "" || page.Next == after {
			return nil
		}
		after = page.Next
	}
}
