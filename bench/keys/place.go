package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/integrations/vault"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/custody"
	"github.com/holdfast-backup/holdfast/internal/ledger"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

const (
	byConnector = "connector, with receipt"
	byVault     = "Vault, with receipt"
	rawVault    = "Vault's decrypt alone"
)

var caseNames = []string{byConnector, byVault, rawVault}

// place is a store, a gateway with a connector, and a Vault, and two tenants that have their keys by one of them each.
type place struct {
	folder    string
	cases     map[string]func(context.Context) error
	custodian *custody.Custodian
	store     *sqlstore.Store
	ca        *sandbox.CA
	worker    connector.Identity
	undo      []func()
}

func newPlace(ctx context.Context) (_ *place, err error) {
	p := &place{cases: map[string]func(context.Context) error{}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.folder, err = os.MkdirTemp("", "holdfast-keybench-"); err != nil {
		return nil, err
	}
	p.undo = append(p.undo, func() { os.RemoveAll(p.folder) })
	if p.ca, err = sandbox.NewCA("bench"); err != nil {
		return nil, err
	}
	if p.worker, err = connector.NewIdentity(); err != nil {
		return nil, err
	}
	if p.store, err = sqlstore.Open(ctx, "sqlite://"+filepath.Join(p.folder, "holdfast.db")); err != nil {
		return nil, err
	}
	p.undo = append(p.undo, func() { p.store.Close() })
	kms := vault.New(vault.Options{Secrets: readSecret, Requester: p.worker.Short()})
	p.undo = append(p.undo, func() { kms.Close() })
	p.custodian = custody.New(custody.Options{Records: p.store, Receipts: ledger.New(p.store, p.worker), Signer: p.worker,
		Holders: map[backup.KeyMethod]custody.Holder{backup.KeyByConnector: connector.NewBroker(p.store, p.worker, connector.BrokerOptions{}), backup.KeyByKMS: kms}})
	return p, errors.Join(p.connector(ctx), p.vault(ctx))
}

func (p *place) close() {
	for _, undo := range slices.Backward(p.undo) {
		undo()
	}
}

func readSecret(_ context.Context, ref backup.SecretRef) ([]byte, error) {
	return os.ReadFile(string(ref)[len("file:"):])
}

// connector starts a gateway over TLS and an agent that polls it.
func (p *place) connector(ctx context.Context) error {
	cert, err := p.ca.Issue("127.0.0.1")
	if err != nil {
		return err
	}
	g := connector.NewGateway(p.store, nobody{}, connector.GatewayOptions{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(g.ServeHTTP))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.EnableHTTP2 = true
	server.StartTLS()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	go g.Run(running)
	p.undo = append(p.undo, func() { stop(); server.CloseClientConnections(); server.Close() })

	file := filepath.Join(p.folder, "connector.key")
	identity, err := connector.CreateKeyFile(file, connector.Setup{Connector: "bench", Tenant: "by-connector", Workers: []string{p.worker.Public()}, Gateway: server.URL, GatewayCA: p.ca.PEM()})
	if err != nil {
		return err
	}
	t := backup.Tenant{ID: "by-connector", Key: backup.KeyConfig{Method: backup.KeyByConnector, Connectors: []backup.ConnectorConfig{{Name: "bench", Identity: identity}}},
		Repository: backup.RepositoryConfig{ID: "by-connector"}}
	if err := p.store.SaveTenant(ctx, t); err != nil {
		return err
	}
	keys, err := connector.OpenKeyStore(file, connector.KeyStoreOptions{})
	if err != nil {
		return err
	}
	agent, err := connector.NewAgent(connector.AgentOptions{Keys: keys, Folder: filepath.Join(p.folder, "agent")})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { agent.Run(running); close(ended) }()
	p.undo = append(p.undo, func() { stop(); <-ended; agent.Close(); keys.Close() })
	for deadline := time.Now().Add(20 * time.Second); p.custodian.Reachable(ctx, t) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("the connector does not connect")
		}
	}
	return p.admit(ctx, byConnector, t)
}

type nobody struct{}

func (nobody) ConnectorChanged(context.Context, backup.ConnectorPresence) error { return nil }
func (nobody) EnrolmentPresented(context.Context, backup.Enrolment) error       { return nil }

// vault starts one, with a transit engine.
func (p *place) vault(ctx context.Context) error {
	server, err := keyserver.Start(ctx, keyserver.Options{Folder: filepath.Join(p.folder, "vault"), CA: p.ca})
	if err != nil {
		return err
	}
	p.undo = append(p.undo, server.Stop)
	token := filepath.Join(p.folder, "token")
	err = errors.Join(os.WriteFile(token, []byte(server.RootToken), 0o600), server.Put(ctx, "sys/mounts/transit", map[string]any{"type": "transit"}, nil))
	if err != nil {
		return err
	}
	login := backup.VaultLogin{Method: backup.LoginByToken, Token: backup.SecretRef("file:" + token)}
	t := backup.Tenant{ID: "by-vault", Repository: backup.RepositoryConfig{ID: "by-vault"},
		Key: backup.KeyConfig{Method: backup.KeyByKMS, KMS: &backup.KMSConfig{Address: server.Address, CAFile: server.CAFile, Login: login, Provisioning: &login}}}
	if err := p.store.SaveTenant(ctx, t); err != nil {
		return err
	}
	if err := p.admit(ctx, byVault, t); err != nil {
		return err
	}
	keys, err := p.store.EKeys(ctx, t.ID)
	if err != nil {
		return err
	}
	bound := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("holdfast ekey v1\x00%s\x00%s\x00%d", t.ID, t.ID, 1)))
	client, err := newDecrypter(server, "t-"+t.ID, map[string]string{"ciphertext": keys[0].Wrapped, "context": bound})
	p.cases[rawVault] = client
	return err
}

// admit makes the tenant's key, activates it, and makes its releases a case.
func (p *place) admit(ctx context.Context, name string, t backup.Tenant) error {
	use := backup.KeyUse{Tenant: t.ID, Purpose: backup.PurposeProvision, WorkflowID: "bench", RunID: "bench", Attempt: 1}
	k, err := p.custodian.Ensure(ctx, t, use)
	if err != nil {
		return err
	}
	use.Generation = k.Generation
	lease, err := p.custodian.Obtain(ctx, t, use)
	if err != nil {
		return err
	}
	lease.Close()
	use.Generation, use.Purpose = 0, backup.PurposeBackup
	p.cases[name] = func(ctx context.Context) error {
		lease, err := p.custodian.Obtain(ctx, t, use)
		if err == nil {
			lease.Close()
		}
		return err
	}
	return p.custodian.Activate(ctx, t, k.Generation, time.Now(), time.Hour)
}

// opening is how long a repository takes to open, in milliseconds; the median of 15.
func (p *place) opening(ctx context.Context) (float64, error) {
	const password = "a password as long as a derived one, which is 64 letters long..."
	r := kopia.New(kopia.Options{Root: filepath.Join(p.folder, "repositories")})
	t := backup.Tenant{ID: "bench", Repository: backup.RepositoryConfig{ID: "bench"}}
	if err := os.Mkdir(filepath.Join(p.folder, "repositories"), 0o700); err != nil {
		return 0, err
	}
	if _, err := r.EnsureRepository(ctx, t, password); err != nil {
		return 0, err
	}
	var took []time.Duration
	for range 15 {
		began := time.Now()
		opened, err := r.OpenRepository(ctx, t, password)
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
		if err := opened.Close(ctx); err != nil {
			return 0, err
		}
	}
	slices.Sort(took)
	return ms(took[len(took)/2]), nil
}
