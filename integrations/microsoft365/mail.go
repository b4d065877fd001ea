package microsoft365

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	// mailParallel leaves one of the four requests that Outlook takes at once per mailbox for the change feed.
	mailParallel = 3
	// folderSelect leaves the counters out: they change with every message and would make every folder look changed.
	folderSelect = "displayName,parentFolderId,isHidden"
	// messageSelect is what MIME loses or what tells versions apart. Outlook's delta answers ten entries a page unless asked for more.
	messageSelect = "changeKey,parentFolderId,internetMessageId,subject,from,sender,toRecipients,ccRecipients,bccRecipients,replyTo," +
		"createdDateTime,lastModifiedDateTime,receivedDateTime,sentDateTime,importance,inferenceClassification,isRead,isDraft," +
		"isReadReceiptRequested,isDeliveryReceiptRequested,hasAttachments,flag,categories,conversationId,conversationIndex"
	mailPageSize = "odata.maxpagesize=250"
)

// mailbox is the mail of one account.
//
// A message's version is its changeKey. That changes with a read flag or category as well, so such an edit fetches the body
// again: it costs a request, while a version made of what seems to be the content could miss an edited draft, a removed attachment or
// a changed subject. Bodies that are the same are stored once anyway.
type mailbox struct {
	*account
	// root is the folder above the top-level ones. It is never listed itself.
	root string
}

// openMailbox finds the mailbox, and thereby whether there is one.
func openMailbox(ctx context.Context, a *account) (*mailbox, error) {
	m := &mailbox{account: a}
	var root struct {
		ID string `json:"id"`
	}
	err := a.client.ReadJSON(ctx, msgraph.Call{URL: m.at("$select=id", "mailFolders", "msgfolderroot")}, &root)
	if err != nil {
		return nil, m.judge(ctx, err)
	}
	m.root = root.ID
	return m, nil
}

// at is an address below the user.
func (m *mailbox) at(query string, segments ...string) string {
	return m.client.At(query, append([]string{"users", m.user.ID}, segments...)...)
}

// noMailbox are the codes of a person without a cloud mailbox: unlicensed, on-premises or inactive.
var noMailbox = []string{"mailboxnotenabledforrestapi", "mailboxnotsupportedforrestapi", "resourcenotfound", "errorinvaliduser", "errornonexistentmailbox"}

// judge says what a refusal means for this mailbox; other errors pass.
func (m *mailbox) judge(ctx context.Context, err error) error {
	var r *msgraph.Refusal
	switch {
	case !errors.As(err, &r):
		return err
	case r.Has(noMailbox...) && r.Status < http.StatusInternalServerError:
		return m.noService("mailbox", r)
	case r.Status == http.StatusForbidden && !r.PerItem():
		return m.closed(ctx, readMail, r, err)
	}
	return err
}

// Changes lists the folder tree's changes and then, folder by folder, the messages'.
func (m *mailbox) Changes(ctx context.Context, cursor json.RawMessage, yield func(backup.Change) error) (json.RawMessage, error) {
	at := mailCursor{Version: cursorVersion, User: m.user.ID, Messages: map[string]string{}}
	if len(cursor) > 0 {
		var err error
		if at, err = readMailCursor(cursor, m.user.ID); err != nil {
			return nil, err
		}
	}
	if err := m.folderRound(ctx, &at, yield); err != nil {
		return nil, m.judge(ctx, err)
	}
	for _, folder := range slices.Sorted(maps.Keys(at.Messages)) {
		if err := m.messageRound(ctx, &at, folder, yield); err != nil {
			return nil, m.judge(ctx, err)
		}
	}
	return encodeCursor(at)
}

// start is the first link of a round: the one kept in the cursor, or the given address for a full listing.
func (m *mailbox) start(kept, full string) (string, error) {
	if kept == "" {
		return full, nil
	}
	link, err := m.client.Restore(kept)
	if err != nil {
		return "", msgraph.CursorExpired("the last backup's cursor leads elsewhere", err)
	}
	return link, nil
}

// folderRound follows the folder tree. Afterwards at.Messages has an entry for every folder there is.
func (m *mailbox) folderRound(ctx context.Context, at *mailCursor, yield func(backup.Change) error) error {
	link, err := m.start(at.Folders, m.at("includeHiddenFolders=true&$select="+folderSelect, "mailFolders", "delta"))
	if err != nil {
		return err
	}
	end, err := m.client.DeltaRound(ctx, link, []string{mailPageSize}, func(raw json.RawMessage) error {
		var f mailFolder
		if err := msgraph.Entry(raw, &f); err != nil {
			return err
		}
		if f.ID == m.root || f.Type == "#microsoft.graph.mailSearchFolder" {
			return nil // search folders only show messages that live elsewhere
		}
		if f.Removed != nil {
			delete(at.Messages, f.ID)
			return yield(backup.Change{Removed: true, Item: backup.Item{ID: f.ID, Kind: backup.Folder}})
		}
		if _, known := at.Messages[f.ID]; !known {
			at.Messages[f.ID] = ""
		}
		return yield(backup.Change{Item: f.item(raw, m.root)})
	})
	if err == nil {
		at.Folders, err = m.client.Shorten(end)
	}
	return err
}

// messageRound follows one folder's messages.
func (m *mailbox) messageRound(ctx context.Context, at *mailCursor, folder string, yield func(backup.Change) error) error {
	link, err := m.start(at.Messages[folder], m.at("$select="+messageSelect, "mailFolders", folder, "messages", "delta"))
	if err != nil {
		return err
	}
	end, err := m.client.DeltaRound(ctx, link, []string{mailPageSize}, func(raw json.RawMessage) error {
		return m.message(ctx, raw, folder, yield)
	})
	var r *msgraph.Refusal
	if errors.As(err, &r) && r.Missing() && !r.Has(noMailbox...) && !r.Expired() {
		return m.folderGone(ctx, at, folder, err)
	}
	if err == nil {
		at.Messages[folder], err = m.client.Shorten(end)
	}
	return err
}

// folderGone believes that a folder went away after the tree was read only when the folder itself is not there: its messages would
// otherwise vanish from the snapshot. The next run's tree tells of it; should it come back, it is listed in full.
func (m *mailbox) folderGone(ctx context.Context, at *mailCursor, folder string, listing error) error {
	var found struct{ ID string }
	err := m.client.ReadJSON(ctx, msgraph.Call{URL: m.at("$select=id", "mailFolders", folder)}, &found)
	switch {
	case backup.HasCode(err, backup.CodeNotFound):
		at.Messages[folder] = ""
		return nil
	case err != nil:
		return err
	}
	return &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultVendor, Retryable: true, Cause: listing,
		Message: "Microsoft 365 has a mail folder and does not list it", Hint: "this usually passes by itself"}
}

// message yields one entry of a folder's round.
func (m *mailbox) message(ctx context.Context, raw json.RawMessage, folder string, yield func(backup.Change) error) error {
	var msg message
	if err := msgraph.Entry(raw, &msg); err != nil {
		return err
	}
	if msg.Removed != nil {
		return yield(backup.Change{Removed: true, Item: backup.Item{ID: msg.ID, Kind: backup.Message, Parent: folder}})
	}
	if msg.ChangeKey == "" {
		// A change of the read flag alone may come without the other properties.
		err := m.client.ReadJSON(ctx, msgraph.Call{URL: m.at("$select="+messageSelect, "messages", msg.ID)}, &raw)
		if backup.HasCode(err, backup.CodeNotFound) {
			return yield(backup.Change{Removed: true, Item: backup.Item{ID: msg.ID, Kind: backup.Message, Parent: folder}})
		}
		if err != nil {
			return err
		}
		if err := msgraph.Entry(raw, &msg); err != nil {
			return err
		}
	}
	return yield(backup.Change{Item: msg.item(raw, folder)})
}

// Open fetches a message as RFC 5322 bytes. Exchange renders them for every call and states neither length nor hash, so the item is
// returned as it was given.
func (m *mailbox) Open(ctx context.Context, item backup.Item) (backup.Item, io.ReadCloser, error) {
	body, err := m.client.openWindow(ctx, msgraph.Call{URL: m.at("", "messages", item.ID, "$value")})
	if err != nil {
		return item, nil, m.judge(ctx, skipped(err))
	}
	item.Size = -1
	return item, body, nil
}

// Parallel is 3.
func (m *mailbox) Parallel() int { return mailParallel }

// Calls counts this mailbox's requests.
func (m *mailbox) Calls() int64 { return m.client.Calls() }

// mailFolder is what is looked at in a mail folder.
type mailFolder struct {
	ID       string               `json:"id"`
	Type     string               `json:"@odata.type"`
	Removed  *msgraph.RemovedMark `json:"@removed"`
	Name     string               `json:"displayName"`
	Parent   string               `json:"parentFolderId"`
	IsHidden bool                 `json:"isHidden"`
}

func (f *mailFolder) Key() string { return f.ID }

// item makes the folder an item. Mail folders have no version of their own, so it is made of what is kept of them.
func (f *mailFolder) item(raw json.RawMessage, root string) backup.Item {
	parent := f.Parent
	if parent == root {
		parent = ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Name, parent, map[bool]string{true: "hidden"}[f.IsHidden]}, "\x00")))
	return backup.Item{ID: f.ID, Kind: backup.Folder, Parent: parent, Name: f.Name, MetaVersion: hex.EncodeToString(sum[:8]), Meta: raw}
}

// message is what is looked at in a message.
type message struct {
	ID        string               `json:"id"`
	Removed   *msgraph.RemovedMark `json:"@removed"`
	ChangeKey string               `json:"changeKey"`
	Parent    string               `json:"parentFolderId"`
	Subject   string               `json:"subject"`
	Modified  time.Time            `json:"lastModifiedDateTime"`
}

func (m *message) Key() string { return m.ID }

func (m *message) item(raw json.RawMessage, folder string) backup.Item {
	parent := m.Parent
	if parent == "" {
		parent = folder
	}
	return backup.Item{ID: m.ID, Kind: backup.Message, Parent: parent, Name: m.Subject, Version: m.ChangeKey, MetaVersion: m.ChangeKey,
		Modified: m.Modified, Size: -1, Meta: raw}
}
