package sqlstore

import (
	"context"
	"embed"
	"fmt"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date; of several processes that start at once, one does.
func (s *Store) migrate(ctx context.Context) error {
	err := s.dialect.migrateAlone(ctx, s.write, func() error { return s.migrateOnce(ctx) })
	return classify(ctx, "bring the store's schema up to date", err)
}

func (s *Store) migrateOnce(ctx context.Context) error {
	name, files, err := s.dialect.migrations()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(name, s.write, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > known {
		return badConfig(fmt.Sprintf("the store was made by a newer Holdfast: its schema is number %d, this program knows %d", current, known),
			"start the newer version; going back needs a copy of the store from before", nil)
	}
	_, err = provider.Up(ctx)
	return err
}
