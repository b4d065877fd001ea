package main

import (
	"context"
	"errors"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/vault"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// connectorRun runs the on-premises agent.
type connectorRun struct {
	settings
	passphraseSource
	keyFile, folder, policy string
	enroll, ekeySource      string
	statusEvery             time.Duration
}

func newConnector() *cobra.Command {
	var c connectorRun
	cmd := &cobra.Command{
		Use:   "connector",
		Short: "Run the on-premises connector, which keeps a tenant's encryption key",
		Long: `Run the on-premises connector. It keeps the tenant's ekey in its key file, reaches the gateway by outbound HTTPS only,
and releases the ekey to pinned workers, request by request, sealed so that only the asking process can open it.

A new connector is admitted by a token that 'holdfast connector enroll' prints: give it once with --enroll. The connector makes its
key file, shows the token, and runs; until it is pinned it says that it waits for an administrator. Started again with the same
key file, with or without the token, it just runs. Other users of a machine can see its command lines, so let the token come from
its input (--enroll -) or a file (--enroll @FILE).

The passphrase of a protected key file comes from a file, an environment variable, or a question on the terminal.`,
		Example: `  holdfastd connector --enroll - --key-file /etc/holdfast/connector.key <token.txt
  holdfastd connector --enroll @token.txt --key-file connector.key --passphrase-file passphrase
  holdfastd connector --key-file /etc/holdfast/connector.key --policy /etc/holdfast/policy.yaml
  HTTPS_PROXY=http://proxy.example:3128 holdfastd connector --key-file /etc/holdfast/connector.key`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.ekeySource != "" && c.enroll == "" {
				return &usageError{errNoToken}
			}
			token, err := readToken(c.enroll, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return c.run(cmd.Context(), token)
		},
	}
	c.stateFlags(cmd)
	c.passphraseSource.flags(cmd, "the key file")
	f := cmd.Flags()
	f.StringVar(&c.keyFile, "key-file", "", "the connector's key file (mode 0600)")
	f.StringVar(&c.folder, "folder", "", "folder of its own receipts and status (default: beside the key file)")
	f.StringVar(&c.policy, "policy", "", "YAML file of what the connector may be asked for, and when")
	f.StringVar(&c.enroll, "enroll", "", "enrolment token; - reads it from the input, @FILE from a file")
	f.StringVar(&c.ekeySource, "ekey-source", "", "with --enroll: keep the ekey in your own Vault, as vault:PATH-{generation}#FIELD")
	f.DurationVar(&c.statusEvery, "status", 0, "how often a line of status is logged (0: never)")
	_ = cmd.MarkFlagRequired("key-file")
	cmd.AddCommand(newConnectorNew(), newConnectorStatus(), newConnectorExport(), newConnectorImport(), newConnectorPin())
	return cmd
}

func (c connectorRun) run(ctx context.Context, token *backup.EnrolmentToken) error {
	log, err := c.newLogger()
	if err != nil {
		return err
	}
	defer log.Sync()
	memory := lockMemory()
	policy, err := c.readPolicy()
	if err != nil {
		return err
	}
	keys, err := c.open(ctx, token, log)
	if err != nil {
		return err
	}
	defer keys.Close()
	debug.FreeOSMemory() // what a passphrase took to open, up to 256 MiB
	agent, err := connector.NewAgent(connector.AgentOptions{Keys: keys, Folder: connectorFolder(c.keyFile, c.folder), Policy: policy, Memory: memory, Log: log})
	if err != nil {
		return err
	}
	about := keys.Setup()
	log.Info("connector is starting", zap.String("tenant", about.Tenant), zap.String("connector", about.Connector), zap.String("identity", keys.Identity()),
		zap.String("gateway", about.Gateway), zap.Int("generations", len(keys.Holds())), zap.String("memory", memory))
	stop := c.tellStatus(agent, log)
	agent.Run(ctx)
	stop()
	log.Info(agent.Status().String())
	return agent.Close()
}

func (c connectorRun) readPolicy() (*connector.Policy, error) {
	if c.policy == "" {
		return nil, nil
	}
	return connector.ReadPolicy(c.policy)
}

// open opens the key file, which an enrolment makes first.
func (c connectorRun) open(ctx context.Context, token *backup.EnrolmentToken, log *zap.Logger) (*connector.KeyStore, error) {
	if token != nil {
		return c.openEnrolled(ctx, *token, log)
	}
	protector, err := c.opener(c.keyFile)
	if err != nil {
		return nil, err
	}
	return openKeyStore(c.keyFile, protector)
}

// openKeyStore opens a key file, and its source of ekeys when they are elsewhere.
func openKeyStore(path string, p connector.Protector) (*connector.KeyStore, error) {
	return connector.OpenKeyStore(path, connector.KeyStoreOptions{Protector: p, SourceFor: ekeySource})
}

// ekeySource keeps ekeys in the customer's own Vault, which VAULT_ADDR and what goes with it name.
func ekeySource(pattern string) (connector.EKeySource, error) {
	own, err := ownVault()
	if err != nil {
		return nil, err
	}
	return ekeySourceIn(vault.Writer{Reader: own}, pattern)
}

// ekeySourceIn tells a secret that is not there from a Vault that cannot be used.
func ekeySourceIn(v vault.Writer, pattern string) (connector.EKeySource, error) {
	name := func(ref backup.SecretRef) string { return strings.TrimPrefix(string(ref), "vault:") }
	return connector.NewEKeySource(pattern, connector.Vault{
		Get: func(ctx context.Context, ref backup.SecretRef) ([]byte, error) {
			secret, err := v.Read(ctx, name(ref))
			if errors.Is(err, &backup.Error{Code: backup.CodeNotFound}) {
				return nil, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "there is no secret " + string(ref), Hint: backup.AsError(err).Hint}
			}
			return secret, err
		},
		Put: func(ctx context.Context, ref backup.SecretRef, value []byte) error {
			return v.Put(ctx, name(ref), value)
		},
		Remove: func(ctx context.Context, ref backup.SecretRef) error { return v.Remove(ctx, name(ref)) },
	})
}

// tellStatus logs the status line until stop is called.
func (c connectorRun) tellStatus(agent *connector.Agent, log *zap.Logger) (stop func()) {
	if c.statusEvery <= 0 {
		return func() {}
	}
	tick := time.NewTicker(c.statusEvery)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-tick.C:
				log.Info(agent.Status().String())
			case <-done:
				return
			}
		}
	}()
	return func() { tick.Stop(); close(done); <-ended }
}

// connectorFolder is where a connector keeps its receipts and its status.
func connectorFolder(keyFile, folder string) string {
	if folder != "" {
		return folder
	}
	return strings.TrimSuffix(keyFile, filepath.Ext(keyFile)) + ".d"
}

// writePublic puts the public identity beside the key file.
func writePublic(keyFile, public string) error {
	return writeWhole(keyFile+".pub", []byte(public+"\n"), 0o644)
}

var errNoToken = errors.New("--ekey-source is for a new connector: give --enroll with it")
