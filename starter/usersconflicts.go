package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newUsersConflicts(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "conflicts TENANT", Short: "List the entries that may be more than one person, and whom they may be",
		Example: `  holdfast users conflicts acme
  holdfast users conflicts acme --json | jq -r '.conflicts[].entry.id'`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsersConflicts(cmd.Context(), p, args[0]) },
	}
}

func runUsersConflicts(ctx context.Context, p *program, tenant string) error {
	return p.withReader(func(r reader) error {
		conflicts := []backup.MergeConflict{}
		for after := ""; ; {
			page, err := r.Conflicts(ctx, tenant, after)
			if err != nil {
				return err
			}
			conflicts = append(conflicts, page.Conflicts...)
			if page.Next == "" || page.Next == after || len(conflicts) >= previewLimit {
				break
			}
			after = page.Next
		}
		if p.json {
			return p.emit(map[string]any{"conflicts": conflicts})
		}
		if len(conflicts) == 0 {
			p.say("No entry waits for a decision.")
			return nil
		}
		for _, c := range conflicts {
			p.sayConflict(tenant, c)
		}
		return nil
	})
}

func (p *program) sayConflict(tenant string, c backup.MergeConflict) {
	e := c.Entry
	p.say("%s  %s  %s, entry %s", p.colour(yellow, clean(string(c.Directory))), clean(e.DisplayName), clean(e.Mail), clean(e.ID))
	settle := "holdfast users settle " + clean(tenant) + " " + clean(e.ID) + " --directory " + clean(string(c.Directory))
	for _, who := range c.Candidates {
		p.say("      may be %s (%s) by its %s", clean(who.Account.Mail), accountState(who.Account), string(who.By))
		p.next(settle + " --same-as " + clean(who.Account.ID))
	}
	p.next(settle + " --separate")
	p.next(settle + " --ignore")
}

type settleOptions struct {
	by, reason, directory, sameAs string
	separate, ignore              bool
}

func newUsersSettle(p *program) *cobra.Command {
	var o settleOptions
	cmd := &cobra.Command{
		Use: "settle TENANT ENTRY", Short: "Decide who an entry in conflict is; it is remembered",
		Long: `The decision counts in every later import, until another one replaces it, and the directory is imported anew at once.`,
		Example: `  holdfast users settle acme 7f3c1b52-6a0e-4d7c-9a35-0d6f4c1f2b11 --directory okta --same-as a1b2c3d4e5f60718
  holdfast users settle acme 7f3c1b52-6a0e-4d7c-9a35-0d6f4c1f2b11 --directory okta --separate --reason "two people of one name"`,
		Args: takes(p, "TENANT", "ENTRY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUsersSettle(cmd.Context(), p, args[0], args[1], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.directory, "directory", "", "the directory of the entry (needed)")
	f.StringVar(&o.sameAs, "same-as", "", "it is the person with this account")
	f.BoolVar(&o.separate, "separate", false, "it is a person of its own")
	f.BoolVar(&o.ignore, "ignore", false, "it is nobody to protect")
	f.StringVar(&o.reason, "reason", "", "why; kept with the decision")
	f.StringVar(&o.by, "by", "", "who decides (default: this machine's user)")
	_ = cmd.MarkFlagRequired("directory") // fails for a flag that does not exist
	cmd.MarkFlagsMutuallyExclusive("same-as", "separate", "ignore")
	return cmd
}

func runUsersSettle(ctx context.Context, p *program, tenant, entry string, o settleOptions) error {
	d := backup.MergeDecision{Directory: backup.DirectoryName(o.directory), EntryID: entry, Account: o.sameAs, Reason: o.reason}
	switch {
	case o.sameAs != "":
		d.Verdict = backup.MergeSame
	case o.separate:
		d.Verdict = backup.MergeSeparate
	case o.ignore:
		d.Verdict = backup.MergeIgnore
	default:
		return &usageError{errors.New("say who it is: --same-as ACCOUNT, --separate or --ignore")}
	}
	return p.withFlows(ctx, func(c flows, s settings) (err error) {
		if d.By, err = s.who(o.by); err != nil {
			return err
		}
		if err := c.Settle(ctx, tenant, d); err != nil {
			return err
		}
		if p.json {
			return p.emit(map[string]any{"tenant": tenant, "decision": d})
		}
		p.say("Entry %s of %s was settled by %s.", clean(entry), clean(o.directory), clean(d.By))
		p.next("holdfast users conflicts " + clean(tenant))
		return nil
	})
}
