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
}

// ImportPeopleInput starts an import.
type ImportPeopleInput struct {
	Tenant      string
	Directory   backup.DirectoryKind
	RequestedBy string
	// Preview compares and changes nothing.
	Preview bool
	Parent  string
	// Resume is set by continue-as-new.
	Resume *ImportBoard
}

// ImportBoard is an import that waits for the approval of its removals.
type ImportBoard struct {
	Pass   string
	Counts backup.ImportCounts
	// Why says what is to be approved.
	Why   string
	Board TaskBoard
}

// ImportPeopleResult is the difference and what stands after it.
type ImportPeopleResult struct {
	Pass     string
	Counts   backup.ImportCounts
	Accounts backup.Accounts
	Applied  bool
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
