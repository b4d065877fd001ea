package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// passphraseSource says where a passphrase comes from; never from the command line itself, which every user of the machine sees.
type passphraseSource struct{ file, env string }

const maxPassphraseFile = 4 << 10 // bytes

func (p *passphraseSource) flags(cmd *cobra.Command, what string) {
	f := cmd.Flags()
	f.StringVar(&p.file, "passphrase-file", "", "file of the passphrase of "+what+", readable by its owner alone; - asks on the terminal")
	f.StringVar(&p.env, "passphrase-env", "", "environment variable that holds it instead")
	cmd.MarkFlagsMutuallyExclusive("passphrase-file", "passphrase-env")
}

func (p passphraseSource) given() bool { return p.file != "" || p.env != "" }

// protector gives nil when no passphrase was given. A new one is typed twice.
func (p passphraseSource) protector(fresh bool) (connector.Protector, error) {
	if !p.given() {
		return nil, nil
	}
	return p.read(fresh)
}

// opener is for a file that is there: one that is protected is asked about on the terminal when nothing was given and there is a terminal.
func (p passphraseSource) opener(path string) (connector.Protector, error) {
	if p.given() {
		return p.read(false)
	}
	if protected, err := protectedFile(path); err != nil || !protected || !hasTerminal() {
		return nil, err
	}
	return passphraseSource{file: "-"}.read(false)
}

// protectedFile looks at the first bytes only. A file that is not there is for others to complain about.
func protectedFile(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, nil
	}
	defer f.Close()
	head := make([]byte, 64)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	defer clear(head)
	return connector.IsProtected(head[:n]), nil
}

func (p passphraseSource) read(fresh bool) (*connector.Passphrase, error) {
	typed, err := p.bytes(fresh)
	if err != nil {
		return nil, err
	}
	defer clear(typed)
	return connector.NewPassphrase(typed)
}

func (p passphraseSource) bytes(fresh bool) ([]byte, error) {
	switch {
	case p.file == "-":
		return askPassphrase(fresh)
	case p.file != "":
		return readPassphrase(p.file)
	}
	if v := os.Getenv(p.env); v != "" {
		return []byte(v), nil
	}
	return nil, badPassphrase("the environment variable "+p.env+" is not set", "set it for this process, or use --passphrase-file", nil)
}

func readPassphrase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, badPassphrase("the passphrase's file cannot be opened", "look at "+path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, badPassphrase("the passphrase's file cannot be looked at", "look at "+path, err)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
		return nil, badPassphrase(fmt.Sprintf("%s may be read by others (mode %#o)", path, info.Mode().Perm()), "chmod 600 "+path, nil)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPassphraseFile))
	if err != nil {
		return nil, badPassphrase("the passphrase's file cannot be read", "look at "+path, err)
	}
	return b, nil
}

// terminalFile is the process's own terminal, wherever its input comes from.
const terminalFile = "/dev/tty"

func hasTerminal() bool {
	tty, err := os.OpenFile(terminalFile, os.O_RDWR, 0)
	if err == nil {
		tty.Close()
	}
	return err == nil
}

func askPassphrase(fresh bool) ([]byte, error) {
	tty, err := os.OpenFile(terminalFile, os.O_RDWR, 0)
	if err != nil {
		return nil, badPassphrase("there is no terminal to ask for the passphrase on", "give it with --passphrase-file", err)
	}
	defer tty.Close()
	typed, err := askOnce(tty, "Passphrase: ")
	if err != nil || !fresh {
		return typed, err
	}
	again, err := askOnce(tty, "The same again: ")
	defer clear(again)
	if err == nil && !bytes.Equal(typed, again) {
		err = badPassphrase("the two were not the same", "type it again", nil)
	}
	return typed, err
}

func askOnce(tty *os.File, prompt string) ([]byte, error) {
	fmt.Fprint(tty, prompt)
	typed, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return typed, err
}

func badPassphrase(message, hint string, cause error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message, Hint: hint, Cause: cause}
}
