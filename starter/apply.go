package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
)

type applyOptions struct {
	file string
	by   string
	wait bool
}

// applied is what `apply --json` prints.
type applied struct {
	Tenant     string                   `json:"tenant"`
	Started    bool                     `json:"started"` // false: the description went to the onboarding that runs
	Onboarding *orchestrator.Onboarding `json:"onboarding,omitempty"`
}

func newApply(p *program) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Describe a tenant, and let it be protected",
		Long: `Reads a tenant's file, checks all of it, and hands it to Holdfast. A tenant that is new, or was onboarded before, begins its
onboarding; one that is in the middle of it takes the change and looks again at what waits.

The file's fields are described in docs/tenant.example.yaml and in the published JSON Schema, starter/tenantfile/tenant.schema.json.`,
		Example: `  holdfast apply -f acme.yaml
  holdfast apply -f acme.yaml --wait      # until it is protected, or waits for a person (exit code 4)
  holdfast apply -f acme.yaml --json`,
		Args: takes(p),
		RunE: func(cmd *cobra.Command, _ []string) error { return runApply(cmd.Context(), p, o) },
	}
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "the tenant's YAML file")
	cmd.Flags().StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "follow the onboarding to its end, or until it waits for a person")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml") // only fails for a flag that is not there
	return cmd
}

func runApply(ctx context.Context, p *program, o applyOptions) error {
	if o.file == "" {
		return &usageError{errors.New("which file? Give -f FILE")}
	}
	tenant, err := tenantfile.Read(o.file)
	if err != nil {
		return err
	}
	return p.withFlows(ctx, func(c flows, s settings) error {
		by, err := s.who(o.by)
		if err != nil {
			return err
		}
		started, err := c.ApplyTenant(ctx, tenant, app, by)
		if err != nil {
			return err
		}
		result := applied{Tenant: tenant.ID, Started: started}
		if !o.wait {
			return p.sayApplied(result)
		}
		p.progress("%s", appliedText(started, tenant.ID))
		onboarding, err := p.follow(ctx, c, tenant.ID, false)
		if err != nil {
			return err
		}
		result.Onboarding = &onboarding
		return p.sayFollowed(result)
	})
}

func appliedText(started bool, tenant string) string {
	if started {
		return "The onboarding of " + tenant + " has started."
	}
	return "The change went to the onboarding of " + tenant + ", which is under way."
}

func (p *program) sayApplied(a applied) error {
	if p.json {
		return p.emit(a)
	}
	p.say("%s", appliedText(a.Started, a.Tenant))
	p.next("holdfast status " + a.Tenant)
	return nil
}

// sayFollowed ends `apply --wait` and `status --watch`.
func (p *program) sayFollowed(a applied) error {
	if p.json {
		if err := p.emit(a); err != nil {
			return err
		}
	}
	switch o := a.Onboarding; {
	case o.Running:
		if !p.json {
			p.sayWaiting(a.Tenant, o.Tasks)
		}
		return outcome(exitWaiting)
	case o.Err != nil:
		return &failed{o.Err}
	}
	if !p.json {
		p.say("%s is protected.", a.Tenant)
		p.next("holdfast backup list " + a.Tenant)
	}
	return nil
}
