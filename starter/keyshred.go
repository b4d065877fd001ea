package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// maxAnswer bounds what is read of a person's answer in bytes.
const maxAnswer = 1 << 10

type shredOptions struct {
	changeOptions
	reason    string
	confirmed string
}

func newKeyShred(p *program) *cobra.Command {
	var o shredOptions
	cmd := &cobra.Command{
		Use: "shred TENANT --reason TEXT", Short: "Destroy the tenant's key: no backup of it can be read afterwards, by anybody",
		Long: `Asks for the destruction of the key at every holder. What was backed up cannot be read afterwards, by anybody, for ever; that is what it is for.

Nothing is destroyed by this command alone. Two people who did not ask for it approve it, first shred and then shred-too, and then it can be called
off for a time (shredWait in the tenant's file; 72h by default). At the end stands a signed report, with the proof that nothing opens any more.

Copies of the key that people made (recovery copies, shares) are out of Holdfast's reach: destroy them yourselves.`,
		Example: `  holdfast key shred acme --reason "the contract has ended"
  holdfast key shred acme --reason "the contract has ended" --yes-destroy acme   # in a script
  holdfast abort acme shred-wait          # calls it off`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runKeyShred(cmd.Context(), p, args[0], o) },
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "why; stands in the report")
	cmd.Flags().StringVar(&o.confirmed, "yes-destroy", "", "the tenant's id once more, instead of being asked for it")
	return cmd
}

func runKeyShred(ctx context.Context, p *program, tenant string, o shredOptions) error {
	if strings.TrimSpace(o.reason) == "" {
		return &usageError{errors.New(`to destroy a key needs a reason: give --reason "..."`)}
	}
	warning := fmt.Sprintf("This asks for the destruction of the key of %s. No backup of %s can be read afterwards, by anybody.\nType the tenant's id to go on: ", clean(tenant), clean(tenant))
	if err := p.confirm(tenant, o.confirmed, warning, "this destroys: give --yes-destroy "+clean(tenant)+" to confirm it"); err != nil {
		return err
	}
	return runKeyChange(ctx, p, tenant, "The destruction of the key of "+clean(tenant)+" was asked for. Nothing is destroyed before two people have approved it.", o.changeOptions,
		func(ctx context.Context, c flows, by string) (string, error) {
			return c.ShredKey(ctx, tenant, by, o.reason)
		})
}

// confirm has a name given a second time: by a flag, or by a person who is shown the warning. missing says which flag.
func (p *program) confirm(name, given, warning, missing string) error {
	if given == "" && p.asks && !p.json {
		fmt.Fprint(p.err, warning)
		line, err := bufio.NewReader(io.LimitReader(p.in, maxAnswer)).ReadString('\n')
		if err != nil && line == "" {
			return &usageError{errors.New("nothing was typed, and nothing was asked for")}
		}
		given = strings.TrimSpace(line)
	}
	switch given {
	case name:
		return nil
	case "":
		return &usageError{errors.New(missing)}
	}
	return &usageError{errors.New("that is not " + clean(name) + ", and nothing was asked for")}
}
