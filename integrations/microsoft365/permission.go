package microsoft365

import "github.com/holdfast-backup/holdfast/internal/msgraph"

var (
	// Mail.ReadBasic.All lets an app see that there are messages, and nothing of their bodies.
	readMail = msgraph.Permission{Name: "Mail.Read", Includes: []string{"Mail.ReadWrite"}, Purpose: "read mailboxes",
		Lesser: []string{"Mail.ReadBasic.All", "Mail.ReadBasic"}, Lacks: "show what the messages say"}
	readFiles = msgraph.Permission{Name: "Files.Read.All", Purpose: "read OneDrives",
		Includes: []string{"Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}}
)
