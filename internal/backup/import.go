package backup

import (
	"fmt"
	"time"
)

// Pass names one read of one directory and what is made of it.
type Pass struct {
	Tenant    string
	Directory DirectoryName
	// ID is the workflow run that began it.
	ID string
	// Attempt numbers those who read for it, one after the other. Whoever was replaced by a later one, and goes on all the same, changes nothing
	// any more. It matters while reading only.
	Attempt int32
}

// Staging keeps the pages of a read, in order.
type Staging interface {
	// Page takes a page and returns before it is kept, while at most two others wait; the error may be that of a page before. Each page is
	// kept with its Resume, in one transaction. Entries are upserted by id; a page may be repeated.
	Page(page EntryPage) error
	// Close waits until all is kept. Without it, or with an error, nobody knows how much was.
	Close() error
}

// ImportCounts is the difference between what a directory says and what is known. Counts of entries, but for the last three.
type ImportCounts struct {
	// Listed entries were in this read: all of the directory, or those that changed.
	Listed    int `json:"listed"`
	Added     int `json:"added"`     // not known before
	Changed   int `json:"changed"`   // known, a field differs
	Unchanged int `json:"unchanged"` // known and equal
	Vanished  int `json:"vanished"`  // behind an active account, and gone
	Disabled  int `json:"disabled"`  // listed as disabled
	Returned  int `json:"returned"`  // its account was not active, and will be
	// Problems by kind; such entries are counted in Added/Changed/Unchanged, too.
	NoMail        int `json:"noMail"`
	DuplicateMail int `json:"duplicateMail"`
	BadEntries    int `json:"badEntries"`
	Conflicts     int `json:"conflicts,omitempty"`
	Ignored       int `json:"ignored,omitempty"`
	// Merged entries join an account that another directory made.
	Merged int `json:"merged,omitempty"`
	// KnownActive is how many active accounts this directory stood behind before: the base of the threshold's percent.
	KnownActive int `json:"knownActive"`
	// Leaving is how many active accounts this import would preserve: no directory has them any more, or one disabled them.
	Leaving int `json:"leaving"`
}

// Problems is how many entries do not become accounts, but for those that a person decided to ignore.
func (c ImportCounts) Problems() int { return c.NoMail + c.DuplicateMail + c.BadEntries + c.Conflicts }

// ImportDifference is a compared pass.
type ImportDifference struct {
	Report int64        `json:"report"` // its number
	Mode   ReadMode     `json:"mode"`
	Counts ImportCounts `json:"counts"`
	// Digest is over everything that the import would do to accounts, in a canonical order, as hex. Two passes of one digest would do the same.
	Digest string `json:"digest"`
	// First: no import of this directory was applied before.
	First bool `json:"first"`
}

// ImportOutcome is how an import ended.
type ImportOutcome string

const (
	ImportUnderWay  ImportOutcome = "under_way"
	ImportApplied   ImportOutcome = "applied"
	ImportPreviewed ImportOutcome = "previewed"
	ImportRefused   ImportOutcome = "refused"  // an error, or nothing was listed: nothing was changed
	ImportRejected  ImportOutcome = "rejected" // a person said no
	ImportReplaced  ImportOutcome = "replaced" // another began before it ended
)

// ImportReport is the stored report of one import.
type ImportReport struct {
	Tenant     string        `json:"tenant"`
	Number     int64         `json:"number"` // of the tenant, from 1
	Directory  DirectoryName `json:"directory"`
	Pass       string        `json:"pass"`
	WorkflowID string        `json:"workflowID,omitempty"`
	// By asked for it; empty: the schedule, or a push.
	By      string        `json:"by,omitempty"`
	Preview bool          `json:"preview,omitempty"`
	Outcome ImportOutcome `json:"outcome"`
	Mode    ReadMode      `json:"mode,omitempty"`
	Note    string        `json:"note,omitempty"`
	Counts  ImportCounts  `json:"counts"`
	Digest  string        `json:"digest,omitempty"`
	// Approved is who approved it, where that was needed.
	Approved string `json:"approved,omitempty"`
	Code     Code   `json:"code,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Calls    int64  `json:"calls"`
	Pages    int64  `json:"pages"`
	// Resumed counts how often the read went on after it had broken off.
	Resumed int       `json:"resumed,omitempty"`
	Started time.Time `json:"started"`
	Read    time.Time `json:"read,omitzero"` // the read was complete
	Ended   time.Time `json:"ended,omitzero"`
	// Cursor tells whether the next import can read changes.
	Cursor bool `json:"cursor"`
}

// ImportStart begins a report.
type ImportStart struct {
	WorkflowID string
	By         string
	Preview    bool
	// Rules is Tenant.PeopleRules. When they are not those of the import that was applied last, everybody is listed.
	Rules string
}

// ImportEnd ends a report that was not applied.
type ImportEnd struct {
	Outcome ImportOutcome
	Code    Code
	Detail  string
}

// ChangeKind is what happens to an account, or an entry that becomes none.
type ChangeKind string

const (
	ChangeAdded     ChangeKind = "added"
	ChangeChanged   ChangeKind = "changed"
	ChangePreserved ChangeKind = "preserved" // disabled
	ChangeRemoved   ChangeKind = "removed"   // gone from every directory; preserved likewise
	ChangeReturned  ChangeKind = "returned"
	ChangeMerged    ChangeKind = "merged"      // an entry of a further directory joins it
	ChangeLeft      ChangeKind = "left"        // an entry left it, another directory still has the person
	ChangeConflict  ChangeKind = "conflicting" // an entry that waits for a decision
	ChangeSkipped   ChangeKind = "skipped"     // an entry that becomes no account; Problem says why
	// Of persons' decisions, and of time; they are in events only.
	ChangeDue      ChangeKind = "due"
	ChangeReleased ChangeKind = "released"
	ChangeDecided  ChangeKind = "decided"
)

// ImportChange is one line of a difference.
type ImportChange struct {
	Kind ChangeKind `json:"kind"`
	// Account is empty for one that will be added and for entries that become none.
	Account string         `json:"account,omitempty"`
	Entry   DirectoryEntry `json:"entry"`
	// Fields are those of the account that change.
	Fields []FieldChange `json:"fields,omitempty"`
}

// Accounts is how many accounts of each state stand after an import.
type Accounts struct {
	Active    int `json:"active"`
	Preserved int `json:"preserved"`
	Due       int `json:"due,omitempty"`
	Released  int `json:"released,omitempty"`
}

// RemovalThreshold is the size of a difference that no longer happens by itself. Zero fields take the defaults.
type RemovalThreshold struct {
	// Percent of the active accounts; default 10.
	Percent int `json:"percent,omitempty"`
	// Count of accounts under which the percentage is not looked at; default 5.
	Count int `json:"count,omitempty"`
}

// ImportVerdict is what may be done with a difference.
type ImportVerdict string

const (
	ImportApply   ImportVerdict = "apply"   // go ahead
	ImportApprove ImportVerdict = "approve" // a person must approve the removals first
	ImportConfirm ImportVerdict = "confirm" // a person must approve the first import of a directory
	ImportRefuse  ImportVerdict = "refuse"  // an error, never an absence: nothing is changed
)

// JudgeImport decides on a difference. It is the one place where promise 4 ("an error is never read as
// an absence"), the removal threshold and the approval of a first import are decided.
func JudgeImport(d ImportDifference, t RemovalThreshold, approveFirst bool) (ImportVerdict, string) {
	c := d.Counts
	percent, count := t.Percent, t.Count
	if percent == 0 {
		percent = 10
	}
	if count == 0 {
		count = 5
	}
	switch {
	case d.Mode != ChangesRead && c.Listed == 0 && c.KnownActive > 0:
		return ImportRefuse, fmt.Sprintf("the directory lists nobody, but %d people are known", c.KnownActive)
	case d.Mode != ChangesRead && c.Listed == 0:
		return ImportRefuse, "the directory lists nobody: base DN, filter or rights are probably wrong"
	case c.Leaving > count && c.Leaving*100 > percent*c.KnownActive:
		return ImportApprove, fmt.Sprintf("%d of %d active people would be preserved (limit: %d %%, at least %d)", c.Leaving, c.KnownActive, percent, count)
	case d.First && approveFirst:
		return ImportConfirm, fmt.Sprintf("the first import would add %d people", c.Added-c.Problems()-c.Ignored)
	}
	return ImportApply, ""
}

// JudgePush is JudgeImport for a directory that is pushed. Its list is our own, and an identity provider has nobody to push until it has a
// token, which only a tenant that was applied can have: so nobody is an answer as long as nobody is known. Where the first people must be
// approved, they are waited for.
func JudgePush(d ImportDifference, t RemovalThreshold, approveFirst bool) (ImportVerdict, string) {
	if d.Mode == ChangesRead || d.Counts.Listed > 0 || d.Counts.KnownActive > 0 {
		return JudgeImport(d, t, approveFirst)
	}
	if approveFirst {
		return ImportRefuse, "nobody was pushed yet: make a token (holdfast scim token add), and let the identity provider push"
	}
	return ImportApply, ""
}

// JudgeRetired is JudgeImport for a directory that is retired: there is nobody in it on purpose. Whoever leaves by it, however few, has to
// be approved, because a directory is retired by one word in a file.
func JudgeRetired(d ImportDifference) (ImportVerdict, string) {
	if d.Counts.Leaving == 0 {
		return ImportApply, ""
	}
	return ImportApprove, fmt.Sprintf("the directory is retired: %d of %d active people are in no other one, and would be preserved", d.Counts.Leaving, d.Counts.KnownActive)
}
