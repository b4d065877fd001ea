package workflows

import (
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// OnboardTenantInput starts the onboarding of one app of a tenant.
type OnboardTenantInput struct {
	Tenant      backup.Tenant
	App         backup.App
	RequestedBy string
	// Resume and Accounts are set by continue-as-new.
	Resume   *TaskBoard
	Accounts backup.Accounts
}

// ApplyInput replaces the description of a tenant that is being onboarded.
type ApplyInput struct {
	Tenant backup.Tenant
	// By must be an administrator of the tenant as it is stored.
	By string
}

// OnboardTenantResult is what stands when all prerequisites hold.
type OnboardTenantResult struct {
	Accounts backup.Accounts
	// FirstRun is the workflow id of the first backup.
	FirstRun string
}

// ProvisionKeyInput makes sure that the ekey can be had and the repository opens with it.
type ProvisionKeyInput struct {
	Tenant      string
	RequestedBy string
	// Parent is told about the task by ChildTaskSignal, when not empty.
	Parent string
	Resume *TaskBoard
}

// ProvisionKeyResult says what was proved.
type ProvisionKeyResult struct {
	Generation        int
	Receipt           int64
	RepositoryCreated bool
}

// KeyChange is what ChangeKey changes.
type KeyChange string

const (
	RotateKey KeyChange = "rotate" // a new generation by the same method
	SwitchKey KeyChange = "switch" // a new generation by the other method
	RewrapKey KeyChange = "rewrap" // the same generation, wrapped by the KMS's newest key version
)

// ChangeKeyInput starts ChangeKey under ProvisionKeyID.
type ChangeKeyInput struct {
	Tenant      string
	Change      KeyChange
	Method      backup.KeyMethod // for SwitchKey
	RequestedBy string           // "schedule" for scheduled rotations, which need no approval
	Resume      *KeyChangeBoard
}

// KeyChangeBoard is a change under way that can still be undone.
type KeyChangeBoard struct {
	From, To int
	Method   backup.KeyMethod
	// Tried: the next generation may have been made. Undoing is why it is being given up; nil when it is not.
	Tried   bool
	Undoing *backup.Verdict
	Board   TaskBoard
}

// ChangeKeyResult is what stands afterwards.
type ChangeKeyResult struct {
	From, To int
	Method   backup.KeyMethod
}

// RetireKeyLaterInput waits until a replaced generation need not be had any more, and retires it then.
type RetireKeyLaterInput struct {
	Tenant      string
	Generation  int
	RetireAfter time.Time
	// Due: its time is over; set by continue-as-new.
	Due    bool
	Resume *TaskBoard
}

// ShredKeyInput starts ShredKey under ProvisionKeyID.
type ShredKeyInput struct {
	Tenant      string
	RequestedBy string
	Reason      string
	Resume      *ShredBoard
}

// ShredBoard is a shredding under way.
type ShredBoard struct {
	Report backup.ShredReport
	// Until is when the time to call it off ends; zero before the second approval.
	Until time.Time
	// Destroyed: every holder has confirmed, or was waived.
	Destroyed bool
	Board     TaskBoard
}

// ShredKeyResult is the signed report.
type ShredKeyResult struct{ Report backup.ShredReport }

// DrillKeyInput starts DrillKey.
type DrillKeyInput struct{ Tenant string }

// DrillKeyResult is what every source of the key said.
type DrillKeyResult struct{ Drill backup.KeyDrill }

// EnrollConnectorInput admits one connector. SecretHash is the SHA-256 of the token's secret, which only the token holds.
type EnrollConnectorInput struct {
	Tenant      string
	App         backup.App
	Connector   string
	SecretHash  []byte
	Expires     time.Time
	RequestedBy string
	Resume      *TaskBoard
}

// RemoveConnectorInput takes back the admission of one connector.
type RemoveConnectorInput struct {
	Tenant, Connector string
	RequestedBy       string
}

// RemoveConnectorResult is the connector that no gateway listens to any more.
type RemoveConnectorResult struct{ Identity string }

// EnrolmentReport is what a gateway saw of an enrolment.
type EnrolmentReport struct {
	Connector string
	Identity  string
	At        time.Time
}

// EnrollConnectorResult tells whether the connector holds the key now.
type EnrollConnectorResult struct{ Holds int } // the generation; 0: none was there to share

// ConnectorReport is what a gateway saw of a connector.
type ConnectorReport struct {
	Connector string
	Connected bool
	// Session counts the times the connector connected; an older report than the known one is ignored.
	Session int64
	At      time.Time
}

// WatchConnectorsInput starts the entity of a tenant's connectors.
type WatchConnectorsInput struct {
	Tenant string
	App    backup.App
	// Reports, Lost and Raised are carried over by continue-as-new.
	Reports []ConnectorReport
	// Lost is since when no connector is connected; Raised is when the alert was last raised. Zero: neither.
	Lost, Raised time.Time
	// Comings tell who comes and goes; Woken is when those who wait were last told. Parked are workflows that want to be told, too.
	Comings []Coming
	Woken   time.Time
	Parked  []string
	// Alarmed is when a run raised the alert although a connector is believed to be connected. Zero: none did.
	Alarmed time.Time
}

// Coming is when a connector connected lately: a few times, oldest first.
type Coming struct {
	Connector string
	Times     []time.Time
	// Unsteady: people were told that it comes and goes.
	Unsteady bool
}

// ImportPeopleInput starts an import.
type ImportPeopleInput struct {
	Tenant      string
	Directory   backup.DirectoryName
	RequestedBy string
	// Preview compares and changes nothing.
	Preview bool
	Parent  string
	// Later: whoever starts it is about to end, and has the id under which the import is to run.
	Later bool
	// Resume is set by continue-as-new.
	Resume *ImportBoard
}

// ImportBoard is an import that waits for an approval.
type ImportBoard struct {
	Pass string
	// Passes counts the reads of this import; First is the pass that the others are named after.
	First  string
	Passes int
	Counts backup.ImportCounts
	// Verdict and Why say what is to be approved, and Digest is over exactly that.
	Verdict backup.ImportVerdict
	Why     string
	Digest  string
	// Stale: what is staged is not what was compared. Pushed: something was pushed since the last read began.
	Stale, Pushed bool
	Board         TaskBoard
}

// ImportPeopleResult is the difference and what stands after it.
type ImportPeopleResult struct {
	Pass     string
	Counts   backup.ImportCounts
	Accounts backup.Accounts
	Applied  bool
}

// SettleConflictsInput starts the flow in which a tenant's conflicts wait for decisions.
type SettleConflictsInput struct {
	Tenant string
	Resume *TaskBoard
}

// ReviewLeaversInput starts a review of whose data is due for deletion.
type ReviewLeaversInput struct {
	Tenant string
	// RequestedBy is empty for the schedule.
	RequestedBy string
	Resume      *LeaversBoard
}

// LeaversBoard is a review that waits for its approval.
type LeaversBoard struct {
	Due    int
	Digest string
	// Until is when a review that was rejected ends, so that the next one may ask again.
	Until time.Time
	Board TaskBoard
}

// ReviewLeaversResult is how many people's data may be deleted now.
type ReviewLeaversResult struct {
	Released int
	Rejected bool
}

// BackUpAppInput starts a run; schedules carry it.
type BackUpAppInput struct {
	Tenant string
	App    backup.App
}

// BackUpAppResult is the run's end; the report itself is in the store under Number.
type BackUpAppResult struct {
	Number  int64
	Outcome backup.RunOutcome
	Parts   int
	Failed  int
	Counts  backup.Counts
}

// RestoreInput restores one service of one account into a folder on the worker's machine.
type RestoreInput struct {
	Tenant      string
	Request     string
	Account     string // id, mail or UPN
	App         backup.App
	Service     backup.Service
	Snapshot    string // empty: the newest complete one
	To          string // absolute folder
	RequestedBy string
}

// RestoreResult is what was written.
type RestoreResult struct {
	Snapshot string
	Counts   backup.RestoreCounts
}

// System is one configured system that `holdfast check` probes.
type System string

// The systems.
const (
	CheckKeySystem        System = "key"
	CheckDirectorySystem  System = "directory"
	CheckAppSystem        System = "app"
	CheckRepositorySystem System = "repository"
)

// CheckSystemInput probes one system of a description that need not be applied yet.
type CheckSystemInput struct {
	Tenant backup.Tenant
	App    backup.App
	System System
}

// CheckSystemResult is the verdict.
type CheckSystemResult struct{ Verdict backup.Verdict }

// TaskBoard is the part of a workflow's state that outlives continue-as-new.
type TaskBoard struct {
	Tasks []backup.Task
	// Followers are the workflows that mirror these tasks.
	Followers []string
}
