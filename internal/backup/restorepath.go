package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of restored paths. File systems allow 255 bytes a component and 4,096 a path; what is left is room for the
// destination itself and for temporary names.
const (
	maxNameBytes    = 150
	maxSuffixBytes  = 16
	maxFolderLevels = 32
	maxFolderBytes  = 2000
)

// RestorePath turns the untrusted names of a snapshot's items into paths that are safe on any file system. Within one folder no two
// items get the same name, letter case aside. Told the same items in the same order it gives the same paths, so that a restore that
// is repeated finds what it wrote before.
//
// It remembers one short string for every path it gave. It is not safe for concurrent use.
type RestorePath struct {
	folders map[string]folderName
	given   map[string]string // a folder's path and the folded name in it: the item that has it
}

type folderName struct{ parent, name string }

// NewRestorePath knows no folders yet.
func NewRestorePath() *RestorePath {
	return &RestorePath{folders: map[string]folderName{}, given: map[string]string{}}
}

// AddFolder tells of a folder. All folders are told before the first path is asked for.
func (p *RestorePath) AddFolder(folder Item) {
	p.folders[folder.ID] = folderName{folder.Parent, folder.Name}
}

// Path gives the components of an item's path, its own name last. An item whose parent is unknown stands at the top; so does a folder
// that contains itself or lies too deep.
func (p *RestorePath) Path(item Item) []string {
	if item.Kind == Folder {
		return p.folder(item.ID, map[string]bool{})
	}
	name := SafeName(item.Name)
	if item.Kind == Message {
		name = MessageFileName(item)
	}
	return p.give(p.folder(item.Parent, map[string]bool{}), name, item.ID)
}

// folder gives a folder's path; above holds the folders that asked for it on the way up.
func (p *RestorePath) folder(id string, above map[string]bool) []string {
	f, known := p.folders[id]
	if !known || above[id] {
		return nil
	}
	above[id] = true
	var parent []string
	if len(above) <= maxFolderLevels {
		parent = p.folder(f.parent, above)
	}
	if len(strings.Join(parent, "/")) > maxFolderBytes {
		parent = nil
	}
	return p.give(parent, SafeName(f.name), id)
}

// give reserves name in a folder for an item. When another item has it, a part of the id's hash tells them apart.
func (p *RestorePath) give(folder []string, name, id string) []string {
	sum := sha256.Sum256([]byte(id))
	hash := hex.EncodeToString(sum[:])
	prefix := strings.Join(folder, "/") + "/"
	candidate := name
	for _, digits := range []int{8, 16, len(hash)} {
		key := prefix + strings.ToLower(candidate)
		if owner, taken := p.given[key]; !taken || owner == id {
			p.given[key] = id
			break
		}
		candidate = withMark(name, " ("+hash[:digits]+")")
	}
	return append(folder[:len(folder):len(folder)], candidate)
}

// SafeName makes one path component of an untrusted name: no separators, control or direction characters, no character or name that
// Windows reserves, no dots or spaces at the ends, at most 150 bytes of valid UTF-8, and never empty.
func SafeName(name string) string {
	name = strings.Map(safeRune, strings.ToValidUTF8(name, "_"))
	name = trimName(name)
	if strings.HasPrefix(name, ".") {
		name = "_" + name[1:]
	}
	if name == "" {
		return "unnamed"
	}
	if stem, _, _ := strings.Cut(name, "."); reservedName(strings.TrimRight(stem, " ")) {
		name = "_" + name
	}
	return withMark(name, "")
}

// MessageFileName is the file name of a mail message: "2026-03-01 0915 Subject.eml", the time in UTC.
func MessageFileName(item Item) string {
	subject := SafeName(item.Name)
	if strings.TrimSpace(item.Name) == "" {
		subject = "no subject"
	}
	date := "undated"
	if !item.Modified.IsZero() {
		date = item.Modified.In(time.UTC).Format("2006-01-02 1504")
	}
	return date + " " + cutName(subject, maxNameBytes-len(date)-len(" .eml")) + ".eml"
}

// withMark puts mark before the name's suffix and shortens what stands before it to the limit.
func withMark(name, mark string) string {
	suffix := path.Ext(name)
	if len(suffix) > maxSuffixBytes || len(suffix) == len(name) || strings.ContainsRune(suffix, ' ') {
		suffix = ""
	}
	return cutName(strings.TrimSuffix(name, suffix), maxNameBytes-len(suffix)-len(mark)) + mark + suffix
}

// cutName shortens name to at most limit bytes, between two characters.
func cutName(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	for limit > 0 && !utf8.RuneStart(name[limit]) {
		limit--
	}
	return strings.TrimRight(name[:limit], ". ")
}

func trimName(name string) string {
	return strings.TrimRight(strings.TrimLeftFunc(name, unicode.IsSpace), ". \u00a0")
}

// safeRune replaces what a path component may not hold. Direction marks go, too: they show "exe.txt" for what ends in ".exe".
func safeRune(r rune) rune {
	switch {
	case strings.ContainsRune(`/\:*?"<>|`, r), unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
		return '_'
	}
	return r
}

// reservedName tells whether Windows keeps stem for a device (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
func reservedName(stem string) bool {
	stem = strings.ToUpper(stem)
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	device, number := strings.CutPrefix(stem, "COM")
	if !number {
		device, number = strings.CutPrefix(stem, "LPT")
	}
	return number && utf8.RuneCountInString(device) == 1 && strings.Contains("0123456789¹²³", device)
}
