package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// explained is what `users explain --json` prints: why a person is, or is not, protected.
type explained struct {
	Protected bool                  `json:"protected"`
	Reasons   []string              `json:"reasons"`
	Next      string                `json:"next,omitempty"`
	Account   *backup.AccountReport `json:"account,omitempty"`
	Entries   []backup.KnownEntry   `json:"entries,omitempty"`
}

func newUsersExplain(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "explain TENANT PERSON", Short: "Say why a person is or is not protected",
		Long: `PERSON is a mail address, a sign-in name, an account's id, or an entry's id or DN in its directory. The answer comes from what was
imported last; a person whom no directory has told of is not known.`,
		Example: `  holdfast users explain acme anna@acme.example
  holdfast users explain acme uid=anna,ou=people,dc=acme,dc=example --json | jq -r '.reasons[]'`,
		Args: takes(p, "TENANT", "PERSON"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUsersExplain(cmd.Context(), p, args[0], args[1])
		},
	}
}

func runUsersExplain(ctx context.Context, p *program, tenant, ref string) error {
	return p.withReader(func(r reader) error {
		e, err := explainPerson(ctx, r, tenant, ref)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(e)
		}
		verdict := p.colour(red, "not protected")
		if e.Protected {
			verdict = p.colour(green, "protected")
		}
		p.say("%s is %s.", clean(ref), verdict)
		for _, reason := range e.Reasons {
			p.say("  %s", clean(reason))
		}
		if e.Next != "" {
			p.next(clean(e.Next))
		}
		return nil
	})
}

func explainPerson(ctx context.Context, r reader, tenant, ref string) (explained, error) {
	t, err := r.Tenant(ctx, tenant)
	if err != nil {
		return explained{}, err
	}
	account, err := r.User(ctx, tenant, ref)
	if err == nil {
		return explainAccount(t.Tenant, account), nil
	}
	if !backup.HasCode(err, backup.CodeNotFound) {
		return explained{}, err
	}
	found, err := r.FindEntries(ctx, tenant, ref)
	if err != nil {
		return explained{}, err
	}
	if i := slices.IndexFunc(found.Entries, func(e backup.KnownEntry) bool { return e.Account != "" }); i >= 0 {
		account, err := r.User(ctx, tenant, found.Entries[i].Account)
		return explainAccount(t.Tenant, account), err
	}
	return explainEntries(t.Tenant, ref, found.Entries), nil
}

func explainAccount(t backup.Tenant, r backup.AccountReport) explained {
	a := r.Account
	e := explained{Account: &r}
	for _, l := range r.Links {
		e.Reasons = append(e.Reasons, linkText(l))
	}
	if a.State != backup.Active {
		e.Reasons = append(e.Reasons, lifecycleText(t, a))
		return e
	}
	profile, services := "the tenant's own profile", t.Profile.Services
	if a.Profile != "" {
		profile, services = "the profile "+a.Profile, t.ServicePlan().ByProfile[a.Profile]
	}
	if len(services) == 0 {
		e.Reasons = append(e.Reasons, profile+" backs up nothing")
		return e
	}
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = string(s)
	}
	e.Protected = true
	e.Reasons = append(e.Reasons, fmt.Sprintf("%s backs up %s", profile, strings.Join(names, ", ")))
	return e
}

func lifecycleText(t backup.Tenant, a backup.Account) string {
	since := a.Since.UTC().Format("2006-01-02")
	switch a.State {
	case backup.Due:
		return "the data was kept for long enough, and its deletion waits for an approval, since " + since
	case backup.Released:
		return "the deletion of the data was approved, on " + since
	}
	until := a.Since.AddDate(0, 0, t.PreserveDaysOf(a.Profile)).UTC().Format("2006-01-02")
	why := "gone from every directory"
	if a.Reason == backup.PreservedDisabled {
		why = "disabled in the directory"
	}
	return why + " since " + since + ": no new backups, the data is kept until " + until + " at least"
}

func explainEntries(t backup.Tenant, ref string, entries []backup.KnownEntry) explained {
	e := explained{Entries: entries}
	for _, k := range entries {
		e.Reasons = append(e.Reasons, linkText(k.Link)+": "+whyNot(k.Entry))
		if k.Entry.Problem == backup.Conflict {
			e.Next = "holdfast users conflicts " + t.ID
		}
	}
	if len(entries) == 0 {
		var names []string
		for _, d := range t.Directories {
			names = append(names, string(d.Name))
		}
		e.Reasons = []string{"no directory has told of " + ref + " (" + strings.Join(names, ", ") + "): base, filter or groups may leave the person out, or the last import was before"}
		e.Next = "holdfast users import " + t.ID
	}
	return e
}
