// Package workflows is the deterministic orchestration of Holdfast: one workflow a file, its input, result and messages
// beside it. Nothing here does I/O; side effects are activities, referred to by method.
//
// Lists, files and keys never enter a history: workflows pass references, counts and cursors.
package workflows

import (
	"fmt"
	"regexp"
	"strings"

	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// TaskQueue is where all of Holdfast's workflows and activities run.
const TaskQueue = "holdfast"

// Workflow types are registered under these names, so that functions can be renamed.
const (
	OnboardTenantName   = "OnboardTenant"
	ProvisionKeyName    = "ProvisionKey"
	WatchConnectorsName = "WatchConnectors"
	ImportPeopleName    = "ImportPeople"
	BackUpAppName       = "BackUpApp"
	RestoreName         = "Restore"
	CheckSystemName     = "CheckSystem"
	ChangeKeyName       = "ChangeKey"
	ShredKeyName        = "ShredKey"
	DrillKeyName        = "DrillKey"
	EnrollConnectorName = "EnrollConnector"
	RemoveConnectorName = "RemoveConnector"
	RetireKeyLaterName  = "RetireKeyLater"
	SettleConflictsName = "SettleConflicts"
	ReviewLeaversName   = "ReviewLeavers"
)

// Messages every workflow with tasks understands.
const (
	// DecideUpdate takes a backup.Decision and returns the backup.Task as it then stands; a refusal reaches the caller.
	DecideUpdate = "decide"
	// DecideSignal takes the same payload; a refusal raises an alert.
	DecideSignal = "decide"
	// RecheckSignal asks waiting prerequisites to be checked now; it carries a short reason.
	RecheckSignal = "recheck"
	// TasksQuery returns []backup.Task: the checklist, in order.
	TasksQuery = "tasks"
	// ApplyUpdate takes an ApplyInput: the changed description of a tenant that is being onboarded, and who changed it.
	ApplyUpdate = "apply"
	// ChildTaskSignal carries a backup.Task from a child to its parent's checklist.
	ChildTaskSignal = "child-task"
	// FollowSignal carries the id of a workflow that wants to hear of a running one's tasks by ChildTaskSignal.
	FollowSignal = "follow"
)

// Messages of WatchConnectors.
const (
	// ConnectorSignal carries a ConnectorReport.
	ConnectorSignal = "connector"
	// ConnectorsQuery returns []ConnectorReport: the latest of each connector.
	ConnectorsQuery = "connectors"
	// ParkedSignal carries the id of a workflow that waits for a connector: it is told once, by RecheckSignal, when one connected.
	ParkedSignal = "parked"
	// AlarmedSignal carries the time at which a run raised Not Connected; the next word of a connector resolves it.
	AlarmedSignal = "alarmed"
)

// PresentedSignal tells EnrollConnector that its token was used; it carries an EnrolmentReport.
const PresentedSignal = "presented"

// PushedSignal tells ImportPeople that the directory has changed, or that somebody wants another import. It carries a short reason.
const PushedSignal = "pushed"

// Messages of SettleConflicts.
const (
	// SettleUpdate takes a backup.MergeDecision; a refusal reaches the caller.
	SettleUpdate = "settle"
	// SettleSignal takes the same payload; a refusal raises an alert.
	SettleSignal = "settle"
)

// Search attributes. Names and kinds are provisioned by `holdfastd dev` and checked by every worker before it polls.
var (
	TenantAttribute   = temporal.NewSearchAttributeKeyKeyword("HoldfastTenant")
	AppAttribute      = temporal.NewSearchAttributeKeyKeyword("HoldfastApp")
	StageAttribute    = temporal.NewSearchAttributeKeyKeyword("HoldfastStage")
	AwaitingAttribute = temporal.NewSearchAttributeKeyKeywordList("HoldfastAwaiting")
	OutcomeAttribute  = temporal.NewSearchAttributeKeyKeyword("HoldfastOutcome")
)

// OnboardID and the functions below build workflow ids; ParseID reads them back.
func OnboardID(tenant string, app backup.App) string {
	return fmt.Sprintf("onboard/%s/%s", tenant, app)
}

// ProvisionKeyID is one per tenant.
func ProvisionKeyID(tenant string) string { return "key/" + tenant }

// WatchConnectorsID is one per tenant.
func WatchConnectorsID(tenant string) string { return "connectors/" + tenant }

// ImportID is one per tenant and directory. What a schedule starts has the time appended, and hands the import over to this one.
func ImportID(tenant string, dir backup.DirectoryName) string {
	return fmt.Sprintf("import/%s/%s", tenant, dir)
}

// BackUpID is the schedule's id and the stem of its runs' ids.
func BackUpID(tenant string, app backup.App) string { return fmt.Sprintf("backup/%s/%s", tenant, app) }

// RestoreID is one per request.
func RestoreID(tenant, request string) string { return fmt.Sprintf("restore/%s/%s", tenant, request) }

// CheckID is one per tenant and system.
func CheckID(tenant, system string) string { return fmt.Sprintf("check/%s/%s", tenant, system) }

// DrillKeyID is the schedule's id and the stem of the scheduled drills' ids.
func DrillKeyID(tenant string) string { return "drill/" + tenant }

// RotateKeyID is the id of the schedule that starts ChangeKey. The workflow itself has ProvisionKeyID, as everything that changes a
// tenant's key, so that two changes never run at once.
func RotateKeyID(tenant string) string { return "rotate/" + tenant }

// RetireKeyID is one per replaced generation. It is not ProvisionKeyID, because it waits for days in which the key may change again.
func RetireKeyID(tenant string, generation int) string {
	return fmt.Sprintf("retire/%s/%d", tenant, generation)
}

// EnrollConnectorID is one per tenant and connector.
func EnrollConnectorID(tenant, connector string) string {
	return fmt.Sprintf("enroll/%s/%s", tenant, connector)
}

// RemoveConnectorID is one per tenant and connector. It is not EnrollConnectorID: a connector that was stolen is removed at once, also
// while its key is still being brought to it.
func RemoveConnectorID(tenant, connector string) string {
	return fmt.Sprintf("remove/%s/%s", tenant, connector)
}

// SettleConflictsID is one per tenant.
func SettleConflictsID(tenant string) string { return "conflicts/" + tenant }

// ReviewLeaversID is the schedule's id and the stem of what it starts.
func ReviewLeaversID(tenant string) string { return "leavers/" + tenant }

// ID is a workflow id, read back. Rest is the app, directory, request, system, generation or connector,
// or the time of a scheduled one; empty for other ids of two parts.
type ID struct{ Kind, Tenant, Rest string }

// scheduledAt is the time that a schedule appends to the ids of what it starts; no tenant's id ends like it.
var scheduledAt = regexp.MustCompile(`-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)

// ParseID is the inverse of the functions above.
func ParseID(id string) (ID, error) {
	kind, rest, ok := strings.Cut(id, "/")
	if !ok || rest == "" {
		return ID{}, fmt.Errorf("%q is not a Holdfast workflow id", id)
	}
	tenant, rest, _ := strings.Cut(rest, "/")
	if at := scheduledAt.FindStringIndex(tenant); at != nil {
		tenant, rest = tenant[:at[0]], tenant[at[0]+1:]
	}
	switch kind {
	case "onboard", "key", "connectors", "import", "backup", "restore", "check", "drill", "rotate", "enroll", "remove", "retire", "token", "conflicts", "leavers":
		return ID{kind, tenant, rest}, nil
	}
	return ID{}, fmt.Errorf("%q is not a Holdfast workflow id", id)
}
