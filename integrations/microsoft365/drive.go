package microsoft365

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	// driveParallel keeps one drive from taking the resource units of the whole tenant.
	driveParallel = 4
	// driveSelect is what is kept of an item. It leaves the download address out: that is a credential.
	driveSelect = "id,name,size,eTag,cTag,createdDateTime,lastModifiedDateTime,createdBy,lastModifiedBy,parentReference,fileSystemInfo," +
		"file,folder,package,remoteItem,malware,deleted,root,shared,specialFolder,webUrl"
)

// drive is the OneDrive of one account. A file's version is its cTag, which changes with the content, and its meta version the eTag,
// which changes with anything.
type drive struct {
	*account
	id string

	mu sync.Mutex
	// root is the folder that holds everything; what is in it stands at the top.
	root string
	// disagreed are the items whose content did not agree with its metadata once. The second time they are skipped.
	disagreed map[string]bool
}

// openDrive finds the drive, and thereby whether there is one.
func openDrive(ctx context.Context, a *account) (*drive, error) {
	d := &drive{account: a, disagreed: map[string]bool{}}
	var found struct {
		ID string `json:"id"`
	}
	err := a.client.ReadJSON(ctx, msgraph.Call{URL: a.client.At("$select=id", "users", a.user.ID, "drive")}, &found)
	var r *msgraph.Refusal
	switch {
	case errors.As(err, &r) && (r.Missing() || r.Says("SPO license")):
		return nil, a.noService("OneDrive", r)
	case err != nil:
		return nil, d.judge(ctx, err)
	case found.ID == "":
		return nil, msgraph.BadResponse("Microsoft Graph gave a drive without an id", nil)
	}
	d.id = found.ID
	return d, nil
}

// at is an address below the drive.
func (d *drive) at(query string, segments ...string) string {
	return d.client.At(query, append([]string{"drives", d.id}, segments...)...)
}

// judge says what a refusal means for this drive; other errors pass.
func (d *drive) judge(ctx context.Context, err error) error {
	var r *msgraph.Refusal
	if errors.As(err, &r) && (r.Status == http.StatusForbidden || r.Status == http.StatusLocked) {
		return d.closed(ctx, readFiles, r, err)
	}
	return err
}

// Changes follows the one flat list of a drive: folders and files, with their parents by id. The root itself is left out, like that of
// a mailbox.
func (d *drive) Changes(ctx context.Context, cursor json.RawMessage, yield func(backup.Change) error) (json.RawMessage, error) {
	at, link, err := d.begin(ctx, cursor)
	if err != nil {
		return nil, d.judge(ctx, err)
	}
	end, err := d.client.DeltaRound(ctx, link, nil, func(raw json.RawMessage) error {
		var i driveItem
		if err := msgraph.Entry(raw, &i); err != nil {
			return err
		}
		if i.Root != nil || i.ID == at.Root {
			return nil
		}
		change, err := i.change(raw, at.Root)
		if err != nil {
			return err
		}
		return yield(change)
	})
	if err != nil {
		return nil, d.judge(ctx, err)
	}
	if at.Link, err = d.client.Shorten(end); err != nil {
		return nil, msgraph.BadResponse(err.Error(), nil)
	}
	return encodeCursor(at)
}

// begin reads the cursor, or finds the drive's root for a full listing, and gives the first link.
func (d *drive) begin(ctx context.Context, cursor json.RawMessage) (at driveCursor, link string, err error) {
	if len(cursor) > 0 {
		if at, err = readDriveCursor(cursor, d.id); err != nil {
			return at, "", err
		}
		if link, err = d.client.Restore(at.Link); err != nil {
			return at, "", msgraph.CursorExpired("the last backup's cursor leads elsewhere", err)
		}
	} else {
		var root driveItem
		if err := d.client.ReadJSON(ctx, msgraph.Call{URL: d.at("$select=id", "root")}, &root); err != nil {
			return at, "", err
		}
		at = driveCursor{Version: cursorVersion, Drive: d.id, Root: root.ID}
		link = d.at("$select="+driveSelect, "root", "delta")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root = at.Root
	return at, link, nil
}

// top is the root's id as far as it is known.
func (d *drive) top() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.root
}

// Open fetches a file's present state and content. The reader compares length and quickXorHash at the end. Contents up to the window
// are verified before Open returns. A content that does not agree with its metadata is CodeBadResponse the first time, for it may have
// changed meanwhile, and a *backup.SkipError the second time.
func (d *drive) Open(ctx context.Context, item backup.Item) (backup.Item, io.ReadCloser, error) {
	opened, body, err := d.open(ctx, item.ID)
	if errors.Is(err, errDisagrees) {
		opened, body, err = d.open(ctx, item.ID)
	}
	if err != nil {
		return item, nil, d.judge(ctx, skipped(err))
	}
	return opened, body, nil
}

// open reads metadata and window of a content.
func (d *drive) open(ctx context.Context, id string) (backup.Item, io.ReadCloser, error) {
	f := &download{drive: d, ctx: ctx, id: id}
	err := d.client.Repeat(ctx, f.locate)
	if err == nil {
		err = d.client.Repeat(ctx, f.begin)
	}
	if err != nil {
		return backup.Item{}, nil, err
	}
	opened := f.item
	body, err := readWindow(f)
	return opened, body, err
}

// Parallel is 4.
func (d *drive) Parallel() int { return driveParallel }

// Calls counts this drive's requests, downloads included.
func (d *drive) Calls() int64 { return d.client.Calls() }

var errDisagrees = errors.New("length or hash differ")

// disagree is the error of a content that is not what its metadata says.
func (d *drive) disagree(id, detail string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.disagreed[id] {
		return &backup.SkipError{Reason: backup.SkipUnstable, Detail: detail}
	}
	d.disagreed[id] = true
	return msgraph.BadResponse("a file is not what its metadata says: "+detail, errDisagrees)
}

// agree forgets an earlier disagreement.
func (d *drive) agree(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.disagreed, id)
}

// driveItem is what is looked at in a drive's item. Facets are present or absent; what is in them is kept in Meta.
type driveItem struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Size     *int64    `json:"size"`
	ETag     string    `json:"eTag"`
	CTag     string    `json:"cTag"`
	Modified time.Time `json:"lastModifiedDateTime"`
	Parent   struct {
		ID string `json:"id"`
	} `json:"parentReference"`
	File *struct {
		Hashes struct {
			QuickXor string `json:"quickXorHash"`
		} `json:"hashes"`
	} `json:"file"`
	Folder   *struct{} `json:"folder"`
	Root     *struct{} `json:"root"`
	Deleted  *struct{} `json:"deleted"`
	Package  *struct{} `json:"package"`
	Remote   *struct{} `json:"remoteItem"`
	Malware  *struct{} `json:"malware"`
	Download string    `json:"@microsoft.graph.downloadUrl"`
}

func (i *driveItem) Key() string { return i.ID }

// change makes the entry a change. A removal names no parent: an item of a drive is in one place only, and the one that the marker
// names need not be the one known from the last backup.
func (i *driveItem) change(raw json.RawMessage, root string) (backup.Change, error) {
	if i.Deleted != nil {
		return backup.Change{Removed: true, Item: backup.Item{ID: i.ID}}, nil
	}
	item, err := i.item(raw, root)
	return backup.Change{Item: item}, err
}

func (i *driveItem) item(raw json.RawMessage, root string) (backup.Item, error) {
	meta, err := withoutAddresses(raw)
	if err != nil {
		return backup.Item{}, msgraph.BadResponse("an entry of Microsoft Graph is not what it should be", nil)
	}
	item := backup.Item{ID: i.ID, Kind: backup.File, Parent: i.Parent.ID, Name: i.Name, MetaVersion: i.ETag, Modified: i.Modified, Size: -1, Meta: meta}
	if i.Parent.ID == root {
		item.Parent = ""
	}
	item.Skip = i.skip()
	switch {
	case i.Folder != nil && item.Skip == "", item.Skip == backup.SkipPackage:
		item.Kind = backup.Folder // a package has items below it, which are files like others
	case item.Skip == "":
		item.Version = i.CTag
		if i.Size != nil {
			item.Size = *i.Size
		}
		if i.File != nil && i.File.Hashes.QuickXor != "" {
			item.Hash = quickXorPrefix + i.File.Hashes.QuickXor
		}
	}
	return item, nil
}

// skip tells what is known beforehand not to have content of its own.
func (i *driveItem) skip() backup.SkipReason {
	switch {
	case i.Malware != nil:
		return backup.SkipMalware
	case i.Remote != nil:
		return backup.SkipShortcut
	case i.Package != nil:
		return backup.SkipPackage
	}
	return ""
}

// withoutAddresses takes download addresses out of an item's JSON: whoever has one can read the file, so they are not kept.
func withoutAddresses(raw json.RawMessage) (json.RawMessage, error) {
	if !strings.Contains(strings.ToLower(string(raw)), "downloadurl") {
		return raw, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for name := range fields {
		if strings.HasSuffix(strings.ToLower(name), "downloadurl") {
			delete(fields, name)
		}
	}
	return json.Marshal(fields)
}
