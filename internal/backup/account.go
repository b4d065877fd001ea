package backup

import "time"

// DirectoryEntry is what one directory says about one person.
type DirectoryEntry struct {
	// ID is the immutable id, in one canonical text form that the adapter gives it (UUIDs in lower case; SCIM ids as they are).
	ID          string `json:"id"`
	DN          string `json:"dn,omitempty"`
	Mail        string `json:"mail,omitempty"`
	UPN         string `json:"upn,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	EmployeeID  string `json:"employeeID,omitempty"`
	Department  string `json:"department,omitempty"`
	Disabled    bool   `json:"disabled,omitempty"`
	// Aliases are further mail addresses, without the primary one (proxyAddresses, emails).
	Aliases []string `json:"aliases,omitempty"`
	// Kind is empty for an ordinary person.
	Kind EntryKind `json:"kind,omitempty"`
	// Groups are those of the groups named in the tenant's file that the entry is in, directly or nested, as they are written there, sorted.
	Groups []string `json:"groups,omitempty"`
	// Attributes are those that the tenant's profile rules name, sorted by name.
	Attributes []EntryAttribute `json:"attributes,omitempty"`
	// Profile is the profile that the rules give this entry; empty: the tenant's own. It is set by Tenant.Assign.
	Profile string `json:"profile,omitempty"`
	// Problem is set when the entry cannot become an account as it is; it is reported, never dropped.
	Problem EntryProblem `json:"problem,omitempty"`
}

// EntryKind tells other entries from people.
type EntryKind string

const (
	Guest           EntryKind = "guest"
	SharedMailbox   EntryKind = "shared"
	RoomMailbox     EntryKind = "room"
	ResourceMailbox EntryKind = "equipment"
)

// EntryAttribute is one value of an entry. The name is in lower case.
type EntryAttribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// EntryProblem is why an entry does not become an account. The set is closed.
type EntryProblem string

const (
	NoMail        EntryProblem = "no_mail"        // neither mail nor UPN: nothing to look up in the SaaS app
	DuplicateMail EntryProblem = "duplicate_mail" // another entry already has this mail
	BadEntry      EntryProblem = "bad_entry"      // unreadable: no immutable id, or an attribute over the limits
	Conflict      EntryProblem = "conflict"       // it may be one of several people: a person must decide (MergeConflict)
	Ignored       EntryProblem = "ignored"        // a person decided that it is nobody to protect
)

// AccountState tells whether an account is backed up. Active ones are, all others are not. An account that comes back is active again at once,
// whatever it was; that it returned is in its events.
type AccountState string

const (
	Active AccountState = "active"
	// Preserved: disabled in or vanished from the directory; no new backups, data kept.
	Preserved AccountState = "preserved"
	// Due: preserved for longer than its profile keeps data; its deletion waits for an approval.
	Due AccountState = "due"
	// Released: its deletion was approved; the flow of retention deletes its data.
	Released AccountState = "released"
)

// PreserveReason is why an account is preserved.
type PreserveReason string

const (
	PreservedDisabled PreserveReason = "disabled"
	PreservedVanished PreserveReason = "vanished"
)

// Account is the person that is protected.
type Account struct {
	// ID is ours: short, stable, never reused ("a" and 16 hex digits).
	ID          string         `json:"id"`
	Tenant      string         `json:"tenant"`
	Mail        string         `json:"mail"`
	UPN         string         `json:"upn,omitempty"`
	DisplayName string         `json:"displayName,omitempty"`
	State       AccountState   `json:"state"`
	Reason      PreserveReason `json:"reason,omitempty"`
	Since       time.Time      `json:"since"`
	EmployeeID  string         `json:"employeeID,omitempty"`
	Department  string         `json:"department,omitempty"`
	Kind        EntryKind      `json:"kind,omitempty"`
	// Profile is empty for the tenant's own.
	Profile string `json:"profile,omitempty"`
	// Directory and EntryID are the entry of the highest precedence behind the account; AccountReport has all of them.
	Directory DirectoryName `json:"directory,omitempty"`
	EntryID   string        `json:"entryID"`
}

// PrincipalName is what the SaaS app is asked for: the UPN if known, else the mail.
func (a Account) PrincipalName() string {
	if a.UPN != "" {
		return a.UPN
	}
	return a.Mail
}
