package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

type usersListOptions struct {
	state    string
	problems bool
}

func newUsersList(p *program) *cobra.Command {
	var o usersListOptions
	cmd := &cobra.Command{
		Use: "list TENANT", Short: "List the people, in order of their mail",
		Example: `  holdfast users list acme
  holdfast users list acme --account-state preserved
  holdfast users list acme --json | jq -r '.accounts[].mail'`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsersList(cmd.Context(), p, args[0], o) },
	}
	cmd.Flags().StringVar(&o.state, "account-state", "", "only active, preserved, due or released people")
	cmd.Flags().BoolVar(&o.problems, "problems", false, "the same as holdfast users problems")
	return cmd
}

var accountStates = []backup.AccountState{backup.Active, backup.Preserved, backup.Due, backup.Released}

func runUsersList(ctx context.Context, p *program, tenant string, o usersListOptions) error {
	if o.problems {
		return runUsersProblems(ctx, p, tenant)
	}
	state := backup.AccountState(o.state)
	if state != "" && !slices.Contains(accountStates, state) {
		return &usageError{errors.New("--account-state is active, preserved, due or released")}
	}
	return p.withReader(func(r reader) error {
		if p.json {
			return listAccountsJSON(ctx, p, r, tenant, state)
		}
		return listAccounts(ctx, p, r, tenant, state)
	})
}

func listAccounts(ctx context.Context, p *program, r reader, tenant string, state backup.AccountState) error {
	count, heading := 0, []string{"mail", "name", "state", "since"}
	err := eachAccountPage(ctx, r, tenant, state, func(page []backup.Account) error {
		rows := make([][]string, len(page))
		for i, a := range page {
			rows[i] = []string{clean(a.Mail), clean(a.DisplayName), accountState(a), p.when(a.Since)}
		}
		count += len(rows)
		if len(rows) > 0 {
			p.table(heading, rows)
			heading = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.say("%s", people(count))
	return nil
}

func accountState(a backup.Account) string {
	if a.State == backup.Preserved && a.Reason != "" {
		return string(a.State) + " (" + string(a.Reason) + ")"
	}
	return string(a.State)
}

func listAccountsJSON(ctx context.Context, p *program, r reader, tenant string, state backup.AccountState) error {
	var list *jsonList
	err := eachAccountPage(ctx, r, tenant, state, func(page []backup.Account) error {
		if list == nil {
			list = startList(p.out, "accounts")
		}
		return addAll(list, page)
	})
	if err != nil {
		return err
	}
	return list.end()
}

func addAll[T any](list *jsonList, page []T) error {
	for _, v := range page {
		if err := list.add(v); err != nil {
			return err
		}
	}
	return nil
}

// eachAccountPage calls f once at least.
func eachAccountPage(ctx context.Context, r reader, tenant string, state backup.AccountState, f func([]backup.Account) error) error {
	for after := ""; ; {
		page, err := r.Users(ctx, tenant, state, after)
		if err != nil {
			return err
		}
		if err := f(page.Accounts); err != nil {
			return err
		}
		if page.Next == "" || page.Next == after {
			return nil
		}
		after = page.Next
	}
}
