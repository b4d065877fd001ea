package main

import (
	"context"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/entra"
	"github.com/holdfast-backup/holdfast/integrations/folder"
	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/integrations/microsoft365"
	"github.com/holdfast-backup/holdfast/integrations/scim"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Adapters return types of their own, so that they need not import the activities. The types below let them stand where the
// activities want an interface, and choose among adapters of one role by the tenant's description.

// directories opens a tenant's directory by its kind.
type directories struct {
	ldap  *ldap.Adapter
	entra *entra.Adapter
	scim  *sqlstore.SCIM
}

func (d directories) OpenDirectory(ctx context.Context, t backup.Tenant, c backup.DirectoryConfig) (activities.Directory, error) {
	switch c.Kind {
	case backup.LDAP:
		dir, err := d.ldap.OpenDirectory(ctx, t, c)
		if err != nil {
			return nil, err
		}
		return dir, nil
	case backup.Entra:
		dir, err := d.entra.OpenDirectory(ctx, t, c)
		if err != nil {
			return nil, err
		}
		return dir, nil
	case backup.SCIM:
		config := backup.SCIMConfig{}
		if c.SCIM != nil {
			config = *c.SCIM
		}
		return scim.OpenDirectory(d.scim, backup.SCIMScope{Tenant: t.ID, Directory: c.Name}, config, t), nil
	}
	return nil, notOffered("the directory " + string(c.Kind))
}

// apps connects a tenant's SaaS app.
type apps struct{ microsoft365 *microsoft365.Adapter }

func (a apps) ConnectApp(ctx context.Context, t backup.Tenant, name backup.App) (activities.App, error) {
	if name != backup.Microsoft365 {
		return nil, notOffered("the app " + string(name))
	}
	app, err := a.microsoft365.ConnectApp(ctx, t, name)
	if err != nil {
		return nil, err
	}
	return connectedApp{app}, nil
}

type connectedApp struct{ *microsoft365.App }

func (a connectedApp) Source(ctx context.Context, acc backup.Account, s backup.Service) (activities.Source, error) {
	source, err := a.App.Source(ctx, acc, s)
	if err != nil {
		return nil, err
	}
	return source, nil
}

// repositories opens kopia repositories.
type repositories struct{ *kopia.Repositories }

func (r repositories) OpenRepository(ctx context.Context, t backup.Tenant, password string) (activities.Repository, error) {
	opened, err := r.Repositories.OpenRepository(ctx, t, password)
	if err != nil {
		return nil, err
	}
	return repository{opened}, nil
}

type repository struct{ *kopia.Repository }

func (r repository) Write(ctx context.Context, base *backup.SnapshotInfo) (activities.SnapshotWriter, error) {
	w, err := r.Repository.Write(ctx, base)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (r repository) Read(ctx context.Context, s *backup.SnapshotInfo) (activities.SnapshotReader, error) {
	reader, err := r.Repository.Read(ctx, s)
	if err != nil {
		return nil, err
	}
	return reader, nil
}

// folders restores into folders.
type folders struct{ folder.Folders }

func (f folders) OpenFolder(ctx context.Context, path string) (activities.Destination, error) {
	d, err := f.Folders.OpenFolder(ctx, path)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func notOffered(what string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: what + " is not offered by this version", Hint: "see the tenant file's schema for what is"}
}
