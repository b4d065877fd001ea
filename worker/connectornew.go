package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newConnectorNew() *cobra.Command {
	var s connector.Setup
	var keyFile, ca string
	var pass passphraseSource
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a connector's key file without an enrolment token",
		Long: `Make a connector's key file. It holds the connector's identity, made on this machine; the encryption key is made in it when Holdfast
asks for the tenant's first, and never leaves it in clear. MAKE A COPY then ('connector export') and keep it in a safe place: without
it the tenant's backups cannot be opened.

The public identity is printed and also written beside the key file, as FILE.pub: it belongs into the tenant's file. With a token
('holdfast connector enroll') none of this has to be typed: 'holdfastd connector --enroll'.`,
		Example: `  holdfastd connector new --tenant acme --name hq --gateway https://127.0.0.1:8443 \
      --gateway-ca gateway.pem --worker "$(holdfastd identity)" --key-file connector.key
  holdfastd connector new ... --key-file connector.key --passphrase-file passphrase
  holdfastd connector new ... --key-file connector.key --ekey-source 'vault:kv/holdfast/ekey-{generation}#ekey'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if s.GatewayCA, err = readGatewayCA(ca); err != nil {
				return err
			}
			protector, err := pass.protector(true)
			if err != nil {
				return err
			}
			k, err := connector.NewKeyFile(s)
			if err != nil {
				return err
			}
			defer k.Wipe()
			if err := k.Create(keyFile, protector); err != nil {
				return err
			}
			_, printed := fmt.Fprintln(cmd.OutOrStdout(), k.Identity())
			return errors.Join(writePublic(keyFile, k.Identity()), printed)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Tenant, "tenant", "", "the tenant's id")
	f.StringVar(&s.Connector, "name", "", "the connector's name, as in the tenant's file")
	f.StringVar(&s.Gateway, "gateway", "", "https://host:port of the gateway")
	f.StringVar(&ca, "gateway-ca", "", "PEM file that the gateway's certificate must come from")
	f.StringArrayVar(&s.Workers, "worker", nil, "public identity of the workers that may ask (holdfastd identity); may be repeated")
	f.StringVar(&s.EKeySource, "ekey-source", "", "keep the ekey in your own Vault: vault:PATH-{generation}#FIELD (default: in the key file)")
	f.StringVar(&keyFile, "key-file", "", "file to make")
	pass.flags(cmd, "the new key file")
	for _, name := range []string{"tenant", "name", "gateway", "gateway-ca", "worker", "key-file"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func readGatewayCA(path string) ([]byte, error) {
	ca, err := os.ReadFile(path)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the gateway's certificate cannot be read", Hint: "give the PEM file with --gateway-ca", Cause: err}
	}
	return ca, nil
}
