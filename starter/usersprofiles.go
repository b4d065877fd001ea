package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
)

// assigned is what the rules give one entry; Now is what it has.
type assigned struct {
	Directory backup.DirectoryName `json:"directory"`
	Mail      string               `json:"mail"`
	Profile   string               `json:"profile"`
	Now       string               `json:"now"`
}

// ownProfile stands for the tenant's own profile, which has no name.
const ownProfile = "(own)"

func newUsersProfiles(p *program) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "profiles TENANT", Short: "Show who gets which profile; with -f, who would get which by a file that is not applied",
		Long: `The rules of profiles are tried on what the directories said last. With -f the rules of a tenant's file are tried, and nothing is changed:
a dry run. Rules that ask for groups or attributes which no rule asked for before show their effect after the next import only.`,
		Example: `  holdfast users profiles acme
  holdfast users profiles acme -f acme.yaml
  holdfast users profiles acme -f acme.yaml --json | jq '.changes'`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUsersProfiles(cmd.Context(), p, args[0], file)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "try the rules of this tenant's file")
	return cmd
}

func runUsersProfiles(ctx context.Context, p *program, tenant, file string) error {
	var rules *backup.Tenant
	if file != "" {
		t, err := tenantfile.Read(file)
		if err != nil {
			return err
		}
		rules = &t
	}
	return p.withReader(func(r reader) error {
		counts, changes := map[string]int{}, []assigned{}
		err := eachEntry(ctx, r, tenant, func(dir backup.DirectoryName, e backup.DirectoryEntry) {
			one := assigned{dir, e.Mail, e.Profile, e.Profile}
			if rules != nil {
				one.Profile = ""
				if rule := rules.RuleFor(dir, e); rule != nil {
					one.Profile = rule.Name
				}
			}
			counts[one.Profile]++
			if one.Profile != one.Now && len(changes) < previewLimit {
				changes = append(changes, one)
			}
		})
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(map[string]any{"counts": counts, "changes": changes})
		}
		p.sayProfiles(counts, changes)
		if rules != nil {
			p.say("Nothing was changed.")
			p.next("holdfast apply -f " + clean(file))
		}
		return nil
	})
}

func (p *program) sayProfiles(counts map[string]int, changes []assigned) {
	name := func(profile string) string {
		if profile == "" {
			return ownProfile
		}
		return clean(profile)
	}
	var names []string
	for n := range counts {
		names = append(names, n)
	}
	slices.SortFunc(names, strings.Compare)
	rows := make([][]string, len(names))
	for i, n := range names {
		rows[i] = []string{name(n), strconv.Itoa(counts[n])}
	}
	p.table([]string{"profile", "entries"}, rows)
	rows = make([][]string, len(changes))
	for i, c := range changes {
		rows[i] = []string{clean(string(c.Directory)), clean(c.Mail), name(c.Now), name(c.Profile)}
	}
	if len(rows) > 0 {
		p.table([]string{"directory", "mail", "has", "would get"}, rows)
	}
}

// eachEntry calls f for what every directory of the tenant says now, but for entries that become no account.
func eachEntry(ctx context.Context, r reader, tenant string, f func(backup.DirectoryName, backup.DirectoryEntry)) error {
	names, err := directoriesOf(ctx, r, tenant, "")
	if err != nil {
		return err
	}
	for _, dir := range names {
		for after := ""; ; {
			page, err := r.Entries(ctx, tenant, dir, after)
			if err != nil {
				return err
			}
			for _, e := range page.Entries {
				if e.Present && e.Entry.Problem == "" {
					f(dir, e.Entry)
				}
			}
			if page.Next == "" || page.Next == after {
				break
			}
			after = page.Next
		}
	}
	return nil
}
