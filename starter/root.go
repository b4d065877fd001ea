package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

const rootText = `holdfast protects what a company keeps in Microsoft 365. It starts what holdfastd carries out, shows how it goes, and
answers what waits for a person.

The first three commands:

  holdfast apply -f acme.yaml     describe a tenant, and let it be protected
  holdfast status acme            see how far it is
  holdfast inbox                  see what waits for you

Settings: --state or HOLDFAST_STATE names the folder in which holdfastd dev left client.json. Above it stand HOLDFAST_GATEWAY,
HOLDFAST_CA_FILE, HOLDFAST_TOKEN_FILE, HOLDFAST_USER, and TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and the other settings of Temporal.`

func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use: "holdfast", Short: "Protect what a company keeps in its SaaS apps", Long: rootText,
		SilenceErrors: true, SilenceUsage: true,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			p.parsed, p.command = true, cmd.CommandPath()
			p.colours, p.live = p.colours && !p.json, p.live && !p.json
		},
	}
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { p.command = cmd.CommandPath(); return err })
	root.PersistentFlags().BoolVar(&p.json, "json", false, "print one JSON document instead of text")
	root.PersistentFlags().StringVar(&p.state, "state", "", "folder of holdfastd dev (default $HOLDFAST_STATE, else $XDG_DATA_HOME/holdfast, else ~/.local/share/holdfast)")
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(newApply(p), newStatus(p), newInbox(p), newUsers(p), newBackup(p), newRestore(p), newAlerts(p), newKey(p), newConnector(p), newSCIM(p), newCheck(p), newVersion(p), newExitCodes())
	root.AddCommand(newDecisions(p)...)
	return root
}

// newGroup is a command that only holds others; alone it shows what it holds, and a wrong name below it is a usage error.
func newGroup(use, short string, below ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: noSuchCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	g.AddCommand(below...)
	return g
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return errors.New("there is no command " + cmd.CommandPath() + " " + clean(args[0]))
}

// takes checks the arguments by their names; those in brackets may be left out.
func takes(p *program, names ...string) cobra.PositionalArgs {
	needed := len(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasPrefix(n, "[") }))
	return func(cmd *cobra.Command, args []string) error {
		p.command = cmd.CommandPath()
		switch {
		case len(args) < needed:
			return fmt.Errorf("%s is missing: %s %s", names[len(args)], cmd.CommandPath(), strings.Join(names, " "))
		case len(args) > len(names):
			return fmt.Errorf("%s is one word too many", strconv.Quote(args[len(names)]))
		case slices.Contains(args, ""):
			return errors.New("an argument is empty")
		}
		return nil
	}
}
