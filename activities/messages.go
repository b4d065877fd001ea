package activities

import (
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Inputs and results of the activities, one struct each, so that fields can be added.

// TenantInput names a tenant and one of its apps.
type TenantInput struct {
	Tenant string
	App    backup.App
}

// AuthorizeInput asks whether a decision may be taken.
type AuthorizeInput struct {
	Tenant   string
	Task     backup.Task
	Decision backup.Decision
	// Proposed counts for a tenant that is not stored yet; nil when it must be.
	Proposed *backup.Tenant
}

// AdministratorInput names the person who asked.
type AdministratorInput struct {
	Tenant      string
	RequestedBy string
	// Proposed counts for a tenant that is not stored yet; nil when it must be. A stored tenant's own description decides who
	// may replace it.
	Proposed *backup.Tenant
}

// ProvisionResult is what EnsureRepository proved.
type ProvisionResult struct {
	Verdict           backup.Verdict
	Generation        int
	Receipt           int64
	RepositoryCreated bool
}

// CheckInput probes one system of a description.
type CheckInput struct {
	Tenant backup.Tenant
	App    backup.App
	System string
}

// PassInput names a pass of an import. RequestedBy and Preview are for its report.
type PassInput struct {
	Tenant      string
	Directory   backup.DirectoryName
	Pass        string
	RequestedBy string `json:",omitempty"`
	Preview     bool   `json:",omitempty"`
}

func (in PassInput) pass() backup.Pass {
	return backup.Pass{Tenant: in.Tenant, Directory: in.Directory, ID: in.Pass}
}

// ReadResult is how many entries were read, and how.
type ReadResult struct {
	Entries int
	Mode    backup.ReadMode
}

// ApplyListingInput applies the difference of a digest.
type ApplyListingInput struct {
	PassInput
	Digest     string
	ApprovedBy string
}

// EndListingInput ends an import that is not applied.
type EndListingInput struct {
	PassInput
	End backup.ImportEnd
}

// CompareResult is the difference and what may be done with it.
type CompareResult struct {
	Counts  backup.ImportCounts
	Verdict backup.ImportVerdict
	Why     string
	// Report is the number of the stored report; Digest is what an approval is bound to.
	Report int64
	Digest string
}

// ConflictsResult is how many entries wait for a person's word.
type ConflictsResult struct{ Waiting int }

// DecideConflictInput is a person's word on one of them.
type DecideConflictInput struct {
	Tenant   string
	Decision backup.MergeDecision
}

// DueResult is how many people's data is due for deletion, and a digest over exactly those.
type DueResult struct {
	Due    int
	Digest string
}

// ReleaseInput releases the people of a digest.
type ReleaseInput struct {
	Tenant, Digest, ApprovedBy string
}

// ReleaseResult is how many people's data may be deleted now.
type ReleaseResult struct{ Released int }

// ApplyResult is what stands after an import.
type ApplyResult struct{ Accounts backup.Accounts }

// StartRunResult is a run and how many shards it has.
type StartRunResult struct {
	Number int64
	Parts  int
	Shards int
}

// ShardInput names a shard of a run.
type ShardInput struct {
	Tenant string
	App    backup.App
	Number int64
	Shard  int
}

// ShardResult is what became of the shard's parts in this attempt and the ones before.
type ShardResult struct {
	Done, Failed, NoService int
}

// FinishRunInput ends a run. Cause is set when the run could not go on.
type FinishRunInput struct {
	Tenant string
	Number int64
	Cause  *backup.Verdict
}

// FinishRunResult is the run as it ended.
type FinishRunResult struct{ Run backup.Run }

// RestoreInput names what to restore, and where to.
type RestoreInput struct {
	Tenant   string
	Account  string
	App      backup.App
	Service  backup.Service
	Snapshot string
	To       string
}

// RestoreResult is what was written.
type RestoreResult struct {
	Snapshot string
	Counts   backup.RestoreCounts
}

// AlertInput raises an alert.
type AlertInput struct{ Alert backup.Alert }

// ResolveInput resolves an alert.
type ResolveInput struct {
	Tenant  string
	Kind    backup.AlertKind
	Subject string
}

// ScheduleResult tells whether the schedules were made by this call.
type ScheduleResult struct{ Created bool }

// TriggerResult names the run that was started.
type TriggerResult struct {
	WorkflowID string
	Started    bool
}

// KeyChangeInput asks for the next generation of a tenant's ekey. Method is empty for the one that the active generation has.
type KeyChangeInput struct {
	Tenant string
	Method backup.KeyMethod
}

// KeyChangeResult names both generations. Verdict fails when a holder must be mended first.
type KeyChangeResult struct {
	Verdict  backup.Verdict
	From, To int
	Method   backup.KeyMethod // of To
}

// GenerationInput names a generation; 0 is the active one.
type GenerationInput struct {
	Tenant     string
	Generation int
}

// ShareKeyInput brings a generation to a connector; empty: to all that are pinned.
type ShareKeyInput struct {
	Tenant     string
	Generation int
	Connector  string
}

// RewrapInput moves the repository from one generation to another.
type RewrapInput struct {
	Tenant   string
	From, To int
}

// RewrapResult is what was proved, and until when the old generation is kept.
type RewrapResult struct {
	Verdict     backup.Verdict
	RetireAfter time.Time
}

// KeyPlanResult is what a tenant's description says about its key, for the flows that wait.
type KeyPlanResult struct {
	Active      backup.EKey // zero when there is none
	Method      backup.KeyMethod
	Grace       time.Duration
	ShredWait   time.Duration
	WaitAtMost  time.Duration
	WaitsAbsent bool // connector_absent: wait
	Connectors  int  // pinned ones
	KMS         bool // key.kms is described
}

// DestroyResult is what every holder said. Done when all destroyed it.
type DestroyResult struct {
	Verdict backup.Verdict
	Holders []backup.KeyProof
}

// ShredProofInput asks for the proof that a shredded key is gone.
type ShredProofInput struct{ Report backup.ShredReport }

// ShredProofResult is the signed report, when the key is gone.
type ShredProofResult struct {
	Verdict backup.Verdict
	Report  backup.ShredReport
}

// EnrolInput admits one connector. Secret is the token's SHA-256, never the token.
type EnrolInput struct {
	Tenant, Connector string
	SecretHash        []byte
	Expires           time.Time
}

// EnrolmentInput names an enrolment.
type EnrolmentInput struct{ Tenant, Connector string }

// RemovedConnector is a connector that was removed.
type RemovedConnector struct{ Identity string }
