package kopia

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
	"unique"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// line is one line of records.jsonl.
type line struct {
	Item backup.Item `json:"item"`
	// File is the name of the item's content beside records.jsonl; empty when it has none.
	File string `json:"file,omitempty"`
	// Size is the content's length in bytes.
	Size int64 `json:"size,omitempty"`
}

// encodeJSON gives v on one line, its newline included. JSON inside of it keeps its characters; only white space between them goes.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// decodeLine reads a line and checks that it stands for itself: an id, and a file name that can only be its own.
func decodeLine(b []byte) (line, itemKey, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return l, itemKey{}, damaged("a record is not readable: %v", err)
	}
	if l.Item.ID == "" || len(l.Item.ID) > maxIDBytes || l.Size < 0 {
		return l, itemKey{}, damaged("a record has no usable id or size")
	}
	key := keyOf(l.Item.ID)
	if l.File != "" && l.File != key.fileName() {
		return l, itemKey{}, damaged("a record names the content of another item")
	}
	// Few values stand for many items: each is kept once in memory.
	l.Item.Parent = unique.Make(l.Item.Parent).Value()
	l.Item.Kind = unique.Make(l.Item.Kind).Value()
	return l, key, nil
}

// scanLines calls fn with every line of r and where it begins. The bytes, newline included, are valid during the call only.
func scanLines(r io.Reader, fn func(at int64, b []byte) error) error {
	s := bufio.NewScanner(io.LimitReader(r, maxRecordsBytes))
	s.Buffer(make([]byte, 64<<10), maxLineBytes)
	s.Split(wholeLines)
	at := int64(0)
	for s.Scan() {
		if err := fn(at, s.Bytes()); err != nil {
			return err
		}
		at += int64(len(s.Bytes()))
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return damaged("a record is longer than %d bytes", maxLineBytes)
	}
	return s.Err()
}

// wholeLines splits after newlines. A last line without one was cut off.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, damaged("the last record is cut off")
	}
	return 0, nil, nil
}

// checkItem refuses what could not be read back.
func checkItem(i backup.Item) error {
	bad := ""
	switch {
	case i.ID == "":
		bad = "an item without an id"
	case len(i.ID) > maxIDBytes || !utf8.ValidString(i.ID):
		bad = "an item with an id that is too long or not text"
	case len(i.Meta) > maxMetaBytes || len(i.Name) > maxIDBytes*16:
		bad = "an item with more metadata than can be kept"
	case len(i.Meta) > 0 && !json.Valid(i.Meta):
		bad = "an item with metadata that is not JSON"
	}
	if bad == "" {
		return nil
	}
	return &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultVendor, Message: "the service told of " + bad, Retryable: true}
}
