package graph

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox/content"
)

// drive is a person's OneDrive: a tree of items by number. Numbers start at 1, the root, and are never reused.
type drive struct {
	mu    sync.Mutex
	user  *user
	id    string
	seq   uint64
	items []*driveItem // item n stands at n-1
	feed  feed
}

// itemKind is what an item is; every kind but folder and file is a special case of the real service.
type itemKind string

const (
	itemFolder   itemKind = "folder"
	itemFile     itemKind = "file"
	itemPackage  itemKind = "package"  // a OneNote notebook: like a folder, without content
	itemShortcut itemKind = "shortcut" // a link to an item of another drive
	itemMalware  itemKind = "malware"  // a file whose content the service refuses
)

// driveItem is one item. A deleted one stays as a stub, so that delta calls can tell of it.
type driveItem struct {
	n, parent int
	kind      itemKind
	name      string
	version   int // of the content
	edits     int // of anything
	seq       uint64
	gone      bool
	created   time.Time
	modified  time.Time
	file      content.File // of generated files; Key.Version follows version
	raw       *blob        // of files put in as they are

	hash        string // quickXorHash of hashVersion, made when it is first asked for
	hashVersion int
}

// driveStart is when the oldest file of a sandbox was made.
var driveStart = time.Date(2026, 1, 7, 10, 0, 0, 0, time.UTC)

// newDrive makes a drive as it was on the first day.
func newDrive(u *user) *drive {
	d := &drive{user: u, id: u.ids.driveID()}
	root := d.put(&driveItem{kind: itemFolder, name: "root", created: driveStart})
	folders := []int{root}
	for _, f := range []struct {
		parent int
		name   string
	}{{0, "Documents"}, {1, "Contracts 2026"}, {2, "Entwürfe & Ideen"}, {0, "Pictures 📷"}, {0, "مشاريع"}} {
		folders = append(folders, d.put(&driveItem{kind: itemFolder, name: f.name, parent: folders[f.parent], created: driveStart}))
	}
	for i := range u.company.files {
		d.putFile(folders[i%len(folders)], "", i, driveStart.Add(time.Duration(i)*17*time.Minute))
	}
	notebook := d.put(&driveItem{kind: itemPackage, name: "Notebook", parent: folders[1], created: driveStart})
	d.putFile(notebook, "Notes.one", u.company.files+1, driveStart)
	d.put(&driveItem{kind: itemShortcut, name: "Team folder", parent: root, created: driveStart})
	n := d.putFile(folders[1], "invoice.exe.pdf", u.company.files, driveStart)
	d.items[n-1].kind = itemMalware
	return d
}

func (d *drive) put(it *driveItem) int {
	it.n = len(d.items) + 1
	it.modified = it.created
	d.items = append(d.items, it)
	d.touch(it)
	return it.n
}

// putFile adds a generated file. Without a name it gets one that fits its content.
func (d *drive) putFile(parent int, name string, index int, at time.Time) int {
	n := len(d.items) + 1
	f := content.NewFile(content.Key{Seed: d.user.company.seed, ID: fmt.Sprintf("%s/file/%d", d.user.GraphID, n)}, index)
	if name == "" {
		name = f.Name
	}
	return d.put(&driveItem{kind: itemFile, name: name, parent: parent, file: f, created: at})
}

func (d *drive) touch(it *driveItem) {
	d.seq++
	it.seq = d.seq
	d.feed.note(d.seq, it.n)
}

// item finds an item by id; "root" is an id, too.
func (d *drive) item(id string) (*driveItem, *apiError) {
	n, ok := d.user.ids.parseItemID(id)
	if id == "root" {
		n, ok = 1, true
	}
	if !ok || n < 1 || n > len(d.items) || d.items[n-1].gone {
		return nil, notFound("itemNotFound", "The resource could not be found.")
	}
	return d.items[n-1], nil
}

func (d *drive) children(n int) []*driveItem {
	var list []*driveItem
	for _, it := range d.items {
		if it.parent == n && !it.gone {
			list = append(list, it)
		}
	}
	return list
}

// path is the item's names from the top, without the root.
func (d *drive) path(it *driveItem) []string {
	var names []string
	for ; it.n != 1; it = d.items[it.parent-1] {
		names = append(names, it.name)
	}
	slices.Reverse(names)
	return names
}

// within tells whether an item is a folder or below it.
func (d *drive) within(it, folder *driveItem) bool {
	for ; it.parent != 0; it = d.items[it.parent-1] {
		if it == folder {
			return true
		}
	}
	return it == folder
}

// container tells whether an item can hold others.
func (it *driveItem) container() bool { return it.kind == itemFolder || it.kind == itemPackage }

// size is the length of the content in bytes; 0 for what has none.
func (it *driveItem) size() int64 {
	switch {
	case it.raw != nil:
		return it.raw.size
	case it.kind == itemFile || it.kind == itemMalware:
		return it.atVersion().Size()
	}
	return 0
}

func (it *driveItem) atVersion() content.File {
	f := it.file
	f.Key.Version = it.version
	return f
}

// open gives the content, which may be read while the drive changes: the item is a copy.
func (it driveItem) open() (io.ReadSeekCloser, error) {
	if it.raw != nil {
		return it.raw.open()
	}
	return nopCloser{it.atVersion().Open()}, nil
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// quickXorHash is the content's hash; empty for an empty file, which has none in the real service either.
func (it *driveItem) quickXorHash() string {
	if it.size() == 0 {
		return ""
	}
	if it.hash == "" || it.hashVersion != it.version {
		r, err := it.open()
		if err != nil {
			return ""
		}
		defer r.Close()
		if it.hash, err = quickXorOf(r); err != nil {
			return ""
		}
		it.hashVersion = it.version
	}
	return it.hash
}

// folderSize sums up what is below a folder.
func (d *drive) folderSize(n int) int64 {
	var total int64
	for _, it := range d.children(n) {
		total += it.size() + d.folderSize(it.n)
	}
	return total
}
