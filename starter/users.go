package main

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newUsers(p *program) *cobra.Command {
	return newGroup("users", "See and import the people who are protected", newUsersList(p), newUsersShow(p), newUsersExplain(p), newUsersPreview(p), newUsersImport(p),
		newUsersImports(p), newUsersProblems(p), newUsersConflicts(p), newUsersSettle(p), newUsersProfiles(p))
}

// problemWords say why an entry is not protected.
var problemWords = map[backup.EntryProblem]string{
	backup.NoMail:        "has neither mail nor sign-in name",
	backup.DuplicateMail: "has another entry's mail",
	backup.BadEntry:      "cannot be read",
	backup.Conflict:      "may be more than one person: a person must decide",
	backup.Ignored:       "was left out by a person's decision",
}

// whyNot is why an entry becomes no account; empty when it does.
func whyNot(e backup.DirectoryEntry) string {
	if why := problemWords[e.Problem]; why != "" {
		return why
	}
	return string(e.Problem)
}

func entryRow(e backup.DirectoryEntry) []string {
	return []string{clean(e.DisplayName), clean(e.Mail), clean(e.DN), clean(whyNot(e))}
}
