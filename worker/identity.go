package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/integrations/connector"
)

func newIdentity() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "identity",
		Short: "Print the workers' public identity, which a connector pins",
		Example: `  holdfastd identity
  holdfastd identity --identity /var/lib/holdfast/worker-identity.json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.complete(); err != nil {
				return err
			}
			id, err := connector.LoadOrCreateIdentity(s.Identity)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), id.Public())
			return err
		},
	}
	s.stateFlags(cmd)
	s.storeFlags(cmd)
	return cmd
}
