// Command holdfastd is everything of Holdfast that runs for long: the Temporal worker, the gateway, the on-premises connector, and
// `dev`, which is all of it in one process with a Temporal server of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := keepMemoryPrivate(); err != nil {
		fmt.Fprintln(os.Stderr, "holdfastd: core dumps cannot be switched off:", err)
	}
	os.Exit(execute(ctx, os.Args[1:]))
}

func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "holdfastd: %v\n  try: holdfastd --help\n", err)
		return exitUsage
	}
	fmt.Fprintln(os.Stderr, "holdfastd:", err)
	var e *backup.Error
	if errors.As(err, &e) && e.Hint != "" {
		fmt.Fprintln(os.Stderr, "  next:", e.Hint)
	}
	return exitFailed
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfastd",
		Short: "The long-running parts of Holdfast: worker, gateway, connector",
		Long: `The long-running parts of Holdfast.

On one machine, 'holdfastd dev' is all there is: Temporal with its Web UI, the store, the gateway and the worker in one
process tree, with everything in one folder. On many, run 'holdfastd run' (the Temporal worker) and 'holdfastd gateway'
wherever and as often as needed. 'holdfastd connector' runs on the customer's ground and holds the encryption key.

Temporal is found by TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TLS_* and Temporal's profile file, as for the
temporal command line.`,
		Example: `  holdfastd dev
  holdfastd run --state /var/lib/holdfast
  holdfastd gateway --state /var/lib/holdfast --listen 0.0.0.0:8443
  holdfastd connector new --tenant acme --name hq --gateway https://backup.example:8443 ...
  holdfastd connector --key-file /etc/holdfast/connector.key`,
		Version: version,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return &usageError{err}
			}
			return nil
		},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newDev(), newRun(), newGatewayCommand(), newConnector(), newIdentity(), newPayloadKey())
	return root
}

// noArguments refuses what stands behind a command that takes nothing, as a usage error.
func noArguments(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return &usageError{err}
	}
	return nil
}
