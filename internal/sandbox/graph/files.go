package graph

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var itemProperties = []string{"id", "name", "size", "eTag", "cTag", "webUrl", "createdDateTime", "lastModifiedDateTime", "createdBy", "lastModifiedBy",
	"parentReference", "fileSystemInfo", "file", "folder", "package", "remoteItem", "malware", "deleted", "root", "specialFolder", "shared",
	downloadURLProperty, "content.downloadUrl"}

const downloadURLProperty = "@microsoft.graph.downloadUrl"

// service gives the drive of a call, or the answer for somebody who has none.
func (c *call) drive() (*drive, *apiError) {
	if c.user == nil || c.user.NoMailbox {
		return nil, notFound("ResourceNotFound", "User's mysite not found.")
	}
	return c.user.drive(), nil
}

func (s *Server) getDrive(c *call) error {
	d, e := c.drive()
	if e != nil {
		return e
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	used := d.folderSize(1)
	writeJSON(c.w, http.StatusOK, object{
		"@odata.context": s.GraphURL() + "/$metadata#drives/$entity", "id": d.id, "driveType": "business", "name": "OneDrive",
		"createdDateTime": stamp(driveStart), "lastModifiedDateTime": stamp(driveStart), "webUrl": s.webURL(d, nil),
		"owner": object{"user": object{"id": c.user.GraphID, "displayName": c.user.DisplayName(), "email": c.user.Mail}},
		"quota": object{"deleted": 0, "remaining": int64(1<<40) - used, "total": int64(1 << 40), "used": used, "state": "normal"},
	})
	return nil
}

func (s *Server) webURL(d *drive, path []string) string {
	u := "https://sandbox-my.sharepoint.example/personal/" + url.PathEscape(strings.NewReplacer("@", "_", ".", "_").Replace(d.user.UPN)) + "/Documents"
	for _, p := range path {
		u += "/" + url.PathEscape(p)
	}
	return u
}

// itemObject renders an item.
func (s *Server) itemObject(d *drive, it *driveItem) object {
	id := d.user.ids.itemID(it.n)
	if it.gone {
		return object{"id": id, "deleted": object{"state": "deleted"}, "parentReference": s.parentReference(d, it)}
	}
	who := object{"user": object{"id": d.user.GraphID, "displayName": d.user.DisplayName(), "email": d.user.Mail}}
	o := object{
		"id": id, "name": it.name, "size": it.size(), "webUrl": s.webURL(d, d.path(it)), "createdBy": who, "lastModifiedBy": who,
		"eTag":            fmt.Sprintf(`"{%s},%d"`, strings.ToUpper(guid(0, id)), it.edits+1),
		"cTag":            fmt.Sprintf(`"c:{%s},%d"`, strings.ToUpper(guid(0, id)), it.version+1),
		"createdDateTime": stamp(it.created), "lastModifiedDateTime": stamp(it.modified), "parentReference": s.parentReference(d, it),
		"fileSystemInfo": object{"createdDateTime": stamp(it.created), "lastModifiedDateTime": stamp(it.modified)},
	}
	switch it.kind {
	case itemFolder:
		o["size"], o["folder"] = d.folderSize(it.n), object{"childCount": len(d.children(it.n))}
		if it.n == 1 {
			o["root"] = object{}
		}
	case itemPackage:
		o["package"] = object{"type": "oneNote"}
	case itemShortcut:
		o["remoteItem"] = object{"id": "01" + strings.ToUpper(guid(d.user.company.seed, "remote")), "name": it.name, "size": 0, "folder": object{"childCount": 3},
			"parentReference": object{"driveId": "b!" + guid(d.user.company.seed, "remote drive"), "driveType": "documentLibrary"}}
	default:
		s.addFile(o, d, it)
	}
	return o
}

// addFile adds the facets of a file.
func (s *Server) addFile(o object, d *drive, it *driveItem) {
	facet := object{"mimeType": it.file.MIMEType}
	if it.raw != nil {
		facet["mimeType"] = "application/octet-stream"
	}
	_, hidden := s.faults.strikeItem(CallItem, d.user.UPN, d.user.ids.itemID(it.n), FaultNoHash)
	if hash := it.quickXorHash(); hash != "" && !hidden {
		facet["hashes"] = object{"quickXorHash": hash}
	}
	o["file"] = facet
	if it.kind == itemMalware {
		o["malware"] = object{"description": "Virus.EICAR"}
		return
	}
	o[downloadURLProperty] = s.downloadURL(d, it)
}

func (s *Server) parentReference(d *drive, it *driveItem) object {
	ref := object{"driveId": d.id, "driveType": "business"}
	if it.parent == 0 {
		return ref
	}
	parent := d.items[it.parent-1]
	ref["id"] = d.user.ids.itemID(parent.n)
	if !it.gone {
		ref["name"] = parent.name
		ref["path"] = "/drives/" + d.id + "/root:" + strings.Join(append([]string{""}, d.path(parent)...), "/")
	}
	return ref
}

func (s *Server) getItem(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, itemProperties)
	if e != nil {
		return e
	}
	d, e := c.drive()
	if e != nil {
		return e
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	it, e := d.item(itemOf(c.r))
	if e != nil {
		return e
	}
	out := pickItem(s.itemObject(d, it), o.Select)
	out["@odata.context"] = s.GraphURL() + "/$metadata#drives('" + d.id + "')/items/$entity"
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

func itemOf(r *http.Request) string {
	if id := r.PathValue("item"); id != "" {
		return id
	}
	return "root"
}

// pickItem is pick with the two spellings of the download URL.
func pickItem(o object, selected []string) object {
	if slices.Contains(selected, "content.downloadUrl") {
		selected = append(slices.Clone(selected), downloadURLProperty)
	}
	return pick(o, selected)
}

func (s *Server) listChildren(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, itemProperties)
	if e != nil {
		return e
	}
	d, e := c.drive()
	if e != nil {
		return e
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	it, e := d.item(itemOf(c.r))
	if e != nil {
		return e
	}
	l := listing{feed: feedName("children", c.user.GraphID, fmt.Sprint(it.n)), context: "#drives('" + d.id + "')/items", size: o.size(drivesDefault, drivesMax)}
	if e := s.resume(&l, &o); e != nil {
		return e
	}
	return writeList(s, c, l, o, d.children(it.n), func(x *driveItem) object { return s.itemObject(d, x) })
}

// driveDelta lists the drive flat. As the real service does, it shows the unchanged parents of what changed, too, unless
// the header deltaExcludeParent says otherwise; so the root comes first.
func (s *Server) driveDelta(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, itemProperties)
	if e != nil {
		return e
	}
	d, e := c.drive()
	if e != nil {
		return e
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, e := s.openRound(c, Drive, feedName("drive", c.user.GraphID), o, d.seq, drivesDefault, drivesMax)
	if e != nil {
		return e
	}
	entries, more := r.page(d.feed, func(e feedEntry) bool {
		it := d.items[e.n-1]
		return it.seq == e.seq && (!it.gone || e.seq > r.cursor.Floor)
	})
	value := make([]object, 0, len(entries))
	for _, n := range d.withParents(entries, r.cursor.Lean) {
		value = append(value, pickItem(s.itemObject(d, d.items[n-1]), r.cursor.Select))
	}
	s.writePage(c, r, "#Collection(driveItem)", value, more)
	return nil
}

// withParents puts the parents that are not in the page before the page, from the root down.
func (d *drive) withParents(entries []feedEntry, lean bool) []int {
	var page, parents []int
	for _, e := range entries {
		page = append(page, e.n)
	}
	if lean {
		return page
	}
	for _, n := range page {
		if d.items[n-1].gone {
			continue
		}
		for p := d.items[n-1].parent; p != 0 && !slices.Contains(page, p) && !slices.Contains(parents, p); p = d.items[p-1].parent {
			parents = append(parents, p)
		}
	}
	slices.Sort(parents)
	return append(parents, page...)
}
