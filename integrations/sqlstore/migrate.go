package sqlstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrateAttempts and migratePause bound how long a process waits for another that brings the schema up to date.
const (
	migrateAttempts = 20
	migratePause    = 250 * time.Millisecond
)

// migrate brings the schema up to date. Two processes that start at once may both try: each migration is one transaction,
// so one of them makes it and the other's attempt leaves no trace and finds it made.
func (s *Store) migrate(ctx context.Context) error {
	const what = "bring the store's schema up to date"
	var err error
	for range migrateAttempts {
		err = s.migrateOnce(ctx)
		if err == nil || (!lostRace(err) && !backup.AsError(classify(ctx, what, err)).Retryable) {
			break
		}
		select {
		case <-ctx.Done():
			return classify(ctx, what, err)
		case <-time.After(migratePause):
		}
	}
	return classify(ctx, what, err)
}

func (s *Store) migrateOnce(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.write, files, goose.WithDisableGlobalRegistry(true))
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
