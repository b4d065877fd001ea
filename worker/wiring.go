package main

import (
	"context"
	"errors"
	"os/user"

	"go.temporal.io/sdk/worker"
	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/entra"
	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/integrations/microsoft365"
	"github.com/holdfast-backup/holdfast/integrations/notify"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/integrations/vault"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/custody"
	"github.com/holdfast-backup/holdfast/internal/ledger"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/workflows"
)

// parts are what worker and gateway of one process share.
type parts struct {
	settings settings
	log      *zap.Logger
	store    *sqlstore.Store
	// identity is the workers' signing key. A gateway has none: whoever gets hold of a gateway must not be able to ask for an ekey.
	identity *connector.Identity
	temporal *orchestrator.Client
	// local are principals that every tenant knows: in `dev` the user of this machine, otherwise nobody.
	local []backup.Principal
}

// open opens store and identity. The caller closes.
func (s settings) open(ctx context.Context, log *zap.Logger) (*parts, error) {
	identity, err := connector.LoadOrCreateIdentity(s.Identity)
	if err != nil {
		return nil, err
	}
	p, err := s.openStore(ctx, log)
	if err == nil {
		p.identity = &identity
	}
	return p, err
}

// openStore opens the store alone.
func (s settings) openStore(ctx context.Context, log *zap.Logger) (*parts, error) {
	store, err := sqlstore.Open(ctx, s.Store)
	if err != nil {
		return nil, err
	}
	return &parts{settings: s, log: log, store: store}, nil
}

func (p *parts) close() error {
	if p.temporal != nil {
		p.temporal.Close()
	}
	return errors.Join(p.store.Close(), p.log.Sync())
}

// register gives a Temporal worker all of Holdfast's workflows and activities. close ends what they hold.
func (p *parts) register(w worker.Registry) (close func() error) {
	m365 := microsoft365.New(microsoft365.Options{Secrets: resolveSecret, UserAgent: "ISV|Holdfast|Holdfast/" + version})
	people := entra.New(entra.Options{Secrets: resolveSecret, UserAgent: "ISV|Holdfast|Holdfast/" + version})
	kms := vault.New(vault.Options{Secrets: resolveSecret, Requester: p.identity.Short()})
	var (
		apps        = apps{m365}
		directories = directories{ldap: ldap.New(resolveSecret), entra: people, scim: p.store.SCIM()}
		keys        = p.newCustodian(kms)
		// A restore must not depend on room on the disk that it reads from.
		reading      = repositories{kopia.New(kopia.Options{Root: p.settings.Repositories, ReadOnly: true})}
		repositories = repositories{kopia.New(kopia.Options{Root: p.settings.Repositories})}
	)
	workflows.Register(w)
	for _, a := range []any{
		&activities.Tenancy{Tenants: p.store, Local: p.local},
		&activities.Provisioning{Tenants: p.store, History: p.store, Keys: keys, Repositories: repositories},
		&activities.Probing{Tenants: p.store, Apps: apps, Directories: directories, Keys: keys, Repositories: repositories},
		&activities.Importing{Tenants: p.store, People: p.store, Directories: directories},
		&activities.Settling{Conflicts: p.store, Scheduler: p.temporal},
		&activities.Leaving{Tenants: p.store, Leavers: p.store},
		&activities.BackingUp{Tenants: p.store, Runs: p.store, Apps: apps, Keys: keys, Repositories: repositories},
		&activities.Restoring{Tenants: p.store, People: p.store, Keys: keys, Repositories: reading, Destinations: folders{}},
		&activities.KeyKeeping{Tenants: p.store, Keys: keys, Connectors: p.store, Repositories: repositories},
		&activities.Enrolling{Tenants: p.store, Enrolments: p.store},
		&activities.Tokening{Tenants: p.store, Tokens: p.store},
		&activities.Alerting{Alerts: p.store, Notifier: notify.NewLog(p.log)},
		&activities.Scheduling{Tenants: p.store, Scheduler: p.temporal},
	} {
		w.RegisterActivity(a)
	}
	return func() error { return errors.Join(m365.Close(), people.Close(), kms.Close()) }
}

// newCustodian keeps keys by both methods. Every release is written into its tenant's log, signed by this worker.
func (p *parts) newCustodian(kms *vault.Transit) *custody.Custodian {
	log := p.log.Named("key")
	return custody.New(custody.Options{
		Records: p.store, Receipts: ledger.New(p.store, p.identity), Signer: p.identity, Log: log,
		Holders: map[backup.KeyMethod]custody.Holder{
			backup.KeyByConnector: connector.NewBroker(p.store, *p.identity, connector.BrokerOptions{Log: log}),
			backup.KeyByKMS:       kms,
		},
	})
}

// localUser is the principal of whoever runs `holdfastd dev`.
func localUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username + "@localhost"
	}
	return "admin@localhost"
}
