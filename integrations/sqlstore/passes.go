package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func (s *Store) BeginPass(ctx context.Context, p backup.Pass, _ backup.ImportStart) (backup.ReadFrom, error) {
	return backup.ReadFrom{}, s.beginPass(ctx, p.Tenant, p.Directory, p.ID)
}

func (s *Store) RestartPass(ctx context.Context, p backup.Pass) error {
	return s.beginPass(ctx, p.Tenant, p.Directory, p.ID)
}

func (s *Store) StagePage(ctx context.Context, p backup.Pass, page backup.EntryPage) error {
	return s.stagePage(ctx, p.Tenant, p.Directory, p.ID, page.Entries)
}

func (s *Store) EndRead(context.Context, backup.Pass, backup.ReadEnd) error { return nil }

func (s *Store) ComparePass(ctx context.Context, _ backup.Tenant, p backup.Pass) (backup.ImportDifference, error) {
	c, err := s.comparePass(ctx, p.Tenant, p.Directory, p.ID)
	return backup.ImportDifference{Mode: backup.FullRead, Counts: c}, err
}

func (s *Store) ApplyPass(ctx context.Context, _ backup.Tenant, p backup.Pass, _, _ string, at time.Time) (backup.Accounts, error) {
	return s.applyPass(ctx, p.Tenant, p.Directory, p.ID, at)
}

func (s *Store) EndPass(context.Context, backup.Pass, backup.ImportEnd, time.Time) error { return nil }
