package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// newConnector runs the on-premises agent; `connector new` makes its key file.
func newConnector() *cobra.Command {
	var s settings
	var keyFile, folder string
	cmd := &cobra.Command{
		Use:   "connector",
		Short: "Run the on-premises connector, which keeps a tenant's encryption key",
		Long: `Run the on-premises connector. It keeps the tenant's ekey in its key file, reaches the gateway by outbound HTTPS only,
and releases the ekey to pinned workers, request by request, sealed so that only the asking process can open it.`,
		Example: `  holdfastd connector --key-file /etc/holdfast/connector.key
  HTTPS_PROXY=http://proxy.example:3128 holdfastd connector --key-file /etc/holdfast/connector.key`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runConnector(cmd.Context(), s, keyFile, folder) },
	}
	s.stateFlags(cmd)
	cmd.Flags().StringVar(&keyFile, "key-file", "", "the connector's key file (mode 0600)")
	cmd.Flags().StringVar(&folder, "folder", "", "folder of its own receipts (default: beside the key file)")
	_ = cmd.MarkFlagRequired("key-file")
	cmd.AddCommand(newConnectorNew())
	return cmd
}

func runConnector(ctx context.Context, s settings, keyFile, folder string) error {
	log, err := s.newLogger()
	if err != nil {
		return err
	}
	defer log.Sync()
	key, err := connector.LoadKeyFile(keyFile)
	if err != nil {
		return err
	}
	if folder == "" {
		folder = strings.TrimSuffix(keyFile, filepath.Ext(keyFile)) + ".d"
	}
	agent, err := connector.NewAgent(connector.AgentOptions{Key: key, Folder: folder, Log: log})
	if err != nil {
		return err
	}
	log.Info("connector is starting", zap.String("tenant", key.Tenant), zap.String("connector", key.Connector), zap.String("gateway", key.Gateway), zap.Int("generation", key.Generation))
	agent.Run(ctx)
	log.Info(agent.Status().String())
	return agent.Close()
}

func newConnectorNew() *cobra.Command {
	var o struct{ tenant, name, gateway, ca, keyFile string }
	var workers []string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a connector's key file: its identity and the tenant's encryption key",
		Long: `Make a connector's key file. It holds the connector's identity and a new encryption key; both are made on this machine and
never leave it in clear. KEEP A COPY in a safe place: without it the tenant's backups cannot be opened.

The public identity is printed and also written beside the key file, as FILE.pub: it belongs into the tenant's file.`,
		Example: `  holdfastd connector new --tenant acme --name hq --gateway https://127.0.0.1:8443 \
      --gateway-ca gateway.pem --worker "$(holdfastd identity)" --key-file connector.key`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ca, err := os.ReadFile(o.ca)
			if err != nil {
				return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the gateway's certificate cannot be read", Hint: "give the PEM file with --gateway-ca", Cause: err}
			}
			public, err := connector.CreateKeyFile(o.keyFile, connector.Setup{Connector: o.name, Tenant: o.tenant, Workers: workers, Gateway: o.gateway, GatewayCA: ca})
			if err != nil {
				return err
			}
			_, printed := fmt.Fprintln(cmd.OutOrStdout(), public)
			return errors.Join(writeWhole(o.keyFile+".pub", []byte(public+"\n"), 0o644), printed)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.tenant, "tenant", "", "the tenant's id")
	f.StringVar(&o.name, "name", "", "the connector's name, as in the tenant's file")
	f.StringVar(&o.gateway, "gateway", "", "https://host:port of the gateway")
	f.StringVar(&o.ca, "gateway-ca", "", "PEM file that the gateway's certificate must come from")
	f.StringArrayVar(&workers, "worker", nil, "public identity of the workers that may ask (holdfastd identity); may be repeated")
	f.StringVar(&o.keyFile, "key-file", "", "file to make")
	for _, name := range []string{"tenant", "name", "gateway", "gateway-ca", "worker", "key-file"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}
