package microsoft365

import (
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// permission is one application permission (not a delegated one) that a feature needs, and those that include it. See
// https://learn.microsoft.com/graph/permissions-reference.
type permission struct {
	name     string
	includes []string
	purpose  string
}

var (
	readUsers = permission{"User.Read.All", []string{"User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, "look people up"}
	readMail  = permission{"Mail.Read", []string{"Mail.ReadWrite"}, "read mailboxes"}
	readFiles = permission{"Files.Read.All", []string{"Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}, "read OneDrives"}
)

// basicMail lets an app see that there are messages, and nothing of their bodies.
const basicMail = "Mail.ReadBasic.All"

// grantedBy tells whether the token states the permission or one that includes it.
func (p permission) grantedBy(r roles) bool { return r.any(append(p.includes, p.name)...) }

// missing is the error that names the permission. It never says so on the token's word alone: a call was refused.
func (p permission) missing(r roles, cause error) *backup.Error {
	message := "the app may not " + p.purpose + ": the application permission " + p.name + " is missing"
	if p.name == readMail.name && r.any(basicMail, "Mail.ReadBasic") && !p.grantedBy(r) {
		message += " (" + basicMail + " is not enough, for it does not show what the messages say)"
	}
	return &backup.Error{Code: backup.CodeMissingRole, Fault: backup.FaultCustomer, Message: message, Cause: cause,
		Hint: "in the Entra admin center, open the app registration, API permissions, Microsoft Graph, Application permissions; add " + p.name + " and grant admin consent; it may take some minutes to take effect"}
}

// joinMissing makes one error of several, so that an administrator is sent to the portal once.
func joinMissing(all []*backup.Error) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	joined := *all[0]
	var messages, hints []string
	for _, e := range all {
		messages = append(messages, e.Message)
		hints = append(hints, e.Hint)
	}
	joined.Message, joined.Hint, joined.Cause = strings.Join(messages, "; "), strings.Join(hints, "; then "), nil
	return &joined
}
