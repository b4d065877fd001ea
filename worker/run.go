package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/workflows"
)

const (
	// drainTime is what activities may take to end after a stop signal: backups and restores stop at once, save what they have, and
	// another worker goes on.
	drainTime = 20 * time.Second
	// activitySlots bound memory: each open repository takes some 200 MB at its peak.
	activitySlots = 8
	workflowSlots = 100
)

// workerInterceptors are none, but in a build with faults.
var workerInterceptors []interceptor.WorkerInterceptor

func newRun() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a Temporal worker; any number of them share the work",
		Example: `  TEMPORAL_ADDRESS=temporal.example:7233 holdfastd run --state /var/lib/holdfast
  holdfastd run --store sqlite:///srv/holdfast/holdfast.db --repositories /srv/backups
  holdfastd run --store 'postgres://holdfast@db.example/holdfast?passwordFile=/etc/holdfast/db-password'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runWorker(cmd.Context(), s) },
	}
	s.stateFlags(cmd)
	s.storeFlags(cmd)
	s.temporalFlags(cmd)
	s.workerFlags(cmd)
	return cmd
}

func runWorker(ctx context.Context, s settings) error {
	if err := s.complete(); err != nil {
		return err
	}
	log, err := s.newLogger()
	if err != nil {
		return err
	}
	p, err := s.open(ctx, log)
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
	if err := p.temporal.CheckNamespace(ctx, false); err != nil {
		return err
	}
	return p.work(ctx, nil)
}

// work polls until ctx ends, then lets what is under way come to an end in order. ready is closed when polling has begun. A worker that
// cannot poll any more (its namespace is gone, its server too new) ends with an error, so that whoever runs it notices.
func (p *parts) work(ctx context.Context, ready chan<- struct{}) error {
	fatal := make(chan error, 1)
	w := worker.New(p.temporal.Temporal(), workflows.TaskQueue, worker.Options{
		WorkerStopTimeout:                      drainTime,
		MaxConcurrentActivityExecutionSize:     activitySlots,
		MaxConcurrentWorkflowTaskExecutionSize: workflowSlots,
		OnFatalError:                           func(err error) { fatal <- err }, // called once
		Interceptors:                           workerInterceptors,
	})
	release := p.register(w)
	defer func() { _ = release() }() // the process ends, and its connections with it
	if err := w.Start(); err != nil {
		return err
	}
	p.log.Info("worker is polling", zap.String("taskQueue", workflows.TaskQueue), zap.String("namespace", p.temporal.Namespace()), zap.String("identity", p.identity.Short()))
	if ready != nil {
		close(ready)
	}
	var err error
	select {
	case err = <-fatal:
		err = fmt.Errorf("the worker cannot go on: %w", err)
	case <-ctx.Done():
	}
	p.log.Info("worker is stopping")
	w.Stop()
	return err
}
