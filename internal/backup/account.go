package backup

import "time"

// DirectoryEntry is what one directory says about one person.
type DirectoryEntry struct {
	// ID is the immutable id in the directory's own text form (entryUUID, objectGUID as GUID text).
	ID          string `json:"id"`
	DN          string `json:"dn,omitempty"`
	Mail        string `json:"mail,omitempty"`
	UPN         string `json:"upn,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	EmployeeID  string `json:"employeeID,omitempty"`
	Department  string `json:"department,omitempty"`
	Disabled    bool   `json:"disabled,omitempty"`
	// Problem is set when the entry cannot become an account as it is; it is reported, never dropped.
	Problem EntryProblem `json:"problem,omitempty"`
}

// EntryProblem is why an entry does not become an account. The set is closed.
type EntryProblem string

const (
	NoMail        EntryProblem = "no_mail"        // neither mail nor UPN: nothing to look up in the SaaS app
	DuplicateMail EntryProblem = "duplicate_mail" // another entry already has this mail
	BadEntry      EntryProblem = "bad_entry"      // unreadable: no immutable id, or an attribute over the limits
)

// AccountState tells whether an account is backed up.
type AccountState string

const (
	Active AccountState = "active"
	// Preserved: disabled in or vanished from the directory; no new backups, data kept.
	Preserved AccountState = "preserved"
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
	// EntryID is the provenance: the directory entry behind the account.
	EntryID string `json:"entryID"`
}

// PrincipalName is what the SaaS app is asked for: the UPN if known, else the mail.
func (a Account) PrincipalName() string {
	if a.UPN != "" {
		return a.UPN
	}
	return a.Mail
}
