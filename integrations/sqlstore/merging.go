package sqlstore

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// side is an entry behind an account, before or after a pass.
type side struct {
	linked bool
	// entry is what the account goes by: what the directory says, or what it said before the entry had a problem.
	entry   backup.DirectoryEntry
	backs   bool // the account counts it as there
	problem backup.EntryProblem
	joined  string
}

// linkChange is an entry behind an account, before and after a pass of its directory. Entries of other directories are the same twice.
type linkChange struct {
	account       string
	directory     backup.DirectoryName
	id            string
	before, after side
	// stated is what the directory says now.
	stated backup.DirectoryEntry
	// held: the entry has a problem now and had none before, so what its account goes by has to be kept.
	held bool
}

// storedAccount is an account with what only the store knows of it.
type storedAccount struct {
	backup.Account
	provenance map[backup.PersonField]backup.DirectoryName
	known      bool
}

// mergedFields are those of an account that directories state, and how they are had from an entry.
var mergedFields = []struct {
	field backup.PersonField
	of    func(backup.DirectoryEntry) string
	into  func(*backup.Account) *string
}{
	{backup.FieldMail, func(e backup.DirectoryEntry) string { return e.Mail }, func(a *backup.Account) *string { return &a.Mail }},
	{backup.FieldUPN, func(e backup.DirectoryEntry) string { return e.UPN }, func(a *backup.Account) *string { return &a.UPN }},
	{backup.FieldDisplayName, func(e backup.DirectoryEntry) string { return e.DisplayName }, func(a *backup.Account) *string { return &a.DisplayName }},
	{backup.FieldEmployeeID, func(e backup.DirectoryEntry) string { return e.EmployeeID }, func(a *backup.Account) *string { return &a.EmployeeID }},
	{backup.FieldDepartment, func(e backup.DirectoryEntry) string { return e.Department }, func(a *backup.Account) *string { return &a.Department }},
	{backup.FieldKind, func(e backup.DirectoryEntry) string { return string(e.Kind) }, func(a *backup.Account) *string { return (*string)(&a.Kind) }},
	{backup.FieldProfile, func(e backup.DirectoryEntry) string { return e.Profile }, func(a *backup.Account) *string { return &a.Profile }},
}

// merge is the account after a pass: its fields by precedence among the entries that are there, its state by the one of the highest. An
// account that every directory has left keeps what it was known by.
func merge(t backup.Tenant, before storedAccount, links []linkChange, at time.Time) storedAccount {
	there := slices.DeleteFunc(slices.Clone(links), func(l linkChange) bool { return !l.after.linked || !l.after.backs })
	after := before
	if len(there) == 0 {
		return leave(after, at)
	}
	after.provenance = map[backup.PersonField]backup.DirectoryName{}
	for _, f := range mergedFields {
		into := f.into(&after.Account)
		*into = ""
		for _, l := range inOrder(t, f.field, there) {
			if v := f.of(l.after.entry); v != "" {
				*into, after.provenance[f.field] = v, l.directory
				break
			}
		}
	}
	if after.Mail == "" {
		after.Mail = after.UPN
		after.provenance[backup.FieldMail] = after.provenance[backup.FieldUPN]
	}
	top := inOrder(t, backup.FieldEntry, there)[0]
	after.Directory, after.EntryID = top.directory, top.id
	decides := inOrder(t, backup.FieldState, there)[0]
	after.provenance[backup.FieldState] = decides.directory
	state, reason := backup.Active, backup.PreserveReason("")
	if decides.after.entry.Disabled {
		state, reason = backup.Preserved, backup.PreservedDisabled
	}
	return enter(after, state, reason, at)
}

// leave is the account of a person whom no directory has any more. One who was disabled before stays preserved since then, and one whose
// time is up stays so.
func leave(a storedAccount, at time.Time) storedAccount {
	if a.State != backup.Active && a.known {
		a.Reason = backup.PreservedVanished
		return a
	}
	return enter(a, backup.Preserved, backup.PreservedVanished, at)
}

// enter puts an account into a state; one that is disabled and due stays due.
func enter(a storedAccount, state backup.AccountState, reason backup.PreserveReason, at time.Time) storedAccount {
	same := a.known && (a.State == state || state == backup.Preserved && a.State != backup.Active)
	if !same {
		a.State, a.Since = state, at
	}
	a.Reason = reason
	return a
}

// inOrder sorts links by whose word counts first for a field; those of directories that the tenant has no more come last.
func inOrder(t backup.Tenant, f backup.PersonField, links []linkChange) []linkChange {
	order := t.PrecedenceOf(f)
	place := func(l linkChange) int {
		if i := slices.Index(order, l.directory); i >= 0 {
			return i
		}
		return len(order)
	}
	return slices.SortedStableFunc(slices.Values(links), func(a, b linkChange) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.directory, b.directory), cmp.Compare(a.id, b.id))
	})
}

// difference is the line of a difference for an account: what it is before and after, as one change; nil when nothing changes.
func difference(before, after storedAccount, links []linkChange, dir backup.DirectoryName) *backup.ImportChange {
	c := backup.ImportChange{Account: before.ID, Fields: fieldChanges(before, after)}
	var joined, left bool
	entry := after.EntryID
	var shown *linkChange
	for i, l := range links {
		if l.directory != dir {
			continue
		}
		if shown == nil || touches(l) && !touches(*shown) || l.id == entry && touches(l) {
			shown = &links[i]
		}
		is, was := l.after.linked && l.after.backs, l.before.linked && l.before.backs
		joined, left = joined || is && !was, left || was && !is
		c.Fields = append(c.Fields, entryChanges(l, before.known)...)
	}
	if shown != nil {
		c.Entry = shown.stated
		c.Entry.ID = shownID(shown.id)
	}
	c.Kind = kindOf(before, after, joined, left)
	if !before.known {
		c.Account = ""
		c.Fields = nil
		return &c
	}
	if len(c.Fields) == 0 {
		return nil
	}
	return &c
}

func touches(l linkChange) bool {
	return l.before.backs != l.after.backs || l.before.linked != l.after.linked
}

func kindOf(before, after storedAccount, joined, left bool) backup.ChangeKind {
	switch {
	case !before.known:
		return backup.ChangeAdded
	case before.State != backup.Active && after.State == backup.Active:
		return backup.ChangeReturned
	case before.State == backup.Active && after.State != backup.Active && after.Reason == backup.PreservedDisabled:
		return backup.ChangePreserved
	case before.State == backup.Active && after.State != backup.Active:
		return backup.ChangeRemoved
	case joined:
		return backup.ChangeMerged
	case left:
		return backup.ChangeLeft
	}
	return backup.ChangeChanged
}

func fieldChanges(before, after storedAccount) (changes []backup.FieldChange) {
	for _, f := range mergedFields {
		from, to := *f.into(&before.Account), *f.into(&after.Account)
		changes = appendChange(changes, f.field, from, to)
	}
	return appendChange(changes, backup.FieldState, stateText(before.Account), stateText(after.Account))
}

// stateText is a state with its reason: "preserved (disabled)".
func stateText(a backup.Account) string {
	if a.Reason == "" {
		return string(a.State)
	}
	return string(a.State) + " (" + string(a.Reason) + ")"
}

// entryChanges are what changes of the entry behind an account and shows in no field of it.
func entryChanges(l linkChange, accountKnown bool) (changes []backup.FieldChange) {
	name := func(s side) string {
		if !s.linked || !s.backs {
			return ""
		}
		return string(l.directory) + "/" + l.id
	}
	changes = appendChange(changes, backup.FieldEntry, name(l.before), name(l.after))
	if len(changes) > 0 || !accountKnown {
		return changes
	}
	from, to := l.before.entry, l.after.entry
	changes = appendChange(changes, backup.FieldDN, from.DN, to.DN)
	changes = appendChange(changes, backup.FieldAliases, strings.Join(from.Aliases, " "), strings.Join(to.Aliases, " "))
	return appendChange(changes, backup.FieldGroups, strings.Join(from.Groups, "; "), strings.Join(to.Groups, "; "))
}

func appendChange(changes []backup.FieldChange, f backup.PersonField, from, to string) []backup.FieldChange {
	if from == to {
		return changes
	}
	return append(changes, backup.FieldChange{Field: f, From: from, To: to})
}
