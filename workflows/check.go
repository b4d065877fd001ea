package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
)

// CheckSystem probes one configured system and says what to fix. It does not fail: that the question could not be answered is
// an answer, too.
func CheckSystem(ctx workflow.Context, in CheckSystemInput) (*CheckSystemResult, error) {
	probe := activities.CheckInput{Tenant: in.Tenant, App: in.App, System: string(in.System)}
	v, err := speaker{in.Tenant.ID}.probe(asking, "Check the "+string(in.System), (*activities.Probing)(nil).CheckSystem, probe)(ctx)
	if err != nil {
		return nil, err
	}
	return &CheckSystemResult{Verdict: v}, nil
}
