package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

type restoreOptions struct {
	account, service, to, snapshot, by string
}

// restored is what `restore --json` prints.
type restored struct {
	Tenant   string               `json:"tenant"`
	Account  string               `json:"account"`
	Service  backup.Service       `json:"service"`
	To       string               `json:"to"`
	Snapshot string               `json:"snapshot"`
	Counts   backup.RestoreCounts `json:"counts"`
}

func newRestore(p *program) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use: "restore TENANT --account WHO --service mail|drive --to FOLDER", Short: "Write a mailbox or a drive into a folder",
		Long: `Writes one snapshot of one account's mail or drive into a folder on the worker's machine: messages as .eml files, files as they were.
Files that stand there already with the same content are kept, so that a restore which broke off can be repeated.`,
		Example: `  holdfast restore acme --account anna@acme.example --service mail --to /srv/restore/anna
  holdfast restore acme --account anna@acme.example --service drive --to ./anna --snapshot 4f1c…   # an older state
  holdfast restore acme --account anna@acme.example --service mail --to /srv/restore/anna --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runRestore(cmd.Context(), p, args[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.account, "account", "", "whose: mail, sign-in name or account id")
	f.StringVar(&o.service, "service", "", "mail or drive")
	f.StringVar(&o.to, "to", "", "the folder; a relative one begins here")
	f.StringVar(&o.snapshot, "snapshot", "", "which state (default: the newest complete one); holdfast backup show lists them")
	f.StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	_ = cmd.RegisterFlagCompletionFunc("service", cobra.FixedCompletions([]string{string(backup.Mail), string(backup.Drive)}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagDirname("to") // both only fail for a flag that is not there
	return cmd
}

func (o restoreOptions) check() error {
	switch {
	case o.account == "":
		return errors.New("whose mail or drive? Give --account")
	case o.service != string(backup.Mail) && o.service != string(backup.Drive):
		return errors.New("which service? Give --service mail or --service drive")
	case o.to == "":
		return errors.New("where to? Give --to FOLDER")
	}
	return nil
}

func runRestore(ctx context.Context, p *program, tenant string, o restoreOptions) error {
	if err := o.check(); err != nil {
		return &usageError{err}
	}
	to, err := filepath.Abs(o.to)
	if err != nil {
		return err
	}
	return p.withFlows(ctx, func(c flows, s settings) error {
		by, err := s.who(o.by)
		if err != nil {
			return err
		}
		request := orchestrator.RestoreRequest{Tenant: tenant, Account: o.account, App: app, Service: backup.Service(o.service), Snapshot: o.snapshot, To: to, RequestedBy: by}
		var result orchestrator.RestoreResult
		err = p.during(ctx, "restoring "+o.service+" of "+clean(o.account), func(ctx context.Context) (err error) {
			result, err = c.Restore(ctx, request)
			return err
		}, nil)
		if err != nil {
			return err
		}
		return p.sayRestored(restored{tenant, o.account, request.Service, to, result.Snapshot, result.Counts})
	})
}

func (p *program) sayRestored(r restored) error {
	if p.json {
		return p.emit(r)
	}
	p.say("Restored %s of %s into %s.", r.Service, clean(r.Account), clean(r.To))
	p.say("  written   %d files in %d folders, %s", r.Counts.Files, r.Counts.Folders, size(r.Counts.Bytes))
	if r.Counts.Skipped > 0 {
		p.say("  left out  %d items whose content could not be had when they were backed up", r.Counts.Skipped)
	}
	if r.Counts.Kept > 0 {
		p.say("  kept      %d files that stood there already with the same content", r.Counts.Kept)
	}
	p.say("  snapshot  %s", clean(r.Snapshot))
	return nil
}
