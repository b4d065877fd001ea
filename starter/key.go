package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newKey(p *program) *cobra.Command {
	return newGroup("key", "See who holds the tenant's key", newKeyStatus(p))
}

func newKeyStatus(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "status TENANT", Short: "Show the key's holders, and when it was used last",
		Example: `  holdfast key status acme
  holdfast key status acme --json | jq .connectors`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runKeyStatus(cmd.Context(), p, args[0]) },
	}
}

func runKeyStatus(ctx context.Context, p *program, tenant string) error {
	return p.withReader(func(r reader) error {
		k, err := r.Key(ctx, tenant)
		if err != nil {
			return err
		}
		if p.json {
			return p.emit(k)
		}
		p.sayKey(k)
		return nil
	})
}

func (p *program) sayKey(k backup.KeyStatus) {
	p.say("%s: %s", clean(k.Tenant), keyLine(k))
	rows := make([][]string, len(k.Connectors))
	for i, c := range k.Connectors {
		state := "not connected"
		if c.Connected {
			state = "connected"
		}
		rows[i] = []string{clean(c.Name), state, p.when(c.LastSeen), fmt.Sprint(c.Session), clean(c.Identity)}
	}
	if len(rows) > 0 {
		p.table([]string{"connector", "state", "last seen", "sessions", "identity"}, rows)
	}
	if l := k.Last; l != nil {
		p.say("Released %d times, last for %s by %s, %s (receipt %d).", k.Receipts, l.Purpose, clean(l.Holder), p.when(l.At), l.Number)
	} else {
		p.say("The key was never released.")
	}
}
