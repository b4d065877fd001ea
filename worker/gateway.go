package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/converter"
	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/scim"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// gatewayDrain is what calls under way may take after a stop signal; long polls end at once.
const gatewayDrain = 10 * time.Second

func newGatewayCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Serve connectors and the read API over HTTPS; any number of gateways may run",
		Example: `  holdfastd gateway --state /var/lib/holdfast --listen 0.0.0.0:8443
  holdfastd gateway --certificate /etc/tls/gateway.pem --certificate-key /etc/tls/gateway.key`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runGateway(cmd.Context(), s) },
	}
	s.stateFlags(cmd)
	s.storeFlag(cmd)
	s.temporalFlags(cmd)
	s.gatewayFlags(cmd, "127.0.0.1:8443")
	return cmd
}

func runGateway(ctx context.Context, s settings) error {
	if err := s.complete(); err != nil {
		return err
	}
	log, err := s.newLogger()
	if err != nil {
		return err
	}
	p, err := s.openStore(ctx, log)
	if err != nil {
		return err
	}
	defer p.close()
	codec, err := s.openCodec(ctx)
	if err != nil {
		return err
	}
	if p.temporal, err = orchestrator.Dial(ctx, orchestrator.Options{Codec: codec, Logger: sdkLogger(log)}); err != nil {
		return err
	}
	g, err := p.newGateway(codec)
	if err != nil {
		return err
	}
	return g.serve(ctx)
}

// gateway is the HTTPS server of connectors and readers.
type gateway struct {
	parts     *parts
	connector *connector.Gateway
	pushes    *pushSignals
	listener  net.Listener
	server    *http.Server
	token     string
}

// newGateway listens, but does not serve yet.
func (p *parts) newGateway(codec converter.PayloadCodec) (*gateway, error) {
	cert, err := p.settings.ensureCertificate()
	if err != nil {
		return nil, err
	}
	token, err := p.settings.ensureToken()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", p.settings.Listen)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: "the gateway cannot listen on " + p.settings.Listen, Hint: "choose another address with --listen", Cause: err}
	}
	g := &gateway{parts: p, token: token, listener: listener}
	g.connector = connector.NewGateway(p.store, presence{p.temporal}, connector.GatewayOptions{Log: p.log.Named("gateway")})
	g.pushes = newPushSignals(p.temporal.PushedPeople, p.log.Named("scim"), pushQuiet, pushLatest)
	pushed := scim.NewHandler(p.store.SCIM(), g.pushes.pushed, scim.Options{Log: p.log.Named("scim")})
	mux := http.NewServeMux()
	mux.Handle(scim.BasePath, pushed)
	mux.Handle(scim.BasePath+"/", pushed)
	mux.Handle(connector.PathPrefix, g.connector)
	(&reader{store: p.store, identity: p.identity, token: token}).routes(mux)
	people := newSessions(token)
	people.routes(mux)
	newCodecServer(codec, people.admit, p.settings.UIOrigins...).routes(mux, "/codec/")
	errorLog, err := zap.NewStdLogAt(p.log.Named("http"), zap.WarnLevel) // a panic is told here, and nowhere else
	if err != nil {
		return nil, err
	}
	g.server = &http.Server{
		Handler:           mux,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: errorLog,
	}
	g.server.RegisterOnShutdown(g.connector.Drain)
	return g, nil
}

// url is the gateway's base URL on this machine.
func (g *gateway) url() string { return "https://" + g.listener.Addr().String() }

// serve serves until ctx ends, then lets calls come to an end.
func (g *gateway) serve(ctx context.Context) error {
	g.parts.log.Info("gateway is listening", zap.String("url", g.url()))
	var sweeping sync.WaitGroup
	sweeping.Go(func() { g.connector.Run(ctx) })
	defer sweeping.Wait()
	failed := make(chan error, 1)
	go func() { failed <- g.server.ServeTLS(g.listener, "", "") }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), gatewayDrain)
	defer cancel()
	err := g.server.Shutdown(stop)
	g.pushes.drain()
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// presence turns what the gateway sees of connectors into signals.
type presence struct{ temporal *orchestrator.Client }

func (p presence) ConnectorChanged(ctx context.Context, c backup.ConnectorPresence) error {
	return p.temporal.ReportConnector(ctx, c)
}

func (p presence) EnrolmentPresented(ctx context.Context, e backup.Enrolment) error {
	return p.temporal.EnrolmentPresented(ctx, e)
}
