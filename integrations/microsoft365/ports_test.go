package microsoft365

import (
	"context"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// apps and app are the thin layer by which a program hands an Adapter to the activities: Go does not take a method that returns a
// concrete type for one that returns an interface.
type apps struct{ *Adapter }

func (a apps) ConnectApp(ctx context.Context, t backup.Tenant, which backup.App) (activities.App, error) {
	connected, err := a.Adapter.ConnectApp(ctx, t, which)
	if err != nil {
		return nil, err
	}
	return app{connected}, nil
}

type app struct{ *App }

func (a app) Source(ctx context.Context, acc backup.Account, s backup.Service) (activities.Source, error) {
	return a.App.Source(ctx, acc, s)
}

var (
	_ activities.Apps   = apps{}
	_ activities.App    = app{}
	_ activities.Source = (*mailbox)(nil)
	_ activities.Source = (*drive)(nil)
)
