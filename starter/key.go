package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

func newKey(p *program) *cobra.Command {
	return newGroup("key", "See who holds the tenant's key, change it, prove it, destroy it",
		newKeyStatus(p), newKeyReceipts(p), newKeyRotate(p), newKeySwitch(p), newKeyDrill(p), newKeyShred(p))
}

// keyReport is what `key status --json` prints: the status, and what is being done to the key.
type keyReport struct {
	backup.KeyStatus
	UnderWay *orchestrator.KeyFlow `json:"underWay,omitempty"`
}

func newKeyStatus(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "status TENANT", Short: "Show the key's generations and holders, its last drill, and when it was used last",
		Example: `  holdfast key status acme
  holdfast key status acme --json | jq .connectors`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runKeyStatus(cmd.Context(), p, args[0]) },
	}
}

func runKeyStatus(ctx context.Context, p *program, tenant string) error {
	return p.withBoth(ctx, func(c flows, r reader, _ settings) (err error) {
		var k keyReport
		if k.KeyStatus, err = r.Key(ctx, tenant); err != nil {
			return err
		}
		flow, err := c.KeyFlow(ctx, tenant, "")
		if k.UnderWay, err = found(flow, err); err != nil {
			return err
		}
		if k.UnderWay != nil && !k.UnderWay.Running {
			k.UnderWay = nil
		}
		if p.json {
			return p.emit(k)
		}
		p.sayKey(k)
		return nil
	})
}

func (p *program) sayKey(k keyReport) {
	p.say("%s: %s", clean(k.Tenant), keyLine(k.KeyStatus))
	p.sayGenerations(k.Generations)
	p.sayConnectors(k.KeyStatus)
	if l := k.Last; l != nil {
		p.say("Released %d times, last for %s by %s, %s (receipt %d).", k.Receipts, l.Purpose, clean(l.Holder), p.when(l.At), l.Number)
	} else {
		p.say("The key was never released.")
	}
	p.sayLastDrill(k.KeyStatus)
	if k.Shred != nil {
		p.sayShred(*k.Shred)
	}
	if f := k.UnderWay; f != nil {
		p.say("Under way since %s: %s", p.when(f.Started), f.Title())
		p.sayChecklist(f.Tasks)
		p.sayWaiting(k.Tenant, f.Tasks)
	}
}

func (p *program) sayGenerations(all []backup.EKey) {
	if len(all) == 0 {
		return
	}
	rows := make([][]string, len(all))
	for i, g := range all {
		rows[i] = []string{fmt.Sprint(g.Generation), string(g.Method), p.generationState(g), p.when(g.Created), p.when(g.Activated)}
	}
	p.table([]string{"generation", "method", "state", "made", "in use since"}, rows)
}

func (p *program) generationState(g backup.EKey) string {
	switch g.State {
	case backup.EKeyRetiring:
		return "retiring, had until " + p.when(g.RetireAfter)
	case backup.EKeyRetired, backup.EKeyDestroyed:
		return string(g.State) + " " + p.when(g.Ended)
	}
	return string(g.State)
}

func (p *program) sayConnectors(k backup.KeyStatus) {
	rows := make([][]string, len(k.Connectors))
	for i, c := range k.Connectors {
		state := "not connected"
		if c.Connected {
			state = "connected"
		}
		rows[i] = []string{clean(c.Name), state, p.when(c.LastSeen), fmt.Sprint(c.Session), holds(c, k.Generations), clean(c.Identity)}
	}
	if len(rows) > 0 {
		p.table([]string{"connector", "state", "last seen", "sessions", "holds", "identity"}, rows)
	}
}

// holds lists the generations that a connector says it holds, and marks those that are not what they are called.
func holds(c backup.ConnectorStatus, known []backup.EKey) string {
	said := make([]string, len(c.Holds))
	for i, h := range c.Holds {
		said[i] = fmt.Sprint(h.Generation)
		for _, g := range known {
			if g.Generation == h.Generation && g.Check != "" && g.Check != h.Check {
				said[i] += " (ANOTHER KEY)"
			}
		}
	}
	if len(said) == 0 {
		return "-"
	}
	return strings.Join(said, ", ")
}

func (p *program) sayLastDrill(k backup.KeyStatus) {
	switch d := k.Drill; {
	case d == nil && k.Shred == nil:
		p.say("No loss drill was made yet.")
		p.next("holdfast key drill " + clean(k.Tenant))
	case d != nil:
		p.say("Last loss drill: %s, %s.", p.drillWord(*d), p.when(d.At))
		p.sayProofs(d.Proofs, d.OK)
	}
}

// sayShred tells what the signed report says.
func (p *program) sayShred(r backup.ShredReport) {
	p.say("%s", p.colour(red, "The key was destroyed "+p.when(r.Destroyed)+": what was backed up cannot be read any more."))
	p.say("  asked for   by %s, %s%s", clean(r.RequestedBy), p.when(r.Requested), because(r.Reason))
	p.say("  approved    by %s", clean(strings.Join(r.ApprovedBy, " and ")))
	for _, h := range r.Holders {
		p.say("  destroyed   %s: %s", clean(h.Holder), clean(h.Detail))
	}
	for _, h := range r.Proof {
		p.say("  proof       %s: %s", clean(h.Holder), clean(h.Detail))
	}
	p.say("  signed      by %s", clean(r.Signer))
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + clean(reason)
}
