package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
)

// checked is one line of `check --json`.
type checked struct {
	System  orchestrator.System `json:"system"`
	Verdict backup.Verdict      `json:"verdict"`
}

func newCheck(p *program) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "check {-f FILE | TENANT} [SYSTEM]", Short: "Probe the configured systems, and say what to mend",
		Long: `Asks a worker to probe the systems of a description: key, app, directory, repository, or one of them. With -f the file need not be
applied; with a tenant's name the description that was applied is probed. Nothing is changed.`,
		Example: `  holdfast check -f acme.yaml
  holdfast check -f acme.yaml directory
  holdfast check acme key --json`,
		Args:              takes(p, "[TENANT]", "[SYSTEM]"),
		ValidArgsFunction: completeSystem,
		RunE:              func(cmd *cobra.Command, args []string) error { return runCheck(cmd.Context(), p, file, args) },
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a tenant's YAML file")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml") // only fails for a flag that is not there
	return cmd
}

func completeSystem(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, s := range orchestrator.Systems() {
		names = append(names, string(s))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func runCheck(ctx context.Context, p *program, file string, args []string) error {
	tenantName, systems, err := checkArguments(file, args)
	if err != nil {
		return &usageError{err}
	}
	tenant, err := p.description(ctx, file, tenantName)
	if err != nil {
		return err
	}
	return p.withFlows(ctx, func(c flows, _ settings) error {
		results := make([]checked, 0, len(systems))
		for _, s := range systems {
			result := checked{System: s}
			err := p.during(ctx, "probing "+string(s), func(ctx context.Context) (err error) {
				result.Verdict, err = c.CheckSystem(ctx, tenant, app, s)
				return err
			}, nil)
			if err != nil {
				return err
			}
			results = append(results, result)
			p.sayChecked(result)
		}
		return p.endCheck(results)
	})
}

func checkArguments(file string, args []string) (tenant string, systems []orchestrator.System, err error) {
	if file == "" {
		if len(args) == 0 {
			return "", nil, errors.New("what is to be probed? Give -f FILE or a tenant's name")
		}
		tenant, args = args[0], args[1:]
	}
	switch {
	case len(args) == 0:
		return tenant, orchestrator.Systems(), nil
	case len(args) > 1:
		return "", nil, errors.New("give either -f FILE or a tenant's name")
	}
	if !slices.Contains(orchestrator.Systems(), orchestrator.System(args[0])) {
		return "", nil, errors.New("the systems are key, app, directory and repository")
	}
	return tenant, []orchestrator.System{orchestrator.System(args[0])}, nil
}

// description is the tenant to probe: from the file, or as it was applied.
func (p *program) description(ctx context.Context, file, name string) (backup.Tenant, error) {
	if file != "" {
		return tenantfile.Read(file)
	}
	var tenant backup.Tenant
	err := p.withReader(func(r reader) error {
		report, err := r.Tenant(ctx, name)
		tenant = report.Tenant
		return err
	})
	return tenant, err
}

func (p *program) sayChecked(c checked) {
	if p.json {
		return
	}
	word := p.colour(green, "ok    ")
	if !c.Verdict.Passing {
		word = p.colour(red, "FAILED")
	}
	p.say("%s  %-11s %s", word, c.System, clean(c.Verdict.Detail))
	if !c.Verdict.Passing && c.Verdict.Hint != "" {
		p.next(clean(c.Verdict.Hint))
	}
}

func (p *program) endCheck(results []checked) error {
	if p.json {
		if err := p.emit(map[string]any{"checks": results}); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(results, func(c checked) bool { return !c.Verdict.Passing }) {
		return outcome(exitFailed)
	}
	return nil
}
