package activities

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The interfaces of the outside world, declared where they are used. Each is as small as the
// activities need; adapters in integrations/ satisfy them and the worker wires them. All errors
// that reach an activity are classified (*backup.Error) or count as ours and retryable.

// Tenants keeps what `holdfast apply` said.
type Tenants interface {
	// SaveTenant inserts or replaces the tenant's description and its pinned connectors.
	SaveTenant(ctx context.Context, t backup.Tenant) error
	// Tenant returns CodeNotFound when there is none.
	Tenant(ctx context.Context, id string) (backup.Tenant, error)
}

// People keeps directory entries and accounts. A pass is one read of one directory; it is staged page by page, compared and applied in
// set operations, so memory does not grow with the directory.
type People interface {
	// BeginPass opens the pass and its report, and tells where its read begins. A pass that is open already (the same one, again) goes on:
	// Resume is that of the last page that was staged, and when there is none what was staged is forgotten. Any other open pass of the
	// directory ends as replaced.
	BeginPass(ctx context.Context, p backup.Pass, s backup.ImportStart) (backup.ReadFrom, error)
	// RestartPass forgets what is staged, and Since: everybody is listed.
	RestartPass(ctx context.Context, p backup.Pass) error
	// Stage keeps pages of the read, until it is closed. CodeNotFound when another pass, or another attempt at this one, began since.
	Stage(ctx context.Context, p backup.Pass) backup.Staging
	// EndRead says that the read was complete.
	EndRead(ctx context.Context, p backup.Pass, end backup.ReadEnd) error
	// ComparePass tells the staged pass from what is known, and keeps the difference for whoever looks at it. It changes nothing else.
	ComparePass(ctx context.Context, t backup.Tenant, p backup.Pass) (backup.ImportDifference, error)
	// ApplyPass makes the staged pass the truth, with the cursor and the report, in one transaction; again is the same as once. It does what
	// the difference of this digest says, and otherwise nothing: CodeDifferenceChanged. approvedBy is empty where no approval was needed.
	ApplyPass(ctx context.Context, t backup.Tenant, p backup.Pass, digest, approvedBy string, at time.Time) (backup.Accounts, error)
	// EndPass ends the report of a pass that is not applied; again is the same as once. What is staged stays to be looked at.
	EndPass(ctx context.Context, p backup.Pass, end backup.ImportEnd, at time.Time) error
	// FindAccount looks an account up by id, mail or UPN (case-insensitively); CodeNotFound when there is none.
	FindAccount(ctx context.Context, tenant, ref string) (backup.Account, error)
}

// Conflicts keeps the entries that wait for a person's word, and the words that were given.
type Conflicts interface {
	// CountConflicts counts the entries that wait.
	CountConflicts(ctx context.Context, tenant string) (int, error)
	// DecideConflict keeps a decision for this and every later import; the next import carries it out. It replaces an earlier one.
	// CodeNotFound: there is no such entry, or no such account. CodeNotAllowed: the account has another entry of the directory already.
	DecideConflict(ctx context.Context, tenant string, d backup.MergeDecision) error
}

// Leavers ends what is kept of people who are gone.
type Leavers interface {
	// MarkDue makes those due who have been preserved for longer than their profile keeps data, and returns how many are due now and a digest
	// over exactly those.
	MarkDue(ctx context.Context, t backup.Tenant, at time.Time) (due int, digest string, err error)
	// ReleaseDue lets the data of exactly those be deleted. CodeDifferenceChanged: others are due by now.
	ReleaseDue(ctx context.Context, tenant, digest, by string, at time.Time) (released int, err error)
}

// Runs keeps runs and their parts.
type Runs interface {
	// CountAccounts counts the tenant's accounts by state.
	CountAccounts(ctx context.Context, tenant string) (backup.Accounts, error)
	// StartRun makes the run and an open part for every active account and service of its profile, cut into shards of at most
	// shardSize accounts (all services of an account in one shard). Called again with the same runID it returns what it made.
	StartRun(ctx context.Context, r backup.Run, plan backup.ServicePlan, shardSize int) (run backup.Run, shards int, err error)
	// OpenParts lists the parts of a shard (from 0) that are still open, in a stable order.
	OpenParts(ctx context.Context, tenant string, number int64, shard int) ([]backup.RunPart, error)
	// FinishPart records how a part ended; recording it twice is the same as once.
	FinishPart(ctx context.Context, tenant string, number int64, p backup.RunPart) error
	// TotalRun returns the run with its parts counted and its Counts summed.
	TotalRun(ctx context.Context, tenant string, number int64) (backup.Run, error)
	// FinishRun records outcome, code, detail, end and totals.
	FinishRun(ctx context.Context, r backup.Run) error
}

// History tells what happened before.
type History interface {
	// LastRun is the tenant's newest run, or nil when there was none.
	LastRun(ctx context.Context, tenant string) (*backup.Run, error)
}

// Alerts keeps alerts.
type Alerts interface {
	// RaiseAlert opens the alert, or counts it once more when one of its tenant, kind and subject is open; first tells which.
	RaiseAlert(ctx context.Context, a backup.Alert, at time.Time) (stored backup.Alert, first bool, err error)
	// ResolveAlert closes the open alert, if there is one, and tells whether there was.
	ResolveAlert(ctx context.Context, tenant string, kind backup.AlertKind, subject string, at time.Time) (bool, error)
}

// Notifier tells people outside of Holdfast about an alert that was raised or resolved.
type Notifier interface {
	Notify(ctx context.Context, a backup.Alert) error
}

// Keys obtains a tenant's ekey, by whichever method the tenant has.
type Keys interface {
	// Reachable returns nil when a holder of the ekey could be asked now, without asking it. CodeNotConnected otherwise.
	Reachable(ctx context.Context, t backup.Tenant) error
	// Obtain asks for the ekey. The caller closes the lease.
	Obtain(ctx context.Context, t backup.Tenant, use backup.KeyUse) (*backup.Lease, error)
	// Generations lists what is recorded of the tenant's generations, oldest first; CodeDestroyed when the key was shredded.
	Generations(ctx context.Context, t backup.Tenant) ([]backup.EKey, error)
}

// KeyKeeper makes, moves, proves and destroys generations of a tenant's ekey, by whichever method each has. All of it may be asked
// again after a crash, and then does what is left to do.
type KeyKeeper interface {
	Keys
	// Ensure returns the active generation or, when there is none, the pending first one, made at the holders of the tenant's method.
	Ensure(ctx context.Context, t backup.Tenant, use backup.KeyUse) (backup.EKey, error)
	// Prepare returns the active generation and the pending one that shall replace it, made at the holders of method (empty: that of
	// the active one). A pending one of another method is a change that was left unfinished, and is returned as it is.
	Prepare(ctx context.Context, t backup.Tenant, method backup.KeyMethod, use backup.KeyUse) (from, to backup.EKey, err error)
	// Share brings a generation (0: the active one) to the named connector, or to every pinned connector when the name is empty.
	Share(ctx context.Context, t backup.Tenant, generation int, connector string, use backup.KeyUse) error
	// Activate makes a pending generation the active one. The one before retires after grace.
	Activate(ctx context.Context, t backup.Tenant, generation int, at time.Time, grace time.Duration) error
	// Retire makes a retiring or pending generation unobtainable at every holder of it.
	Retire(ctx context.Context, t backup.Tenant, generation int, use backup.KeyUse) error
	// Rewrap wraps the active generation anew with the KMS's newest key version, without anybody seeing it.
	Rewrap(ctx context.Context, t backup.Tenant, use backup.KeyUse) (backup.EKey, error)
	// Drill asks every configured source of the active generation for proof, and records what they said.
	Drill(ctx context.Context, t backup.Tenant, use backup.KeyUse) (backup.KeyDrill, error)
	// Destroy destroys every generation at every holder, and tells what each said. An OK of each is the end of the key.
	Destroy(ctx context.Context, t backup.Tenant, use backup.KeyUse) ([]backup.KeyProof, error)
	// RecordShred signs and stores the report.
	RecordShred(ctx context.Context, r backup.ShredReport) (backup.ShredReport, error)
}

// Connectors knows who may hold a tenant's ekey.
type Connectors interface {
	// PinnedConnectors lists the tenant's connectors, by name: those of its description and those that were enrolled.
	PinnedConnectors(ctx context.Context, tenant string) ([]backup.ConnectorStatus, error)
}

// Enrolments admits connectors.
type Enrolments interface {
	// OpenEnrolment keeps an enrolment; one of the same tenant and connector is replaced.
	OpenEnrolment(ctx context.Context, e backup.Enrolment) error
	// Enrolment returns CodeNotFound when there is none.
	Enrolment(ctx context.Context, tenant, connector string) (backup.Enrolment, error)
	// PinEnrolled pins the connector of a presented enrolment. Again is the same as once.
	PinEnrolled(ctx context.Context, tenant, connector string) error
	// UnpinEnrolled takes back the admission of an enrolled connector, and returns it as it was; again is the same as once.
	// CodeNotAllowed when the tenant's description pins it, or when no other is known to hold the generation in use.
	UnpinEnrolled(ctx context.Context, tenant, connector string) (backup.ConnectorStatus, error)
	// CloseEnrolment forgets an enrolment; its token is good for nothing any more.
	CloseEnrolment(ctx context.Context, tenant, connector string) error
}

// Directories opens one of a tenant's directories.
type Directories interface {
	OpenDirectory(ctx context.Context, t backup.Tenant, dir backup.DirectoryConfig) (Directory, error)
}

// Directory tells who there is.
type Directory interface {
	// Probe connects and looks, without listing anybody. The text says what was found, for a person.
	Probe(ctx context.Context) (string, error)
	// Read calls yield page by page, one call at a time. It returns nil only when the directory itself said that the read is complete; whatever
	// was yielded before an error is not the whole. CodeCursorExpired: the changes since from cannot be had (any more); read again from nothing.
	Read(ctx context.Context, from backup.ReadFrom, yield func(backup.EntryPage) error) (backup.ReadEnd, error)
	Close() error
}

// Apps connects to a tenant's SaaS app.
type Apps interface {
	ConnectApp(ctx context.Context, t backup.Tenant, app backup.App) (App, error)
}

// App is a connected SaaS app.
type App interface {
	// Probe gets a token and makes one cheap call per service; the error names the missing permission. The text says what was found.
	Probe(ctx context.Context, services []backup.Service) (string, error)
	// Source opens one service of one account. CodeNoService: the account has no mailbox or drive; CodeFenced: it is
	// closed to us; CodeNotFound: the app does not know the account.
	Source(ctx context.Context, a backup.Account, s backup.Service) (Source, error)
}

// Source is one service of one account: a mailbox or a drive.
type Source interface {
	// Changes calls yield for everything that changed since cursor, or for everything when cursor is empty, one call at a time, and
	// returns the next cursor. CodeCursorExpired: list again with an empty cursor. What was yielded before an error may be used,
	// but the old cursor stays.
	Changes(ctx context.Context, cursor json.RawMessage, yield func(backup.Change) error) (next json.RawMessage, err error)
	// Open returns the item as it was when its content was opened, and the content. It may be called concurrently. The reader
	// verifies length and hash where the service gives them and fails instead of returning io.EOF when they differ.
	// *backup.SkipError: the content cannot be had. CodeNotFound: the item is gone.
	Open(ctx context.Context, item backup.Item) (backup.Item, io.ReadCloser, error)
	// Parallel is how many Opens may be under way at once for this source (Outlook: 3 per mailbox).
	Parallel() int
	// Calls is how many HTTP requests this source has made, retries included.
	Calls() int64
}

// Repositories opens a tenant's repository with the password that Lease.RepositoryPassword derives.
type Repositories interface {
	// EnsureRepository makes the repository when there is none, and opens it to prove the password otherwise (CodeWrongKey).
	// created tells whether this call made it.
	EnsureRepository(ctx context.Context, t backup.Tenant, password string) (created bool, err error)
	OpenRepository(ctx context.Context, t backup.Tenant, password string) (Repository, error)
	// Rewrap makes the repository open with the new password and no longer with the old one, leaving the data alone. It may be
	// killed at any line and asked again; nil as well when it was done before. CodeWrongKey: it opens with neither.
	Rewrap(ctx context.Context, t backup.Tenant, old, new string) error
}

// Repository keeps snapshots: one per account, service and run.
type Repository interface {
	// Latest returns the newest snapshot, checkpoints included, or nil when there is none.
	Latest(ctx context.Context, account string, app backup.App, service backup.Service) (*backup.SnapshotInfo, error)
	// Find returns a snapshot by id; CodeNotFound when there is none.
	Find(ctx context.Context, id string) (*backup.SnapshotInfo, error)
	// Write begins a snapshot on top of base (nil: empty).
	Write(ctx context.Context, base *backup.SnapshotInfo) (SnapshotWriter, error)
	Read(ctx context.Context, s *backup.SnapshotInfo) (SnapshotReader, error)
	Close(ctx context.Context) error
}

// SnapshotWriter is a snapshot in the making. Its methods may be called concurrently, Checkpoint, Commit and Close excepted.
type SnapshotWriter interface {
	// Lookup returns the item as the snapshot has it now.
	Lookup(ctx context.Context, id string) (backup.Item, bool, error)
	// Put stores an item with its content, streaming, and returns the content's size; content is nil for an item without any.
	// When it fails the item is as before.
	Put(ctx context.Context, item backup.Item, content io.Reader) (int64, error)
	// PutMeta replaces what is known of an item and keeps its content.
	PutMeta(ctx context.Context, item backup.Item) error
	// Remove takes the item out of this snapshot; earlier ones keep it.
	Remove(ctx context.Context, id string) error
	// Each calls fn for every item.
	Each(ctx context.Context, fn func(backup.Item) error) error
	// Checkpoint makes what was put so far survive a crash: as an incomplete snapshot, which a later one replaces.
	Checkpoint(ctx context.Context, state backup.SnapshotState) error
	// Commit sets state.Counts.Items, proves that the snapshot holds as many items as were put and not removed, and makes it durable.
	Commit(ctx context.Context, state backup.SnapshotState) (backup.SnapshotInfo, error)
	// Close gives up what was not committed.
	Close(ctx context.Context) error
}

// SnapshotReader reads one snapshot.
type SnapshotReader interface {
	Each(ctx context.Context, fn func(backup.Item) error) error
	// Open returns an item's content; CodeNotFound when it has none. Corruption is an error at Read.
	Open(ctx context.Context, id string) (io.ReadCloser, error)
}

// Destinations opens the place a restore writes to.
type Destinations interface {
	// OpenFolder prepares an absolute folder on the worker's machine.
	OpenFolder(ctx context.Context, path string) (Destination, error)
}

// Destination takes restored files. Paths are given as cleaned components from internal/backup's RestorePath.
type Destination interface {
	MakeFolder(ctx context.Context, path []string) error
	// WriteFile writes through a temporary name, so that a file is whole or absent; kept tells that the same bytes stood there already.
	WriteFile(ctx context.Context, path []string, modified time.Time, content io.Reader) (n int64, kept bool, err error)
}

// Scheduler is the part of the orchestrator that activities may use.
type Scheduler interface {
	// EnsureSchedules creates or updates the tenant's backup and import schedules.
	EnsureSchedules(ctx context.Context, t backup.Tenant, app backup.App) (created bool, err error)
	// TriggerBackupOnce starts a run now, unless one is under way (started is false then).
	// A run that has begun since is taken for the one that is asked for, also when it has ended: whoever asks again after a crash gets
	// the first answer.
	TriggerBackupOnce(ctx context.Context, tenant string, app backup.App, since time.Time) (workflowID string, started bool, err error)
	// EndSchedules stops the clocks of a tenant whose key is gone. note says why.
	EndSchedules(ctx context.Context, tenant string, app backup.App, note string) error
	// PushedPeople asks for an import of a directory: the one that is under way imports once more when it has ended, and otherwise one begins.
	PushedPeople(ctx context.Context, s backup.SCIMScope) error
	// WakeConflicts has the flow in which the tenant's conflicts wait look how many there are. When it is not there it is begun, if begin is set.
	WakeConflicts(ctx context.Context, tenant string, begin bool) error
}
