package entra

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// readSettings is what tells a shared mailbox.
var readSettings = msgraph.Permission{Name: "MailboxSettings.Read", Includes: []string{"MailboxSettings.ReadWrite"}, Purpose: "tell shared, room and equipment mailboxes"}

// mailboxPurpose is Graph's userPurpose: user, linked, shared, room, equipment, others. See
// https://learn.microsoft.com/graph/api/resources/mailboxsettings.
type mailboxPurpose string

// kind is our word for it; a mailbox of a person has none.
func (p mailboxPurpose) kind() backup.EntryKind {
	switch p {
	case "shared":
		return backup.SharedMailbox
	case "room":
		return backup.RoomMailbox
	case "equipment":
		return backup.ResourceMailbox
	}
	return ""
}

// readPurposes asks for the mailboxes of those whom nobody signs in as: a shared mailbox is a user that is disabled. It costs a request for
// each, twenty in a batch.
func (r *reading) readPurposes(ctx context.Context, people []*person) (map[string]mailboxPurpose, error) {
	if !r.wanted.Config.SharedMailboxes {
		return nil, nil
	}
	var ids []string
	var requests []innerCall
	for _, u := range people {
		if !*u.Enabled && u.hasMailbox() {
			ids = append(ids, u.ID)
			requests = append(requests, innerCall{path: purposePath(u.ID)})
		}
	}
	answers, err := batch(ctx, r.client, requests)
	if err != nil {
		return nil, err
	}
	purposes := make(map[string]mailboxPurpose, len(ids))
	for i, a := range answers {
		if purposes[ids[i]], err = r.purpose(ctx, a); err != nil {
			return nil, err
		}
	}
	return purposes, nil
}

func purposePath(id string) string {
	return "/users/" + url.PathEscape(id) + "/mailboxSettings/userPurpose"
}

// noMailbox are the codes of a user without a cloud mailbox: unlicensed, on-premises or inactive.
var noMailbox = []string{"mailboxnotenabledforrestapi", "mailboxnotsupportedforrestapi", "resourcenotfound", "errorinvaliduser", "errornonexistentmailbox"}

// purpose reads one answer. A user without a mailbox is a person, and so is one whose mailbox alone is closed to the app, which is counted.
func (r *reading) purpose(ctx context.Context, a inner) (mailboxPurpose, error) {
	if a.refusal == nil {
		var said struct {
			Value mailboxPurpose `json:"value"`
		}
		if json.Unmarshal(a.body, &said) != nil {
			return "", msgraph.BadResponse("a mailbox's purpose is not what it should be", nil)
		}
		return said.Value, nil
	}
	switch f := a.refusal; {
	case f.Has(noMailbox...) && f.Status < http.StatusInternalServerError, f.Missing():
		return "", nil
	case f.Says("Access to OData is disabled"):
		r.at.Sums.Closed++
		return "", nil
	case f.Status == http.StatusForbidden:
		return "", r.client.Lacks(ctx, readSettings, f.Classify("GET mailboxSettings"))
	}
	return "", a.refusal.Classify("GET mailboxSettings")
}
