package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newConnector(p *program) *cobra.Command {
	return newGroup("connector", "Admit the agents that hold a tenant's key, and see them", newConnectorEnroll(p), newConnectorList(p), newConnectorRemove(p))
}

func newConnectorList(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "list TENANT", Short: "List the tenant's connectors, and what each says it holds",
		Example: `  holdfast connector list acme
  holdfast connector list acme --json | jq '.connectors[] | select(.connected | not)'`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runConnectorList(cmd.Context(), p, args[0]) },
	}
}

func runConnectorList(ctx context.Context, p *program, tenant string) error {
	return p.withReader(func(r reader) error {
		k, err := r.Key(ctx, tenant)
		if err != nil {
			return err
		}
		if p.json {
			if k.Connectors == nil {
				k.Connectors = []backup.ConnectorStatus{}
			}
			return p.emit(map[string]any{"tenant": tenant, "connectors": k.Connectors})
		}
		if len(k.Connectors) == 0 {
			p.say("%s has no connector.", clean(tenant))
			p.next("holdfast connector enroll " + clean(tenant) + " --name hq")
			return nil
		}
		rows := make([][]string, len(k.Connectors))
		for i, c := range k.Connectors {
			rows[i] = []string{clean(c.Name), p.connectorState(c), p.when(c.LastSeen), fmt.Sprint(c.Session), holds(c, k.Generations), pinnedBy(c), clean(c.Identity)}
		}
		p.table([]string{"connector", "state", "last seen", "sessions", "holds", "pinned by", "identity"}, rows)
		return nil
	})
}

func (p *program) connectorState(c backup.ConnectorStatus) string {
	if c.Connected {
		return "connected"
	}
	return "not connected"
}

func pinnedBy(c backup.ConnectorStatus) string {
	if c.Enrolled {
		return "enrolment"
	}
	return "the tenant's file"
}
