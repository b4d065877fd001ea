package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
	"google.golang.org/protobuf/types/known/durationpb"
)

const clusterName = "active"

// dynamicSettings are what a server for one machine wants different from a cluster's defaults.
func dynamicSettings() dynamicconfig.StaticClient {
	return dynamicconfig.StaticClient{
		// A queue reader polls 20 times a second by default, so every workflow task of an idle server waits some 50 ms.
		dynamicconfig.TransferProcessorMaxPollRPS.Key(): 1000,
		dynamicconfig.TimerProcessorMaxPollRPS.Key():    1000,
		// Priority and fairness are exact in one partition and approximate in four.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
		dynamicconfig.MatchingEnableFairness.Key():              true,
		dynamicconfig.WorkflowPauseEnabled.Key():                true,
		// The command line asks visibility often while it shows progress.
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 200,
	}
}

// serverConfig describes a cluster of one: every service on loopback, archival off, one history shard.
func (o options) serverConfig() (*config.Config, error) {
	httpPort, err := freePort(o.ip)
	if err != nil {
		return nil, err
	}
	c := &config.Config{}
	c.Global.Membership.MaxJoinDuration = 30 * time.Second
	c.Global.Membership.BroadcastAddress = o.ip
	if o.metrics != 0 {
		c.Global.Metrics = &metrics.Config{Prometheus: &metrics.PrometheusConfig{ListenAddress: o.address(o.metrics), HandlerPath: "/metrics"}}
	}
	c.ClusterMetadata = &cluster.Config{
		FailoverVersionIncrement: 10, MasterClusterName: clusterName, CurrentClusterName: clusterName,
		ClusterInformation: map[string]cluster.ClusterInformation{clusterName: {
			Enabled: true, InitialFailoverVersion: 1, RPCAddress: o.address(o.port), HTTPAddress: o.address(httpPort),
			// The id stands in the database: it must be the same at every start.
			ClusterID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(o.database)).String(),
		}},
	}
	c.DCRedirectionPolicy.Policy = "noop"
	c.PublicClient.HostPort = o.address(o.port)
	for _, state := range []*string{&c.Archival.History.State, &c.Archival.Visibility.State,
		&c.NamespaceDefaults.Archival.History.State, &c.NamespaceDefaults.Archival.Visibility.State} {
		*state = "disabled"
	}
	if c.Services, err = o.services(httpPort); err != nil {
		return nil, err
	}
	c.Persistence.NumHistoryShards = 1
	return c, o.persistence(&c.Persistence)
}

func (o options) services(httpPort int) (map[string]config.Service, error) {
	services := map[string]config.Service{}
	for _, name := range temporal.DefaultServices {
		rpc := config.RPC{BindOnIP: o.ip}
		if name == string(primitives.FrontendService) {
			rpc.GRPCPort, rpc.HTTPPort = o.port, httpPort
		} else {
			port, err := freePort(o.ip)
			if err != nil {
				return nil, err
			}
			rpc.GRPCPort = port
		}
		services[name] = config.Service{RPC: rpc}
	}
	return services, nil
}

// persistence points both stores at one SQLite database in WAL mode, with its schema and namespace in place.
func (o options) persistence(p *config.Persistence) error {
	db := &config.SQL{PluginName: sqlite.PluginName}
	if o.database == "" {
		db.DatabaseName, db.ConnectAttributes = uuid.NewString(), map[string]string{"mode": "memory", "cache": "shared"}
	} else {
		db.DatabaseName = o.database
		db.ConnectAttributes = map[string]string{"mode": "rwc", "busy_timeout": "10000", "journal_mode": "wal", "synchronous": "normal"}
		if err := o.ensureSchema(db); err != nil {
			return err
		}
	}
	p.DefaultStore, p.VisibilityStore = "sqlite", "sqlite"
	p.DataStores = map[string]config.DataStore{"sqlite": {SQL: db}}
	namespace, err := sqliteschema.NewNamespaceConfig(clusterName, o.namespace, false, nil)
	if err != nil {
		return err
	}
	namespace.Detail.Config.Retention = durationpb.New(o.retention)
	return sqliteschema.CreateNamespaces(db, namespace)
}

// ensureSchema makes a database that is not there. It is made under another name first: a process killed in the middle of
// the schema leaves nothing that looks like a database.
func (o options) ensureSchema(db *config.SQL) error {
	if _, err := os.Stat(o.database); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.database), 0o700); err != nil {
		return err
	}
	made := o.database + ".new"
	_ = os.Remove(made)
	fresh := *db
	fresh.DatabaseName = made
	fresh.ConnectAttributes = map[string]string{"mode": "rwc", "journal_mode": "delete"}
	if err := sqliteschema.SetupSchema(&fresh); err != nil {
		return fmt.Errorf("make the schema of %s: %w", o.database, err)
	}
	return os.Rename(made, o.database)
}
