package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// Register makes the workflows known under the names of names.go, to a worker or to a replayer.
//
// What ends within hours stays with the build that began it, so its code may change freely. What waits for weeks moves on to
// newer builds, so its changes are patched (workflow.GetVersion) and its recorded histories replayed. The behaviour is sent only
// by workers that are versioned (worker.DeploymentOptions.UseVersioning); for others it means nothing.
func Register(r worker.WorkflowRegistry) {
	for _, w := range []struct {
		name      string
		function  any
		behaviour workflow.VersioningBehavior
	}{
		{OnboardTenantName, OnboardTenant, workflow.VersioningBehaviorAutoUpgrade},
		{ProvisionKeyName, ProvisionKey, workflow.VersioningBehaviorAutoUpgrade},
		{WatchConnectorsName, WatchConnectors, workflow.VersioningBehaviorAutoUpgrade},
		{ChangeKeyName, ChangeKey, workflow.VersioningBehaviorAutoUpgrade},
		{RetireKeyLaterName, RetireKeyLater, workflow.VersioningBehaviorAutoUpgrade},
		{ShredKeyName, ShredKey, workflow.VersioningBehaviorAutoUpgrade},
		{EnrollConnectorName, EnrollConnector, workflow.VersioningBehaviorAutoUpgrade},
		{RemoveConnectorName, RemoveConnector, workflow.VersioningBehaviorPinned},
		{ChangeSCIMTokenName, ChangeSCIMToken, workflow.VersioningBehaviorPinned},
		{DrillKeyName, DrillKey, workflow.VersioningBehaviorPinned},
		{ImportPeopleName, ImportPeople, workflow.VersioningBehaviorAutoUpgrade},
		{SettleConflictsName, SettleConflicts, workflow.VersioningBehaviorAutoUpgrade},
		{ReviewLeaversName, ReviewLeavers, workflow.VersioningBehaviorAutoUpgrade},
		{BackUpAppName, BackUpApp, workflow.VersioningBehaviorPinned},
		{RestoreName, Restore, workflow.VersioningBehaviorPinned},
		{CheckSystemName, CheckSystem, workflow.VersioningBehaviorPinned},
	} {
		r.RegisterWorkflowWithOptions(w.function, workflow.RegisterOptions{Name: w.name, VersioningBehavior: w.behaviour})
	}
}
