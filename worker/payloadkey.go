package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/payload"
)

func newPayloadKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "payload-key",
		Short: "Make and rotate the keys that encrypt what goes to Temporal",
		Long: `Make and rotate the keys that encrypt what goes to Temporal.

They are a file that every worker and every gateway of a deployment has (--payload-keys). They are no backup key: without them the
backups are as good as before, but what is under way in Temporal cannot go on, and old runs cannot be read there.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPayloadKeyNew(), newPayloadKeyRotate())
	return cmd
}

func newPayloadKeyNew() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "new --out FILE",
		Short:   "Make a file with one new key",
		Example: "  holdfastd payload-key new --out /var/lib/holdfast/payload-keys.json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ring, err := makePayloadKeys(out)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Made %s with the key %s. Every machine that runs holdfastd needs this file; keep a copy elsewhere.\n", out, ring.Current(time.Now()))
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to make; it must not exist")
	_ = cmd.MarkFlagRequired("out") // fails for a flag that is not there
	return cmd
}

func newPayloadKeyRotate() *cobra.Command {
	var path string
	var after time.Duration
	cmd := &cobra.Command{
		Use:   "rotate --file FILE",
		Short: "Add a new key, which is used from now on; the old ones still decrypt",
		Long: `Add a new key, which is used from now on; the old ones still decrypt. A running holdfastd takes it on within a minute, without a
restart.

With several machines, give --after more time than you need to copy the file to all of them: one that meets a payload of a key that
it does not have waits until it has it.`,
		Example: `  holdfastd payload-key rotate --file /var/lib/holdfast/payload-keys.json
  holdfastd payload-key rotate --file payload-keys.json --after 1h`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from := time.Now().Add(max(after, 0))
			ring, err := rotatePayloadKeys(path, from)
			if err != nil {
				return err
			}
			ids := ring.IDs()
			fmt.Fprintf(cmd.OutOrStdout(), "Added the key %s, used from %s on. %s holds %d keys now.\n", ids[len(ids)-1], from.Format(time.RFC3339), path, len(ids))
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "file", "", "the key file")
	cmd.Flags().DurationVar(&after, "after", 0, "how long the new key waits before it is used")
	_ = cmd.MarkFlagRequired("file") // fails for a flag that is not there
	return cmd
}

// makePayloadKeys makes a key file that is not there.
func makePayloadKeys(path string) (*payload.Keyring, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, badKeyFile(path, "exists already, and what it holds may be needed", "holdfastd payload-key rotate --file "+path, err)
	}
	ring := payload.NewKeyring(time.Now())
	b, err := ring.Marshal()
	if err != nil {
		return nil, err
	}
	if err := writeWhole(path, b, 0o600); err != nil {
		return nil, badKeyFile(path, "cannot be written", "give another place", err)
	}
	return ring, nil
}

// ensurePayloadKeys makes the key file of `dev` at the first start.
func (s settings) ensurePayloadKeys() error {
	path := filepath.Join(s.State, payloadKeysFile)
	if s.PayloadKeys != "file:"+path {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	_, err := makePayloadKeys(path)
	return err
}

func rotatePayloadKeys(path string, from time.Time) (*payload.Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, badKeyFile(path, "cannot be read", "holdfastd payload-key new --out "+path, err)
	}
	if info.Size() > payload.MaxRing {
		return nil, badKeyFile(path, "is too large for a key file", "", nil)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, badKeyFile(path, "cannot be read", "", err)
	}
	ring, err := payload.ParseKeyring(b)
	if err != nil {
		return nil, err
	}
	if ring, err = ring.Rotate(from); err != nil {
		return nil, err
	}
	if b, err = ring.Marshal(); err != nil {
		return nil, err
	}
	return ring, replaceOwned(path, b, info)
}

// replaceOwned writes a file anew with the owner that it had: root may rotate what another user's service reads.
func replaceOwned(path string, b []byte, was os.FileInfo) error {
	made := path + ".new"
	if err := writeWhole(made, b, was.Mode().Perm()); err != nil {
		return badKeyFile(path, "cannot be written", "", err)
	}
	defer os.Remove(made)
	if st, ok := was.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		if err := os.Chown(made, int(st.Uid), int(st.Gid)); err != nil {
			return badKeyFile(path, "belongs to another user, to whom it cannot be given", "run this as that user", err)
		}
	}
	return os.Rename(made, path)
}

func badKeyFile(path, what, hint string, cause error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: path + " " + what, Hint: hint, Cause: cause}
}
