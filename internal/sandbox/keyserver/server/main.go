// Command keyserver is a small OpenBao for tests and the demo: the real core behind the real HTTP API, with the transit and key-value
// secrets engines and the AppRole, Kubernetes and token logins. It speaks the API of HashiCorp Vault.
//
// It is a module of its own, so that the application carries nothing of it. As a server in production does, it starts uninitialised or
// sealed and is initialised, unsealed and sealed over its API. The flags are an interface between two of our programs and not for
// people: it prints one line of JSON when it listens, and ends on SIGTERM or when its standard input closes, so that it never outlives
// the process that started it, not even one that was killed.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/openbao/openbao/builtin/credential/approle"
	kubeauth "github.com/openbao/openbao/builtin/credential/kubernetes"
	"github.com/openbao/openbao/builtin/logical/kv"
	"github.com/openbao/openbao/builtin/logical/transit"
	"github.com/openbao/openbao/command/server"
	baohttp "github.com/openbao/openbao/http"
	"github.com/openbao/openbao/internalshared/configutil"
	"github.com/openbao/openbao/sdk/v2/helper/consts"
	"github.com/openbao/openbao/sdk/v2/logical"
	"github.com/openbao/openbao/sdk/v2/physical"
	"github.com/openbao/openbao/sdk/v2/physical/file"
	"github.com/openbao/openbao/sdk/v2/physical/inmem"
	"github.com/openbao/openbao/vault"
)

type options struct {
	address, storage string
	cert, key        string
	standby          bool
}

func main() {
	var o options
	flag.StringVar(&o.address, "addr", "", "host:port to listen on")
	flag.StringVar(&o.storage, "storage", "", "folder of the encrypted storage")
	flag.StringVar(&o.cert, "tls-cert", "", "PEM file of the server's certificate")
	flag.StringVar(&o.key, "tls-key", "", "PEM file of its private key")
	flag.BoolVar(&o.standby, "standby", false, "be a standby whose active node is not there")
	flag.Parse()
	syscall.Umask(0o077) // what the storage holds is for its owner alone

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // returns when the parent is gone
		cancel()
	}()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "keyserver:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, o options) error {
	listener := &configutil.Listener{Type: "tcp", Address: o.address, MaxRequestSize: 1 << 20, MaxRequestDuration: 30 * time.Second}
	core, err := o.core(listener)
	if err != nil {
		return err
	}
	defer func() { _ = core.Shutdown() }()
	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return err
	}
	socket, err := tls.Listen("tcp", o.address, &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil {
		return err
	}
	web := &http.Server{
		Handler:           baohttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: listener}),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(socket) }()
	defer web.Close()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": socket.Addr().String()}); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// core builds the server's core over the file storage. Without a number of expiration workers, tokens would never expire.
func (o options) core(listener *configutil.Listener) (*vault.Core, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})
	storage, err := file.NewFileBackend(map[string]string{"path": o.storage}, logger)
	if err != nil {
		return nil, err
	}
	secrets := map[string]logical.Factory{"transit": transit.Factory, "kv": kv.Factory}
	logins := map[string]logical.Factory{"approle": approle.Factory, "kubernetes": kubeauth.Factory}
	config := &vault.CoreConfig{
		Physical: storage, StorageType: "file", Logger: logger,
		RawConfig: &server.Config{
			Storage:      &server.Storage{Type: "file"},
			SharedConfig: &configutil.SharedConfig{Listeners: []*configutil.Listener{listener}},
		},
		LogicalBackends: secrets, CredentialBackends: logins,
		BuiltinRegistry: builtins{consts.PluginTypeSecrets: secrets, consts.PluginTypeCredential: logins},
		DefaultLeaseTTL: time.Hour, MaxLeaseTTL: 32 * 24 * time.Hour,
		NumRollbackWorkers: 2, NumExpirationWorkers: 16,
	}
	if o.standby {
		config.RedirectAddr = "https://" + o.address
		if config.HAPhysical, err = lockedByAnother(logger); err != nil {
			return nil, err
		}
	}
	return vault.NewCore(config)
}

// lockedByAnother is the lock of a cluster whose active node holds it and tells nobody its address: what a standby sees when the
// active node has just died.
func lockedByAnother(logger hclog.Logger) (physical.HABackend, error) {
	cluster, err := inmem.NewInmemHA(nil, logger)
	if err != nil {
		return nil, err
	}
	locks := cluster.(physical.HABackend)
	lock, err := locks.LockWith(vault.CoreLockPath, "another-node")
	if err != nil {
		return nil, err
	}
	_, err = lock.Lock(nil)
	return locks, err
}

// builtins is the closed set of plugins of this server.
type builtins map[consts.PluginType]map[string]logical.Factory

func (b builtins) Contains(name string, kind consts.PluginType) bool {
	_, ok := b[kind][name]
	return ok
}

func (b builtins) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := b[kind][name]
	return func() (any, error) { return factory, nil }, ok
}

func (b builtins) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range b[kind] {
		names = append(names, name)
	}
	return names
}

func (b builtins) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, kind)
}

func (b builtins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
