package msgraph

import (
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Permission is one application permission (not a delegated one) that a feature needs, and those that include it. See
// https://learn.microsoft.com/graph/permissions-reference.
type Permission struct {
	Name     string
	Includes []string
	// Purpose ends the sentence "the app may not".
	Purpose string
	// Lesser are permissions that are easily taken for this one, and Lacks says what they do not give.
	Lesser []string
	Lacks  string
}

// ReadUsers is what everybody needs who looks people up.
var ReadUsers = Permission{Name: "User.Read.All", Includes: []string{"User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Purpose: "look people up"}

// GrantedBy tells whether the token states the permission or one that includes it.
func (p Permission) GrantedBy(r Roles) bool {
	return r.Any(append(slices.Clone(p.Includes), p.Name)...)
}

// Missing is the error that names the permission. It never says so on the token's word alone: a call was refused.
func (p Permission) Missing(r Roles, cause error) *backup.Error {
	message := "the app may not " + p.Purpose + ": the application permission " + p.Name + " is missing"
	if r.Any(p.Lesser...) && !p.GrantedBy(r) {
		message += " (" + p.Lesser[0] + " is not enough, for it does not " + p.Lacks + ")"
	}
	return &backup.Error{Code: backup.CodeMissingRole, Fault: backup.FaultCustomer, Message: message, Cause: cause,
		Hint: "in the Entra admin center, open the app registration, API permissions, Microsoft Graph, Application permissions; add " + p.Name + " and grant admin consent; it may take some minutes to take effect"}
}

// JoinMissing makes one error of several, so that an administrator is sent to the portal once.
func JoinMissing(all []*backup.Error) error {
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
