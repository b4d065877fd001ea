package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newUsersShow(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "show TENANT PERSON", Short: "Show one person: what each directory says, and what happened",
		Long: `PERSON is a mail address, a sign-in name or an account's id.`,
		Example: `  holdfast users show acme anna@acme.example
  holdfast users show acme anna@acme.example --json | jq .provenance`,
		Args: takes(p, "TENANT", "PERSON"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUsersShow(cmd.Context(), p, args[0], args[1])
		},
	}
}

func runUsersShow(ctx context.Context, p *program, tenant, ref string) error {
	return p.withReader(func(r reader) error {
		report, err := r.User(ctx, tenant, ref)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(report)
		}
		p.sayAccount(report)
		return nil
	})
}

func (p *program) sayAccount(r backup.AccountReport) {
	a := r.Account
	p.say("%s  %s, account %s", clean(a.Mail), accountState(a), clean(a.ID))
	rows := [][]string{}
	for _, f := range []struct {
		field backup.PersonField
		value string
	}{
		{backup.FieldDisplayName, a.DisplayName}, {backup.FieldMail, a.Mail}, {backup.FieldUPN, a.UPN}, {backup.FieldEmployeeID, a.EmployeeID},
		{backup.FieldDepartment, a.Department}, {backup.FieldKind, string(a.Kind)}, {backup.FieldProfile, a.Profile},
	} {
		if f.value != "" {
			rows = append(rows, []string{"  " + string(f.field), clean(f.value), clean(string(r.Provenance[f.field]))})
		}
	}
	p.table([]string{"  field", "value", "said by"}, rows)
	for _, l := range r.Links {
		p.say("%s", linkText(l))
	}
	for _, e := range r.Events {
		p.say("%s  %s", p.when(e.At), eventText(e))
	}
}

func linkText(l backup.Link) string {
	text := fmt.Sprintf("%s: entry %s", clean(string(l.Directory)), clean(l.Entry.ID))
	if l.Entry.DN != "" {
		text += ", " + clean(l.Entry.DN)
	}
	switch {
	case !l.Present:
		text += ", not listed any more"
	case l.Entry.Disabled:
		text += ", disabled"
	}
	if l.By != "" && l.By != "first" {
		text += " (the same person by " + clean(l.By) + ")"
	}
	return text
}

func eventText(e backup.AccountEvent) string {
	parts := []string{string(e.Kind)}
	if fields := fieldsText(e.Fields); fields != "" {
		parts = append(parts, fields)
	}
	if e.Report > 0 {
		parts = append(parts, fmt.Sprintf("import %d of %s", e.Report, clean(string(e.Directory))))
	}
	if e.By != "" {
		parts = append(parts, "by "+clean(e.By))
	}
	if e.Reason != "" {
		parts = append(parts, clean(e.Reason))
	}
	return strings.Join(parts, "; ")
}
