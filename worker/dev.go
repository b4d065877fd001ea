package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/converter"
	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

func newDev() *cobra.Command {
	var s settings
	var ports struct{ temporal, ui int }
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: Temporal, its Web UI, the store, the gateway and the worker",
		Long: `Run everything on this machine in one process tree, with everything in one folder. It goes on where it stopped when it is
started again, however it was ended.

When TEMPORAL_ADDRESS is set, or TEMPORAL_PROFILE or TEMPORAL_CONFIG_FILE leads to an address, that server is used and none is
started. The user who runs 'dev' is a cloud-admin of every tenant.
The command line ('holdfast') finds this Holdfast by the file client.json in the same folder.`,
		Example: `  holdfastd dev
  holdfastd dev --state ./state --listen 127.0.0.1:0
  TEMPORAL_ADDRESS=127.0.0.1:7233 holdfastd dev`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), s, ports.temporal, ports.ui) },
	}
	s.stateFlags(cmd)
	s.storeFlags(cmd)
	s.temporalFlags(cmd)
	s.workerFlags(cmd)
	s.gatewayFlags(cmd, "127.0.0.1:8443")
	cmd.Flags().IntVar(&ports.temporal, "temporal-port", 7233, "Temporal's gRPC port (0: any free one)")
	cmd.Flags().IntVar(&ports.ui, "ui-port", 8233, "port of Temporal's Web UI (0: any free one)")
	return cmd
}

func runDev(ctx context.Context, s settings, temporalPort, uiPort int) error {
	makeFilesPrivate()
	if err := s.complete(); err != nil {
		return err
	}
	log, err := s.newLogger()
	if err != nil {
		return err
	}
	unlock, err := lockState(s.State)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := s.open(ctx, log)
	if err != nil {
		return err
	}
	defer p.close()
	user := localUser()
	p.local = []backup.Principal{{Name: user, Role: backup.CloudAdmin}}

	if err := s.ensurePayloadKeys(); err != nil {
		return err
	}
	codec, err := s.openCodec(ctx)
	if err != nil {
		return err
	}
	profile, stopTemporal, err := startTemporal(ctx, s, log, codec, temporalPort, uiPort)
	if err != nil {
		return err
	}
	defer stopTemporal()
	if p.temporal, err = orchestrator.Dial(ctx, orchestrator.Options{Profile: profile, Codec: codec, Logger: sdkLogger(log)}); err != nil {
		return err
	}
	if err := p.temporal.CheckNamespace(ctx, true); err != nil {
		return err
	}
	g, err := p.newGateway(codec)
	if err != nil {
		return err
	}
	profile.Gateway, profile.CAFile, profile.TokenFile, profile.User = g.url(), s.Certificate, s.Token, user
	if strings.HasPrefix(s.PayloadKeys, "file:") { // other references may mean nothing to a command line
		profile.PayloadKeys = backup.SecretRef(s.PayloadKeys)
	}
	return p.runTogether(ctx, g, func() error { return writeProfile(s, profile) })
}

// startTemporal starts the server, unless the environment names one. The profile says where it is. Its Web UI shows decoded values.
func startTemporal(ctx context.Context, s settings, log *zap.Logger, codec converter.PayloadCodec, port, uiPort int) (readapi.Profile, func(), error) {
	if named, err := namedTemporal(); err != nil || named.TemporalAddress != "" {
		return named, func() {}, err
	}
	file, err := os.OpenFile(filepath.Join(s.State, temporalLogFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return readapi.Profile{}, nil, err
	}
	local, err := startLocalCodec(codec)
	if err != nil {
		return readapi.Profile{}, nil, errors.Join(err, file.Close())
	}
	server, err := devserver.Start(ctx, devserver.Options{Database: filepath.Join(s.State, temporalFile), Port: port, UIPort: uiPort, Codec: local.endpoint, Log: file})
	if err != nil {
		local.close()
		return readapi.Profile{}, nil, errors.Join(&backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultOurs, Message: "Temporal did not start", Hint: "is the port in use? --temporal-port 0 --ui-port 0 take free ones; see " + file.Name(), Cause: err}, file.Close())
	}
	local.allow(server.WebUI)
	log.Info("Temporal is up", zap.String("address", server.Address), zap.String("webUI", server.WebUI))
	ctx, stopping := context.WithCancel(ctx)
	go func() {
		<-server.Exited()
		if ctx.Err() == nil {
			log.Error("Temporal ended by itself; everything waits until holdfastd dev is started again", zap.String("log", file.Name()))
		}
	}()
	return readapi.Profile{TemporalAddress: server.Address, TemporalNamespace: server.Namespace, WebUI: server.WebUI},
		func() { stopping(); server.Stop(); local.close(); file.Close() }, nil
}

// namedTemporal is the server that TEMPORAL_* or a profile file that it asks for names, by the same rules by which Dial goes there;
// without an address when there is none.
func namedTemporal() (readapi.Profile, error) {
	const own = "our.own:0"
	found, err := orchestrator.Options{Profile: readapi.Profile{TemporalAddress: own}}.ClientOptions()
	if err != nil || found.HostPort == own {
		return readapi.Profile{}, err
	}
	return readapi.Profile{TemporalAddress: found.HostPort, TemporalNamespace: found.Namespace}, nil
}

// runTogether runs gateway and worker until ctx ends or one of them fails. ready is called when both are up.
func (p *parts) runTogether(ctx context.Context, g *gateway, ready func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	polling := make(chan struct{})
	ended := make(chan error, 2)
	go func() { ended <- g.serve(ctx) }()
	go func() { ended <- p.work(ctx, polling) }()
	var err error
	select {
	case <-polling:
		err = ready()
		if err == nil {
			p.log.Info("ready", zap.String("gateway", g.url()), zap.String("state", p.settings.State))
			err = <-ended
		} else {
			cancel()
			err = errors.Join(err, <-ended)
		}
	case err = <-ended:
	}
	cancel()
	return errors.Join(err, <-ended)
}

// writeProfile tells the command line on this machine where everything is.
func writeProfile(s settings, profile readapi.Profile) error {
	b, err := json.MarshalIndent(profile, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(s.State, clientFile), append(b, '\n'), 0o600)
}

// lockState makes sure that one `dev` at a time works in a folder: two would fight over Temporal's database. A dev that was killed
// leaves no lock, and its Temporal ends by itself, which this waits for.
func lockState(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "dev.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(100 * time.Millisecond) {
		if err = tryLock(f); err == nil {
			return func() { f.Close() }, nil
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: fmt.Sprintf("another holdfastd dev works in %s", dir), Hint: "stop it, or give another folder with --state", Cause: err}
		}
	}
}

// lockWait covers the end of a dev that was just asked to stop.
const lockWait = 5 * time.Second
