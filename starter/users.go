package main

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func newUsers(p *program) *cobra.Command {
	return newGroup("users", "See and import the people who are protected", newUsersList(p), newUsersPreview(p), newUsersImport(p), newUsersProblems(p))
}

// problemWords say why an entry is not protected.
var problemWords = map[backup.EntryProblem]string{
	backup.NoMail:        "has neither mail nor sign-in name",
	backup.DuplicateMail: "has another entry's mail",
	backup.BadEntry:      "cannot be read",
}

func entryRow(e backup.DirectoryEntry) []string {
	why := problemWords[e.Problem]
	if why == "" {
		why = string(e.Problem)
	}
	return []string{clean(e.DisplayName), clean(e.Mail), clean(e.DN), clean(why)}
}
