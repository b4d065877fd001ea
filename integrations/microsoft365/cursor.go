package microsoft365

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	// cursorVersion is the layout of the cursors below.
	cursorVersion = 1
	// cursorLimit bounds a cursor, in bytes: room for ten thousand mail folders.
	cursorLimit = 32 << 20
)

// mailCursor is where the last backup of a mailbox ended: the round of its folder tree and one round per folder. Links are
// kept without their host (endpoints.shorten). An empty link means that the folder is to be listed in full.
type mailCursor struct {
	Version  int               `json:"v"`
	User     string            `json:"user"`
	Folders  string            `json:"folders"`
	Messages map[string]string `json:"messages"`
}

// driveCursor is where the last backup of a drive ended.
type driveCursor struct {
	Version int    `json:"v"`
	Drive   string `json:"drive"`
	Root    string `json:"root"`
	Link    string `json:"link"`
}

// readMailCursor decodes a cursor of this user's mailbox. A cursor that does not fit is as good as an expired one.
func readMailCursor(raw json.RawMessage, user string) (mailCursor, error) {
	var c mailCursor
	if err := decodeCursor(raw, &c); err != nil {
		return c, err
	}
	if c.Version != cursorVersion || c.User != user || c.Folders == "" {
		return c, msgraph.CursorExpired("the last backup's cursor is of another mailbox or version", nil)
	}
	if c.Messages == nil {
		c.Messages = map[string]string{}
	}
	return c, nil
}

// readDriveCursor decodes a cursor of this drive.
func readDriveCursor(raw json.RawMessage, drive string) (driveCursor, error) {
	var c driveCursor
	if err := decodeCursor(raw, &c); err != nil {
		return c, err
	}
	if c.Version != cursorVersion || c.Drive != drive || c.Root == "" || c.Link == "" {
		return c, msgraph.CursorExpired("the last backup's cursor is of another drive or version", nil)
	}
	return c, nil
}

func decodeCursor(raw json.RawMessage, v any) error {
	if len(raw) > cursorLimit {
		return msgraph.CursorExpired("the last backup's cursor is too large", nil)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return msgraph.CursorExpired("the last backup's cursor cannot be read", nil)
	}
	return nil
}

func encodeCursor(v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err == nil && len(raw) > cursorLimit {
		err = fmt.Errorf("the cursor would take %d bytes, more than %d", len(raw), cursorLimit)
	}
	return raw, err
}
