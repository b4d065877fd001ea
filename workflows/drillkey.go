package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// How a drill can end, as the outcome attribute says it.
const (
	drillPassed = "passed"
	drillFailed = "failed"
)

// DrillKey asks every source of a tenant's key to prove that it holds the right one. A source that cannot is alerted and is a result;
// only a drill that could not be made is a failure.
func DrillKey(ctx workflow.Context, in DrillKeyInput) (*DrillKeyResult, error) {
	s := speaker{in.Tenant}
	var drill backup.KeyDrill
	calls := calling(ctx, keeping, in.Tenant, "Ask every source of the key for proof")
	err := workflow.ExecuteActivity(calls, (*activities.KeyKeeping)(nil).DrillKey, describe(in.Tenant, "")).Get(calls, &drill)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		v := VerdictOf(err)
		showDrill(ctx, drillFailed, fmt.Sprintf("The drill of %s could not be made: %s\n", plain(in.Tenant), plain(v.Detail)))
		if v.Code == backup.CodeDestroyed { // nobody fears the loss of a key that was shredded
			return nil, failure(v)
		}
		s.raise(ctx, backup.Alert{Kind: backup.AlertKeyDrill, Subject: backup.TaskKey, Message: "the loss drill could not be made: " + v.Detail, Hint: v.Hint})
		return nil, failure(v)
	}
	s.resolve(ctx, backup.AlertKeyDrill, backup.TaskKey)
	for _, p := range drill.Proofs {
		s.tellProof(ctx, p)
	}
	outcome := drillPassed
	if !drill.OK {
		outcome = drillFailed
	}
	showDrill(ctx, outcome, drillPage(drill))
	return &DrillKeyResult{Drill: drill}, nil
}

// tellProof raises or resolves the alert of one source.
func (s speaker) tellProof(ctx workflow.Context, p backup.KeyProof) {
	if p.OK {
		s.resolve(ctx, backup.AlertKeyDrill, p.Holder)
		return
	}
	hint := p.Hint
	if hint == "" {
		hint = "mend this holder while another still has the key; then holdfast key drill " + s.tenant
	}
	s.raise(ctx, backup.Alert{Kind: backup.AlertKeyDrill, Subject: p.Holder,
		Message: fmt.Sprintf("%s did not prove that it holds generation %d of the key: %s", p.Holder, p.Generation, p.Detail), Hint: hint})
}

func showDrill(ctx workflow.Context, outcome, page string) {
	if err := workflow.UpsertTypedSearchAttributes(ctx, OutcomeAttribute.ValueSet(outcome)); err != nil {
		workflow.GetLogger(ctx).Warn("cannot set search attributes", "error", err)
	}
	workflow.SetCurrentDetails(ctx, page)
}

func drillPage(d backup.KeyDrill) string {
	var page strings.Builder
	say(&page, "### Loss drill of generation %d of the key of %s\n\n", d.Generation, plain(d.Tenant))
	for _, p := range d.Proofs {
		mark := " "
		if p.OK {
			mark = "x"
		}
		say(&page, "- [%s] %s — %s\n", mark, plain(p.Holder), plain(p.Detail))
	}
	return page.String()
}
