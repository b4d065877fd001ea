package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newKeyDrill(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "drill TENANT", Short: "Ask every holder of the key for proof that it has the right one",
		Long: `Asks every connector and every KMS of the tenant to prove that it holds the key that is in use. The proof is a signature; the key is not
revealed by it, and nobody gets it. It happens by the clock, too (drillEvery in the tenant's file).

Exit code 1 when a holder could not prove it.`,
		Example: `  holdfast key drill acme
  holdfast key drill acme --json | jq '.proofs[] | select(.ok | not)'`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runKeyDrill(cmd.Context(), p, args[0]) },
	}
}

func runKeyDrill(ctx context.Context, p *program, tenant string) error {
	return p.withFlows(ctx, func(c flows, _ settings) error {
		var drill backup.KeyDrill
		err := p.during(ctx, "asking every holder of the key of "+clean(tenant), func(ctx context.Context) (err error) {
			drill, err = c.DrillKey(ctx, tenant)
			return err
		}, nil)
		if err != nil {
			return ranInto(err)
		}
		if p.json {
			if err := p.emit(drill); err != nil {
				return err
			}
		} else {
			p.say("The drill of generation %d of the key of %s %s.", drill.Generation, clean(tenant), p.drillWord(drill))
			p.sayProofs(drill.Proofs, false)
		}
		if !drill.OK {
			return outcome(exitFailed)
		}
		return nil
	})
}

func (p *program) drillWord(d backup.KeyDrill) string {
	if d.OK {
		return p.colour(green, "passed")
	}
	return p.colour(red, "FAILED")
}

// sayProofs tells what each holder said; short leaves out those who proved it.
func (p *program) sayProofs(proofs []backup.KeyProof, short bool) {
	for _, proof := range proofs {
		if proof.OK && short {
			continue
		}
		word := p.colour(green, "ok    ")
		if !proof.OK {
			word = p.colour(red, "FAILED")
		}
		p.say("  %s  %s: %s", word, clean(proof.Holder), clean(proof.Detail))
		if !proof.OK && proof.Hint != "" {
			p.next(clean(proof.Hint))
		}
	}
}
