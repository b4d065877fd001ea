package graph

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// driveState follows a drive's delta and gives what a client knows, as path → kind.
func paths(known map[string]map[string]any) map[string]string {
	out := map[string]string{}
	for _, it := range known {
		if it["root"] != nil {
			continue
		}
		path := text(it, "name")
		for up := it; ; {
			parent, _ := up["parentReference"].(map[string]any)
			if up = known[text(parent, "id")]; up == nil {
				path = "?/" + path
				break
			}
			if up["root"] != nil {
				break
			}
			path = text(up, "name") + "/" + path
		}
		kind := "file"
		for _, facet := range []string{"folder", "package", "remoteItem", "malware"} {
			if it[facet] != nil {
				kind = facet
			}
		}
		out[path] = kind
	}
	return out
}

func livePaths(files []LiveFile) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		kind := f.Kind
		if kind == string(itemShortcut) {
			kind = "remoteItem"
		}
		out[strings.Join(f.Path, "/")] = kind
	}
	return out
}

func TestDriveDeltaFollowsEverything(t *testing.T) {
	for _, shuffled := range []bool{false, true} {
		t.Run(fmt.Sprintf("shuffled=%v", shuffled), func(t *testing.T) {
			c := start(t, 1)
			upn := c.opt.People[0].UPN
			if shuffled {
				if err := c.Inject(Fault{Kind: FaultShuffle}); err != nil {
					t.Fatal(err)
				}
			}
			items, link, _ := c.round("/users/" + upn + "/drive/root/delta?$top=4")
			if !shuffled && items[0]["root"] == nil {
				t.Error("the root is not the first item")
			}
			known := state(items)
			for seed := range uint64(12) {
				if got, want := paths(known), livePaths(must(c.Files(upn))); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("before the changes of seed %d\n got %v\nwant %v", seed, got, want)
				}
				must(c.Mutate(seed, SomeOfEverything()))
				if seed == 5 {
					must(c.Apply(Change{Op: OpDeleteItem, User: upn, Item: "Documents/Contracts 2026"})) // with what is in it
				}
				items, link, _ = c.round(link)
				for _, it := range items {
					if it["deleted"] != nil {
						delete(known, text(it, "id"))
					} else {
						known[text(it, "id")] = it
					}
				}
			}
		})
	}
}

func TestDriveDeltaShowsParentsUnlessExcluded(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	_, link, _ := c.round("/users/" + upn + "/drive/root/delta")
	must(c.Apply(Change{Op: OpAddFile, User: upn, Into: "Documents/Contracts 2026", Name: "new.txt"}))
	full, _, _ := c.round(link)
	if len(full) != 4 || full[0]["root"] == nil || text(full[3], "name") != "new.txt" {
		t.Errorf("with parents: %v", names(full, "name"))
	}
	_, link, _ = c.round("/users/"+upn+"/drive/root/delta", "deltaExcludeParent", "true")
	must(c.Apply(Change{Op: OpEditFile, User: upn, Item: "Documents/Contracts 2026/new.txt"}))
	if only, _, _ := c.round(link); len(only) != 1 || text(only[0], "name") != "new.txt" {
		t.Errorf("without parents: %v", names(only, "name"))
	}
}

func TestDriveTokenLatest(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	items, link, _ := c.round("/users/" + upn + "/drive/root/delta?token=latest")
	if len(items) != 0 {
		t.Errorf("from now on, yet %d items", len(items))
	}
	must(c.Apply(Change{Op: OpAddFolder, User: upn, Into: "root", Name: "later"}))
	if items, _, _ := c.round(link); len(items) != 2 { // and the root
		t.Errorf("after one change %d items: %v", len(items), names(items, "name"))
	}
}

// Tags and metadata move as the real ones do: a rename changes the eTag, an edit the cTag, too.
func TestTagsOfFiles(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	id := must(c.Apply(Change{Op: OpAddFile, User: upn, Into: "root", Name: "tags.txt"}))
	get := func() (string, string, string) {
		a := c.want("/users/" + upn + "/drive/items/" + id)
		return text(a.json, "eTag"), text(a.json, "cTag"), text(a.json["file"].(map[string]any)["hashes"].(map[string]any), "quickXorHash")
	}
	e1, c1, h1 := get()
	must(c.Apply(Change{Op: OpRenameItem, User: upn, Item: id, Name: "renamed.txt"}))
	e2, c2, h2 := get()
	must(c.Apply(Change{Op: OpEditFile, User: upn, Item: id}))
	e3, c3, h3 := get()
	if e1 == e2 || c1 != c2 || h1 != h2 {
		t.Errorf("rename: eTag %s → %s, cTag %s → %s, hash %s → %s", e1, e2, c1, c2, h1, h2)
	}
	if e2 == e3 || c2 == c3 || h2 == h3 {
		t.Errorf("edit: eTag %s → %s, cTag %s → %s, hash %s → %s", e2, e3, c2, c3, h2, h3)
	}
}

func TestMissingHash(t *testing.T) {
	c := start(t, 1)
	upn := c.opt.People[0].UPN
	id := must(c.AddFile(upn, "root", "new.bin", []byte("x")))
	hashes := func() any {
		return c.want("/users/" + upn + "/drive/items/" + id).json["file"].(map[string]any)["hashes"]
	}
	if err := c.Inject(Fault{Kind: FaultNoHash, Item: id, Next: 1}); err != nil {
		t.Fatal(err)
	}
	if h := hashes(); h != nil {
		t.Errorf("hashes %v although none is known yet", h)
	}
	if hashes() == nil {
		t.Error("no hashes afterwards")
	}
}

func (t *tester) content(path string) (location string) {
	t.Helper()
	a := t.get(path + "/content")
	if a.status != http.StatusFound {
		t.Fatalf("GET %s/content: %d %s", path, a.status, a.body)
	}
	return a.header.Get("Location")
}

func TestDownload(t *testing.T) {
	c := start(t, 1, func(o *Options) { o.FilesPerDrive = 30 })
	upn := c.opt.People[0].UPN
	big, empty := 0, 0
	for _, f := range must(c.Files(upn)) {
		if f.Kind != "file" {
			continue
		}
		path := "/users/" + upn + "/drive/items/" + f.ID
		meta := c.want(path).json
		a := c.do(must(http.NewRequest(http.MethodGet, c.content(path), nil)))
		want := must(io.ReadAll(must(c.OpenFile(upn, f.ID))))
		if a.status != 200 || !bytes.Equal(a.body, want) || float64(len(want)) != meta["size"] {
			t.Fatalf("%v: %d, %d bytes, want %d", f.Path, a.status, len(a.body), len(want))
		}
		hashes, _ := meta["file"].(map[string]any)["hashes"].(map[string]any)
		if len(want) == 0 {
			empty++
			if hashes != nil {
				t.Errorf("an empty file has hashes: %v", hashes)
			}
			continue
		}
		if got := text(hashes, "quickXorHash"); got != slowQuickXor(want) {
			t.Errorf("%v: quickXorHash %s, want %s", f.Path, got, slowQuickXor(want))
		}
		if len(want) > 2<<20 {
			big++
		}
	}
	if big == 0 || empty == 0 {
		t.Errorf("%d large and %d empty files; want some of each", big, empty)
	}
}

func TestDownloadRangesAndRefusals(t *testing.T) {
	c := start(t, 1, func(o *Options) { o.DownloadLife = 2 * time.Second })
	upn := c.opt.People[0].UPN
	id := must(c.AddFile(upn, "Documents", "raw.bin", []byte("0123456789")))
	path := "/users/" + upn + "/drive/items/" + id
	location := c.content(path)
	if !strings.Contains(location, c.ContentHost()) || strings.HasPrefix(location, c.GraphURL()) {
		t.Errorf("the content lies at %s", location)
	}
	fetch := func(url string, header ...string) answer {
		req := must(http.NewRequest(http.MethodGet, url, nil))
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return c.do(req)
	}
	if a := fetch(location, "Range", "bytes=3-6"); a.status != 206 || string(a.body) != "3456" {
		t.Errorf("a range: %d %q", a.status, a.body)
	}
	if a := fetch(location, "Range", "bytes=20-"); a.status != 416 {
		t.Errorf("a range behind the end: %d", a.status)
	}
	if a := fetch(location, "Authorization", "Bearer "+c.token); a.status != 401 {
		t.Errorf("with an access token: %d", a.status)
	}
	if a := fetch(location[:len(location)-3] + "AAA"); a.status != 403 {
		t.Errorf("a changed URL: %d", a.status)
	}
	tag := text(c.want(path).json, "cTag")
	if a := c.get(path+"/content", "If-None-Match", tag); a.status != 304 {
		t.Errorf("If-None-Match with %s: %d", tag, a.status)
	}
	time.Sleep(2100 * time.Millisecond)
	if a := fetch(location); a.status != 403 {
		t.Errorf("a URL after its time: %d", a.status)
	}
	if a := fetch(c.content(path)); a.status != 200 || strconv.Itoa(len(a.body)) != "10" {
		t.Errorf("a fresh URL: %d", a.status)
	}
}
