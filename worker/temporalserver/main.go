// Command temporalserver is the Temporal service that `holdfastd dev` starts: frontend, history, matching, the system
// worker and the Web UI in one process, with everything in one SQLite file.
//
// It is a module of its own, so that the application does not carry the server's dependencies. The flags are an interface between
// two of our programs and not for people: it prints one line of JSON when it is ready, and ends on SIGTERM or when its standard
// input closes, so that it never outlives the process that started it, not even one that was killed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

type options struct {
	ip        string
	port      int
	uiPort    int
	codec     string
	database  string
	namespace string
	retention time.Duration
	metrics   int
	logLevel  string
}

func main() {
	var o options
	flag.StringVar(&o.ip, "ip", "127.0.0.1", "address to listen on")
	flag.IntVar(&o.port, "port", 0, "gRPC port (0: any free one)")
	flag.IntVar(&o.uiPort, "ui-port", 0, "Web UI port (0: any free one, -1: none)")
	flag.StringVar(&o.codec, "codec", "", "endpoint by which the Web UI decodes values (empty: none)")
	flag.StringVar(&o.database, "db", "", "SQLite file (empty: memory)")
	flag.StringVar(&o.namespace, "namespace", "default", "namespace that is made at start")
	flag.DurationVar(&o.retention, "retention", 30*24*time.Hour, "how long closed workflows are kept")
	flag.IntVar(&o.metrics, "metrics-port", 0, "Prometheus port (0: none)")
	flag.StringVar(&o.logLevel, "log-level", "error", "debug, info, warn or error")
	flag.Parse()
	syscall.Umask(0o077) // what the database holds is for its owner alone

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // returns when the parent is gone
		cancel()
	}()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "temporalserver:", err)
		os.Exit(1)
	}
}

// run starts server and Web UI, reports them ready and waits for the end.
func run(ctx context.Context, o options) error {
	if err := o.choosePorts(); err != nil {
		return err
	}
	conf, err := o.serverConfig()
	if err != nil {
		return err
	}
	server, err := temporal.NewServer(
		temporal.WithConfig(conf),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(staticHosts(conf)),
		temporal.WithLogger(log.NewZapLogger(log.BuildZapLogger(log.Config{Level: o.logLevel, Format: "json"}))),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
		temporal.WithDynamicConfigClient(dynamicSettings()),
	)
	if err != nil {
		return fmt.Errorf("build the server: %w", err)
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer server.Stop()
	if o.uiPort > 0 {
		ui := o.webUI()
		go func() { _ = ui.Start() }()
		defer ui.Stop()
	}
	if err := o.awaitNamespace(ctx); err != nil {
		return err
	}
	ready := map[string]string{"address": o.address(o.port), "namespace": o.namespace}
	if o.uiPort > 0 {
		ready["webUI"] = "http://" + o.address(o.uiPort)
	}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (o *options) choosePorts() (err error) {
	if o.port == 0 {
		if o.port, err = freePort(o.ip); err != nil {
			return err
		}
	}
	if o.uiPort == 0 {
		o.uiPort, err = freePort(o.ip)
	}
	return err
}

func (o options) address(port int) string { return net.JoinHostPort(o.ip, strconv.Itoa(port)) }

func (o options) webUI() *uiserver.Server {
	return uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		Host: o.ip, Port: o.uiPort, TemporalGRPCAddress: o.address(o.port), EnableUI: true, DefaultNamespace: o.namespace,
		Codec: uiconfig.Codec{Endpoint: o.codec, DefaultErrorMessage: "The values cannot be decoded: is holdfastd dev running?"},
		CORS:  uiconfig.CORS{CookieInsecure: true}, HideLogs: true, DisableNewsFetch: true, Distribution: "server",
	}))
}

// awaitNamespace returns when a client can use the namespace: the frontend answers and its namespace cache knows it.
func (o options) awaitNamespace(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := client.NewLazyClient(client.Options{HostPort: o.address(o.port), Namespace: o.namespace})
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		_, err := c.CheckHealth(ctx, &client.CheckHealthRequest{})
		if err == nil {
			_, err = c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{})
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func staticHosts(conf *config.Config) map[primitives.ServiceName]static.Hosts {
	hosts := map[primitives.ServiceName]static.Hosts{}
	for name, service := range conf.Services {
		hosts[primitives.ServiceName(name)] = static.SingleLocalHost(net.JoinHostPort(service.RPC.BindOnIP, strconv.Itoa(service.RPC.GRPCPort)))
	}
	return hosts
}

// freePort draws a port that nobody listens on, from below the range that kernels give to outgoing connections: one from that range is
// easily taken before the server comes to listen on it.
func freePort(ip string) (int, error) {
	const lowest, highest, tries = 10_000, 30_000, 100
	var err error
	for range tries {
		port := lowest + rand.IntN(highest-lowest)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
