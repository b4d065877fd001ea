package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/integrations/connector"
)

// connectorPin changes what a key file pins.
type connectorPin struct {
	passphraseSource
	keyFile, gateway, ca string
	workers, unpin       []string
}

func newConnectorPin() *cobra.Command {
	var p connectorPin
	cmd := &cobra.Command{
		Use:   "pin",
		Short: "Show or change what a key file pins: the gateway, its certificate, the workers",
		Long: `Show or change what a key file pins: where the gateway is, the certificates that its own must come from, and the identities of the workers
that may ask for the key. Stop the connector first: it reads its key file when it starts.

A worker that is not pinned gets no key, and a gateway whose certificate does not come from what is pinned is not spoken to. Be sure
that the new values come from whoever runs Holdfast, by a way that nobody in between can use.`,
		Example: `  holdfastd connector pin --key-file connector.key
  holdfastd connector pin --key-file connector.key --worker ed25519:... --unpin-worker ed25519:...
  holdfastd connector pin --key-file connector.key --gateway https://backup.example:8443 --gateway-ca gateway.pem`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			setup, err := p.apply()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "gateway  %s\n", setup.Gateway)
			for _, worker := range setup.Workers {
				fmt.Fprintf(cmd.OutOrStdout(), "worker   %s\n", worker)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.keyFile, "key-file", "", "the connector's key file")
	f.StringVar(&p.gateway, "gateway", "", "https://host:port of the gateway")
	f.StringVar(&p.ca, "gateway-ca", "", "PEM file that the gateway's certificate must come from")
	f.StringArrayVar(&p.workers, "worker", nil, "public identity of workers that may ask, too; may be repeated")
	f.StringArrayVar(&p.unpin, "unpin-worker", nil, "public identity of workers that may ask no more; may be repeated")
	p.flags(cmd, "the key file")
	_ = cmd.MarkFlagRequired("key-file")
	return cmd
}

// apply shows what is pinned when there is nothing to change.
func (p connectorPin) apply() (connector.Setup, error) {
	protector, err := p.opener(p.keyFile)
	if err != nil {
		return connector.Setup{}, err
	}
	if p.gateway == "" && p.ca == "" && len(p.workers)+len(p.unpin) == 0 {
		k, err := connector.ReadKeyFile(p.keyFile, protector)
		if err != nil {
			return connector.Setup{}, err
		}
		defer k.Wipe()
		return k.Setup, nil
	}
	var ca []byte
	if p.ca != "" {
		if ca, err = readGatewayCA(p.ca); err != nil {
			return connector.Setup{}, err
		}
	}
	keys, err := openKeyStore(p.keyFile, protector)
	if err != nil {
		return connector.Setup{}, err
	}
	defer keys.Close()
	err = keys.Pin(func(s *connector.Setup) { p.change(s, ca) })
	return keys.Setup(), err
}

func (p connectorPin) change(s *connector.Setup, ca []byte) {
	if p.gateway != "" {
		s.Gateway = p.gateway
	}
	if ca != nil {
		s.GatewayCA = ca
	}
	s.Workers = slices.DeleteFunc(slices.Clone(s.Workers), func(w string) bool { return slices.Contains(p.unpin, w) })
	for _, w := range p.workers {
		if !slices.Contains(s.Workers, w) {
			s.Workers = append(s.Workers, w)
		}
	}
}
