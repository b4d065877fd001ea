package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// startedRun is what `backup run --json` prints.
type startedRun struct {
	Tenant     string      `json:"tenant"`
	WorkflowID string      `json:"workflowID"`
	Started    bool        `json:"started"` // false: one was under way already
	Run        *backup.Run `json:"run,omitempty"`
}

func newBackupRun(p *program) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "run TENANT", Short: "Back up now, unless a backup is under way",
		Example: `  holdfast backup run acme
  holdfast backup run acme --wait         # exit code 8 when some accounts failed, 1 when all did
  holdfast backup run acme --wait --json | jq .run.counts`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runBackupRun(cmd.Context(), p, args[0], wait) },
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end, with progress")
	return cmd
}

func runBackupRun(ctx context.Context, p *program, tenant string, wait bool) error {
	return p.withFlows(ctx, func(c flows, _ settings) error {
		id, started, err := c.TriggerBackup(ctx, tenant, app)
		if err != nil {
			return err
		}
		result := startedRun{Tenant: tenant, WorkflowID: id, Started: started}
		if wait {
			return p.withReader(func(r reader) error { return p.awaitRun(ctx, c, r, result) })
		}
		if p.json {
			return p.emit(result)
		}
		p.say("%s", startedText(started, tenant))
		p.next("holdfast backup list " + clean(tenant))
		return nil
	})
}

func startedText(started bool, tenant string) string {
	if started {
		return "A backup of " + clean(tenant) + " has started."
	}
	return "A backup of " + clean(tenant) + " is under way already."
}

// awaitRun follows a run to its end and tells it.
func (p *program) awaitRun(ctx context.Context, c flows, r reader, result startedRun) error {
	p.progress("%s", startedText(result.Started, result.Tenant))
	watch := &runWatch{reader: r, tenant: result.Tenant, workflowID: result.WorkflowID, began: p.now(), now: p.now}
	var end orchestrator.BackupResult
	err := p.during(ctx, "starting", func(ctx context.Context) (err error) {
		end, err = c.WaitBackup(ctx, result.WorkflowID)
		return err
	}, watch.look)
	if err != nil && end.Number == 0 {
		return ranInto(err)
	}
	report, readErr := r.Run(ctx, result.Tenant, end.Number)
	if readErr != nil {
		return readErr
	}
	result.Run = &report.Run
	if p.json {
		if err := p.emit(result); err != nil {
			return err
		}
	} else {
		p.sayRun(report.Run)
		p.sayFailedParts(report.Parts)
	}
	if err != nil {
		return ranInto(err)
	}
	return runOutcome(report.Run.Outcome)
}

// ranInto tells a run that failed from one that could not be waited for: interrupted, or nobody answers.
func ranInto(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, orchestrator.ErrUnreachable) || errors.Is(err, orchestrator.ErrNoAnswer) {
		return err
	}
	return &failed{err}
}

// runWatch reads how far a run is. The gateway counts the parts of a run that goes on.
type runWatch struct {
	reader             reader
	tenant, workflowID string
	began              time.Time
	now                func() time.Time
}

// look is a line of progress; it is empty while nothing is known, and when the gateway does not answer, which is no reason to stop.
func (w *runWatch) look(ctx context.Context) string {
	page, err := w.reader.Runs(ctx, w.tenant, 10)
	if err != nil {
		return ""
	}
	i := slices.IndexFunc(page.Runs, func(r backup.Run) bool { return r.WorkflowID == w.workflowID })
	if i < 0 {
		return ""
	}
	run := page.Runs[i]
	text := fmt.Sprintf("run %d: %s", run.Number, progressText(run))
	if left, ok := remaining(run, w.now().Sub(w.began)); ok {
		text += ", about " + about(left) + " left"
	}
	return text
}

// remaining guesses from the parts that ended so far; the first few say nothing.
func remaining(r backup.Run, elapsed time.Duration) (time.Duration, bool) {
	ended := r.Done + r.Failed + r.NoService
	if ended < 3 || ended >= r.Parts {
		return 0, false
	}
	return elapsed * time.Duration(r.Parts-ended) / time.Duration(ended), true
}
