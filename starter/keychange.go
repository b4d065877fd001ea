package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

type changeOptions struct {
	by   string
	wait bool
}

func (o *changeOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "follow it to its end, or until it waits for a person (exit code 4)")
}

// changed is what the commands that change a key print with --json.
type changed struct {
	Tenant string `json:"tenant"`
	RunID  string `json:"runID"`
	// Flow is how far it is, where that is known.
	Flow *orchestrator.KeyFlow `json:"flow,omitempty"`
	// Key is the key's status after the end.
	Key *backup.KeyStatus `json:"key,omitempty"`
}

func newKeyRotate(p *program) *cobra.Command {
	var o changeOptions
	var rewrapOnly bool
	cmd := &cobra.Command{
		Use: "rotate TENANT", Short: "Give the tenant a new key, by the same method",
		Long: `Makes a new generation of the key, brings it to every holder, and re-wraps the repository for it; no backup is uploaded again. A second person
approves it. Until the repository opens with the new key, the old one works and everything can be gone back on; afterwards the old one is
kept for the grace period of the tenant's file.

With --rewrap-only the key stays the same and its KMS wraps it by the newest version of the transit key, without anybody seeing it.`,
		Example: `  holdfast key rotate acme
  holdfast key rotate acme --wait         # exit code 4: it waits, usually for a second person's approval
  holdfast key rotate acme --rewrap-only  # after the transit key was rotated in the Vault`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			start, text := flows.RotateKey, "A new key for "
			if rewrapOnly {
				start, text = flows.RewrapKey, "A new wrapping of the key of "
			}
			return runKeyChange(cmd.Context(), p, args[0], text+clean(args[0])+" was asked for.", o, func(ctx context.Context, c flows, by string) (string, error) {
				return start(c, ctx, args[0], by)
			})
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&rewrapOnly, "rewrap-only", false, "keep the key, and have the KMS wrap it anew")
	return cmd
}

func newKeySwitch(p *program) *cobra.Command {
	var o changeOptions
	var to string
	cmd := &cobra.Command{
		Use: "switch TENANT --to METHOD", Short: "Have the tenant's key by another method, and give it a new one",
		Long: `Makes a new key by the other method and re-wraps the repository for it; no backup is uploaded again. A second person approves it. When it does not
succeed, the old method works as before.

The other method must be set up: for kms, key.kms in the tenant's file, applied; for connector, one that is enrolled and connected.`,
		Example: `  holdfast key switch acme --to kms
  holdfast key switch acme --to connector --wait`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			method := backup.KeyMethod(to)
			if method != backup.KeyByConnector && method != backup.KeyByKMS {
				return &usageError{errors.New("which method? Give --to kms or --to connector")}
			}
			return runKeyChange(cmd.Context(), p, args[0], "The switch of the key of "+clean(args[0])+" to "+to+" was asked for.", o, func(ctx context.Context, c flows, by string) (string, error) {
				return c.SwitchKey(ctx, args[0], method, by)
			})
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&to, "to", "", "kms or connector")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"kms", "connector"}, cobra.ShellCompDirectiveNoFileComp)) // only fails for a flag that is not there
	return cmd
}

// runKeyChange starts a change of the key and tells how it goes on.
func runKeyChange(ctx context.Context, p *program, tenant, text string, o changeOptions, start func(context.Context, flows, string) (runID string, err error)) error {
	return p.withFlows(ctx, func(c flows, s settings) error {
		by, err := s.who(o.by)
		if err != nil {
			return err
		}
		result := changed{Tenant: tenant}
		if result.RunID, err = start(ctx, c, by); err != nil {
			return err
		}
		if o.wait {
			p.progress("%s", text)
			return p.awaitKeyChange(ctx, c, result)
		}
		result.Flow = p.glance(ctx, c, result)
		if f := result.Flow; f != nil && f.Err != nil {
			return changeFailure(f.Err)
		}
		return p.sayChangeStarted(result, text)
	})
}

// changeFailure tells a change that somebody did not accept from one that was tried.
func changeFailure(err error) error {
	for _, code := range []backup.Code{backup.CodeNotAllowed, backup.CodeMissingRole, backup.CodeUnknownPrincipal} {
		if backup.HasCode(err, code) {
			return fmt.Errorf("%w: %w", orchestrator.ErrRefused, err)
		}
	}
	return &failed{err}
}

// glance watches for a moment what becomes of a change that was just asked for: a refusal comes at once, and so does the wait for an approval.
// Nil when nothing is known: the change goes on all the same, also when no worker runs yet.
func (p *program) glance(ctx context.Context, c flows, of changed) *orchestrator.KeyFlow {
	ctx, cancel := context.WithTimeout(ctx, p.settle)
	defer cancel()
	for {
		f, err := c.KeyFlow(ctx, of.Tenant, of.RunID)
		if err != nil {
			return nil
		}
		if !f.Running || waitsForPerson(f.Tasks) || p.pause(ctx) != nil {
			return &f
		}
	}
}

func (p *program) sayChangeStarted(r changed, text string) error {
	if p.json {
		return p.emit(r)
	}
	p.say("%s", text)
	if r.Flow != nil {
		p.sayWaiting(r.Tenant, r.Flow.Tasks)
	}
	p.next("holdfast key status " + clean(r.Tenant))
	return nil
}

// awaitKeyChange follows a change to its end, or until it waits for a person.
func (p *program) awaitKeyChange(ctx context.Context, c flows, r changed) error {
	var flow orchestrator.KeyFlow
	err := p.followTasks(ctx, false, func(ctx context.Context) (running bool, tasks []backup.Task, err error) {
		flow, err = c.KeyFlow(ctx, r.Tenant, r.RunID)
		return flow.Running, flow.Tasks, err
	})
	if err != nil {
		return err
	}
	r.Flow = &flow
	switch {
	case flow.Err != nil:
		return changeFailure(flow.Err)
	case flow.Running:
		if p.json {
			err = p.emit(r)
		} else {
			p.sayWaiting(r.Tenant, flow.Tasks)
		}
		return errors.Join(err, outcome(exitWaiting))
	}
	return p.withReader(func(from reader) error { return p.sayKeyChanged(ctx, from, r) })
}

func (p *program) sayKeyChanged(ctx context.Context, from reader, r changed) error {
	k, err := from.Key(ctx, r.Tenant)
	if err != nil {
		return err
	}
	if r.Key = &k; p.json {
		return p.emit(r)
	}
	p.say("%s: %s", clean(r.Tenant), keyLine(k))
	p.sayGenerations(k.Generations)
	return nil
}
