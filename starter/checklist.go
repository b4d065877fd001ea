package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// stateWords are a task's states as a person reads them.
var stateWords = map[backup.PrerequisiteState]struct{ word, colour string }{
	backup.Pending: {"to do", faint}, backup.Passing: {"done", green}, backup.Failing: {"looking", yellow},
	backup.Waiting: {"WAITING", yellow}, backup.Waived: {"waived", green}, backup.Failed: {"FAILED", red},
}

// checklistLine is one task on one line.
func (p *program) checklistLine(t backup.Task) string {
	w, ok := stateWords[t.State]
	if !ok {
		w.word = string(t.State)
	}
	detail := t.Detail
	if detail == "" {
		detail = t.Title
	}
	return fmt.Sprintf("  %s  %-16s %s", p.colour(w.colour, fmt.Sprintf("%-8s", w.word)), clean(t.Name), clean(detail))
}

func (p *program) sayChecklist(tasks []backup.Task) {
	for _, t := range tasks {
		p.say("%s", strings.TrimRight(p.checklistLine(t), " "))
	}
}

// sayWaiting tells what waits, why, and which commands answer it.
func (p *program) sayWaiting(tenant string, tasks []backup.Task) {
	for _, t := range tasks {
		if t.State != backup.Waiting {
			continue
		}
		p.say("%s waits: %s", clean(t.Name), clean(t.Detail))
		p.sayAnswers(tenant, t, "")
	}
}

// sayAnswers lists the commands that decide; suffix says which of several tasks of the name is meant.
func (p *program) sayAnswers(tenant string, t backup.Task, suffix string) {
	for line := range strings.Lines(t.Hint) {
		p.next(clean(strings.TrimSpace(line)))
	}
	if t.Workflow != "" && len(t.Actions) == 0 {
		return
	}
	for _, a := range t.Actions {
		p.say("      %s%s", command(tenant, t.Name, a), suffix)
	}
}

func command(tenant, task string, a backup.Action) string {
	c := fmt.Sprintf("holdfast %s %s %s", a, clean(tenant), clean(task))
	if a == backup.Waive {
		c += ` --reason "..."`
	}
	return c
}

// follow shows an onboarding's checklist until it ends, or until a task has waited for a person for p.settle. With patient it goes on
// while tasks wait. An error of the onboarding itself is in its Err.
func (p *program) follow(ctx context.Context, c flows, tenant string, patient bool) (o orchestrator.Onboarding, err error) {
	err = p.followTasks(ctx, patient, func(ctx context.Context) (running bool, tasks []backup.Task, err error) {
		o, err = c.Onboarding(ctx, tenant, app)
		return o.Running, o.Tasks, err
	})
	return o, err
}

// followTasks shows whatever checklist look finds.
func (p *program) followTasks(ctx context.Context, patient bool, look func(context.Context) (running bool, tasks []backup.Task, err error)) error {
	board := &board{program: p}
	var waitingSince time.Time
	for {
		running, tasks, err := look(ctx)
		if err != nil {
			return err
		}
		board.show(tasks)
		waits := waitsForPerson(tasks)
		switch {
		case !running:
			return nil
		case !waits || patient:
			waitingSince = time.Time{}
		case waitingSince.IsZero():
			waitingSince = p.now()
		case p.now().Sub(waitingSince) >= p.settle:
			return nil
		}
		if err := p.pause(ctx); err != nil {
			return err
		}
	}
}

func waitsForPerson(tasks []backup.Task) bool {
	return slices.ContainsFunc(tasks, func(t backup.Task) bool { return t.State == backup.Waiting })
}

// board shows a checklist that changes: redrawn in its place on a terminal, one line for each change elsewhere.
type board struct {
	*program
	shown []string
}

func (b *board) show(tasks []backup.Task) {
	lines := make([]string, len(tasks))
	for i, t := range tasks {
		lines[i] = b.checklistLine(t)
	}
	if slices.Equal(lines, b.shown) {
		return
	}
	if b.live && len(b.shown) > 0 {
		fmt.Fprintf(b.err, "\x1b[%dA", len(b.shown))
	}
	for i, l := range lines {
		changed := i >= len(b.shown) || b.shown[i] != l
		switch {
		case b.live:
			fmt.Fprintf(b.err, "\x1b[2K%s\n", l)
		case changed && tasks[i].State != backup.Pending:
			b.progress("%s", strings.TrimRight(l, " "))
		}
	}
	b.shown = lines
}
