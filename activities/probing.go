package activities

import (
	"context"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Probing looks at one configured system at a time and says what to fix.
type Probing struct {
	Tenants      Tenants
	Apps         Apps
	Directories  Directories
	Keys         Keys
	Repositories Repositories
}

// CheckApp probes token and permissions of the tenant's SaaS app.
func (a *Probing) CheckApp(ctx context.Context, in TenantInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	return verdict(a.probeApp(ctx, t, in.App))
}

// CheckDirectory binds to the tenant's directory and looks at its base.
func (a *Probing) CheckDirectory(ctx context.Context, in TenantInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	return verdict(a.probeDirectory(ctx, t))
}

// CheckSystem probes one system of a description that need not be applied yet. Every failure is a verdict: nobody retries a question.
func (a *Probing) CheckSystem(ctx context.Context, in CheckInput) (backup.Verdict, error) {
	var detail string
	var err error
	switch in.System {
	case "app":
		detail, err = a.probeApp(ctx, in.Tenant, in.App)
	case "directory":
		detail, err = a.probeDirectory(ctx, in.Tenant)
	case "key":
		detail, err = "the key's holder is connected", a.Keys.Reachable(ctx, in.Tenant)
	case "repository":
		detail, err = a.probeRepository(ctx, in.Tenant)
	default:
		err = &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "there is no system " + in.System, Hint: "one of: app, directory, key, repository"}
	}
	return backup.VerdictOf(err, detail), nil
}

func (a *Probing) probeApp(ctx context.Context, t backup.Tenant, name backup.App) (string, error) {
	app, err := a.Apps.ConnectApp(ctx, t, name)
	if err != nil {
		return "", err
	}
	return app.Probe(ctx, t.Profile.Services)
}

func (a *Probing) probeDirectory(ctx context.Context, t backup.Tenant) (string, error) {
	var found []string
	for _, d := range t.Directories {
		text, err := a.probeOne(ctx, t, d)
		if err != nil {
			return "", err
		}
		found = append(found, text)
	}
	return strings.Join(found, "; "), nil
}

func (a *Probing) probeOne(ctx context.Context, t backup.Tenant, d backup.DirectoryConfig) (string, error) {
	if d.Retired {
		return string(d.Name) + " is retired", nil
	}
	dir, err := a.Directories.OpenDirectory(ctx, t, d)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return dir.Probe(ctx)
}

func (a *Probing) probeRepository(ctx context.Context, t backup.Tenant) (string, error) {
	r, err := openRepository(ctx, a.Keys, a.Repositories, t, backup.PurposeVerify)
	if err != nil {
		return "", err
	}
	return "the repository opens with the tenant's key", r.Close(ctx)
}
