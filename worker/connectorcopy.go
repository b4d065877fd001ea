package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// connectorExport makes a recovery copy.
type connectorExport struct {
	passphraseSource
	keyFile, keyPassphrase string
	to, shares             string
	recipients             []string
}

func newConnectorExport() *cobra.Command {
	var e connectorExport
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Make an encrypted recovery copy of the key file, or split one among several people",
		Long: `Make a recovery copy of the connector's key file: its identity and every generation of the ekey that it holds. The connector may go on
running. Make one when the first key was made, and again after each rotation; destroy the copies when a key is shredded.

The copy is an age file (https://age-encryption.org), which 'age -d' opens, too. It is encrypted under a passphrase, or to public keys
of age or SSH. With --shares K/N it is split instead into N files, of which any K give it back and fewer tell nothing.`,
		Example: `  holdfastd connector export --key-file connector.key --to acme-hq.age --passphrase-file -
  holdfastd connector export --key-file connector.key --to acme-hq.age --recipient "$(cat ~/.ssh/id_ed25519.pub)" --recipient age1...
  holdfastd connector export --key-file connector.key --shares 2/3 --to /media/shares`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := e.load(cmd)
			if err != nil {
				return err
			}
			defer k.Wipe()
			var files []string
			if e.shares != "" {
				files, err = e.split(k)
			} else {
				files, err = e.seal(k)
			}
			if err != nil {
				return err
			}
			for _, file := range files {
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.keyFile, "key-file", "", "the connector's key file")
	f.StringVar(&e.keyPassphrase, "key-passphrase-file", "", "file of the key file's own passphrase; - asks on the terminal")
	f.StringVar(&e.to, "to", "", "file of the copy, or folder of the shares")
	f.StringVar(&e.shares, "shares", "", "split into shares: K/N, where any K of N are needed")
	f.StringArrayVar(&e.recipients, "recipient", nil, "public key of age or SSH to encrypt to; may be repeated")
	e.flags(cmd, "the copy")
	cmd.MarkFlagsMutuallyExclusive("shares", "recipient", "passphrase-file")
	cmd.MarkFlagsMutuallyExclusive("shares", "recipient", "passphrase-env")
	for _, name := range []string{"key-file", "to"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// load reads the key file, with ekeys that are kept elsewhere.
func (e connectorExport) load(cmd *cobra.Command) (*connector.KeyFile, error) {
	if e.shares == "" && len(e.recipients) == 0 && !e.given() {
		return nil, &usageError{errors.New("a copy needs --passphrase-file, --recipient or --shares")}
	}
	protector, err := passphraseSource{file: e.keyPassphrase}.opener(e.keyFile)
	if err != nil {
		return nil, err
	}
	k, err := connector.ReadKeyFile(e.keyFile, protector)
	if err != nil || k.EKeySource == "" {
		return k, err
	}
	source, err := ekeySource(k.EKeySource)
	if err == nil {
		err = k.FetchEKeys(cmd.Context(), source)
	}
	return k, err
}

func (e connectorExport) seal(k *connector.KeyFile) ([]string, error) {
	sealer, err := e.sealer()
	if err != nil {
		return nil, err
	}
	sealed, err := k.Export(sealer)
	if err != nil {
		return nil, err
	}
	return []string{e.to}, connector.WriteCopy(e.to, sealed)
}

func (e connectorExport) sealer() (connector.Sealer, error) {
	if len(e.recipients) > 0 {
		return connector.ParseRecipients(e.recipients)
	}
	return e.read(true)
}

func (e connectorExport) split(k *connector.KeyFile) (files []string, err error) {
	first, second, _ := strings.Cut(e.shares, "/")
	needs, noNeeds := strconv.Atoi(first)
	of, noOf := strconv.Atoi(second)
	if noNeeds != nil || noOf != nil {
		return nil, &usageError{errors.New("--shares is K/N, for example 2/3")}
	}
	shares, err := k.Split(needs, of)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(e.to, 0o700); err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the folder of the shares cannot be made", Hint: "give another one with --to", Cause: err}
	}
	for _, s := range shares {
		file := filepath.Join(e.to, s.Name())
		if err := connector.WriteShare(file, s); err != nil {
			return files, err
		}
		files = append(files, file)
		s.Wipe()
	}
	return files, nil
}

// connectorImport restores a key file from a recovery copy.
type connectorImport struct {
	passphraseSource
	keyFile, from            string
	copyPassphrase, identity string
	shares                   []string
}

func newConnectorImport() *cobra.Command {
	var i connectorImport
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make a key file anew from a recovery copy or from shares",
		Long: `Make a key file anew from a recovery copy, from shares of one, or from another key file; the last way also adds, changes or removes
the passphrase of a key file. The connector that comes back has the identity of the one that was copied, and so is pinned already: make sure
that the old one does not run any more.

A file that is there is never replaced.`,
		Example: `  holdfastd connector import --from acme-hq.age --copy-passphrase-file - --key-file connector.key
  holdfastd connector import --from acme-hq.age --identity ~/.ssh/id_ed25519 --key-file connector.key
  holdfastd connector import --share a/acme-hq-share-1-of-3.txt --share b/acme-hq-share-3-of-3.txt --key-file connector.key
  holdfastd connector import --from connector.key --key-file protected.key --passphrase-file -`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := i.load()
			if err != nil {
				return err
			}
			defer k.Wipe()
			protector, err := i.protector(true)
			if err != nil {
				return err
			}
			if err := k.Create(i.keyFile, protector); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: connector %s of %s, identity %s, %d generations of the ekey\n", i.keyFile, k.Connector, k.Tenant, k.Identity(), len(k.Generations))
			return writePublic(i.keyFile, k.Identity())
		},
	}
	f := cmd.Flags()
	f.StringVar(&i.keyFile, "key-file", "", "key file to make")
	f.StringVar(&i.from, "from", "", "the recovery copy, or a key file")
	f.StringVar(&i.copyPassphrase, "copy-passphrase-file", "", "file of the copy's passphrase; - asks on the terminal")
	f.StringVar(&i.identity, "identity", "", "file of the private key, of age or SSH, that the copy was encrypted to")
	f.StringArrayVar(&i.shares, "share", nil, "file of a share; as many as are needed")
	i.flags(cmd, "the new key file")
	cmd.MarkFlagsMutuallyExclusive("from", "share")
	cmd.MarkFlagsMutuallyExclusive("copy-passphrase-file", "identity", "share")
	cmd.MarkFlagsOneRequired("from", "share")
	_ = cmd.MarkFlagRequired("key-file")
	return cmd
}

func (i connectorImport) load() (*connector.KeyFile, error) {
	switch {
	case len(i.shares) > 0:
		return connector.ReadShares(i.shares)
	case i.identity != "":
		keys, err := connector.LoadIdentities(i.identity)
		if err != nil {
			return nil, err
		}
		return connector.ReadCopy(i.from, keys)
	}
	opener, err := passphraseSource{file: i.copyPassphrase}.opener(i.from)
	if err != nil {
		return nil, err
	}
	return connector.ReadCopy(i.from, opener)
}
