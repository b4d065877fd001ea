package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newBackup(p *program) *cobra.Command {
	return newGroup("backup", "Run backups and see how they went", newBackupRun(p), newBackupList(p), newBackupShow(p), newBackupPause(p), newBackupResume(p))
}

// runLine is one run on one line.
func (p *program) runLine(r backup.Run) string {
	return fmt.Sprintf("run %d %s, %s: %s", r.Number, p.outcomeWord(r.Outcome), p.when(r.Started), progressText(r))
}

func (p *program) outcomeWord(o backup.RunOutcome) string {
	colours := map[backup.RunOutcome]string{backup.RunComplete: green, backup.RunPartial: yellow, backup.RunFailed: red}
	return p.colour(colours[o], string(o))
}

// progressText counts account services: one mailbox or one drive each.
func progressText(r backup.Run) string {
	text := fmt.Sprintf("%d of %d done", r.Done+r.NoService, r.Parts)
	if r.Failed > 0 {
		text += fmt.Sprintf(", %d failed", r.Failed)
	}
	if r.Counts.Bytes > 0 {
		text += ", " + size(r.Counts.Bytes)
	}
	return text
}

// sayRun tells a run's end, with the counts that prove it.
func (p *program) sayRun(r backup.Run) {
	p.say("Run %d of %s: %s.", r.Number, clean(r.Tenant), p.outcomeWord(r.Outcome))
	p.say("  started     %s", p.when(r.Started))
	if !r.Ended.IsZero() {
		p.say("  took        %s", about(r.Ended.Sub(r.Started)))
	}
	p.say("  services    %d: %d done, %d failed, %d not there", r.Parts, r.Done, r.Failed, r.NoService)
	c := r.Counts
	p.say("  items       %d listed = %d stored + %d unchanged + %d skipped + %d gone", c.Listed, c.Stored, c.Unchanged, c.Skipped, c.Gone)
	p.say("  read        %s in %d calls", size(c.Bytes), c.APICalls)
	if c.Resyncs > 0 {
		p.say("  listed anew %d times, because the vendor's change token had expired", c.Resyncs)
	}
	if r.Detail != "" {
		p.say("  because     %s", clean(r.Detail))
	}
}

// runOutcome is how a run's end becomes the program's.
func runOutcome(o backup.RunOutcome) error {
	switch o {
	case backup.RunPartial:
		return outcome(exitPartial)
	case backup.RunFailed:
		return outcome(exitFailed)
	}
	return nil
}
