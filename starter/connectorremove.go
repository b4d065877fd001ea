package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

type removeOptions struct{ by, confirmed string }

// removed is what `connector remove --json` prints.
type removed struct {
	Tenant    string `json:"tenant"`
	Connector string `json:"connector"`
	Identity  string `json:"identity"`
	// Rotate tells that the key in use is one that connectors hold, so that this one may still have it.
	Rotate bool `json:"rotate"`
}

func newConnectorRemove(p *program) *cobra.Command {
	var o removeOptions
	cmd := &cobra.Command{
		Use: "remove TENANT NAME", Short: "Take back the admission of a connector that was lost, stolen or replaced",
		Long: `Takes back the admission of an enrolled connector, at once: no gateway listens to it any more, and nobody asks it for the key. To come back it
has to be admitted again.

What it holds stays with it, so rotate the key afterwards. The last connector that is known to hold the key in use is not removed: admit
another one first, or switch to a KMS. One that stands in the tenant's file is removed there, by applying the file without it.`,
		Example: `  holdfast connector remove acme branch
  holdfast connector remove acme branch --yes-remove branch   # in a script
  holdfast key rotate acme                                    # so that what it holds is of no use`,
		Args: takes(p, "TENANT", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runConnectorRemove(cmd.Context(), p, args[0], args[1], o)
		},
	}
	cmd.Flags().StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	cmd.Flags().StringVar(&o.confirmed, "yes-remove", "", "the connector's name once more, instead of being asked for it")
	return cmd
}

func runConnectorRemove(ctx context.Context, p *program, tenant, name string, o removeOptions) error {
	warning := fmt.Sprintf("The connector %s of %s will be refused from now on, until it is admitted again.\nType its name to go on: ", clean(name), clean(tenant))
	if err := p.confirm(name, o.confirmed, warning, "this cuts a connector off: give --yes-remove "+clean(name)+" to confirm it"); err != nil {
		return err
	}
	return p.withBoth(ctx, func(c flows, r reader, s settings) error {
		by, err := s.who(o.by)
		if err != nil {
			return err
		}
		identity, err := c.RemoveConnector(ctx, tenant, name, by)
		if err != nil {
			return err
		}
		return p.sayRemoved(removed{tenant, name, identity, mayHoldKey(ctx, r, tenant)})
	})
}

// mayHoldKey tells whether the key in use is with connectors. A gateway that does not answer is no reason to leave the advice out.
func mayHoldKey(ctx context.Context, r reader, tenant string) bool {
	k, err := r.Key(ctx, tenant)
	return err != nil || slices.ContainsFunc(k.Generations, func(g backup.EKey) bool {
		return g.State == backup.EKeyActive && g.Method == backup.KeyByConnector
	})
}

func (p *program) sayRemoved(r removed) error {
	if p.json {
		return p.emit(r)
	}
	p.say("The connector %s of %s (%s) is removed: it is refused from now on.", clean(r.Connector), clean(r.Tenant), clean(r.Identity))
	if r.Rotate {
		p.say("It still holds the key. Rotate it, so that what this connector holds opens nothing here any more.")
		p.next("holdfast key rotate " + clean(r.Tenant))
	}
	return nil
}
