package microsoft365

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// checkPage decodes a page the way Changes does and looks for what must never happen to its entries.
func checkPage(t *testing.T, body []byte) {
	var p msgraph.Page
	if json.Unmarshal(body, &p) != nil {
		return
	}
	for _, raw := range p.Value {
		var m message
		if msgraph.Entry(raw, &m) == nil && m.item(raw, "folder").ID == "" {
			t.Fatal("a message without an id")
		}
		var f mailFolder
		if msgraph.Entry(raw, &f) == nil && f.item(raw, "root").ID == "" {
			t.Fatal("a folder without an id")
		}
		var i driveItem
		if msgraph.Entry(raw, &i) != nil {
			continue
		}
		c, err := i.change(raw, "root")
		if err != nil {
			continue
		}
		if c.Item.ID == "" {
			t.Fatal("an item without an id")
		}
		if strings.Contains(strings.ToLower(string(c.Item.Meta)), `downloadurl":`) && i.Download != "" {
			t.Fatalf("a download address is kept: %s", c.Item.Meta)
		}
	}
}

// remoteFile is a file of the test's drive: what its metadata says and what its address gives.
type remoteFile struct {
	id, ctag, name string
	content        []byte
	// size and hash override what the metadata says of the content.
	size  int64
	hash  string
	serve http.HandlerFunc
	extra string
}

func (f *remoteFile) json(x *tenant) string {
	size, hash := f.size, f.hash
	if size == 0 {
		size = int64(len(f.content))
	}
	if hash == "" {
		var h quickXor
		h.Write(f.content)
		hash = strings.TrimPrefix(h.sum(), quickXorPrefix)
	}
	return fmt.Sprintf(`{"id":%q,"name":%q,"size":%d,"cTag":%q,"eTag":"e","lastModifiedDateTime":"2026-01-02T03:04:05Z","parentReference":{"id":"root"},`+
		`"file":{"hashes":{"quickXorHash":%q}},"@microsoft.graph.downloadUrl":"%s/%s?tempauth=geheim"%s}`, f.id, f.name, size, f.ctag, hash, x.contentServer.URL, f.id, f.extra)
}

// put makes the file readable in the test's drive.
func (x *tenant) put(f *remoteFile) {
	x.graph.HandleFunc("GET /drives/{drive}/items/"+f.id, func(w http.ResponseWriter, r *http.Request) { answer(f.json(x))(w, r) })
	x.contents.HandleFunc("GET /"+f.id, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			x.Error("our token went to the download host")
		}
		if f.serve != nil {
			f.serve(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
	})
}

func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b)
	return b
}

func read(t *testing.T, s Source, id string) (backup.Item, []byte, error) {
	t.Helper()
	item, body, err := s.Open(t.Context(), backup.Item{ID: id, Kind: backup.File})
	if err != nil {
		return item, nil, err
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	return item, content, err
}

// Everything a drive lists, as an item.
func TestDriveItems(t *testing.T) {
	x := newTenant(t)
	x.graph.HandleFunc("GET /drives/{drive}/root/delta", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") == "" {
			answer(`{"value":[
				{"id":"root","name":"root","root":{},"folder":{},"eTag":"e0","parentReference":{"driveId":"b!drive"}},
				{"id":"dir","name":"Plans","folder":{"childCount":1},"eTag":"e1","cTag":"c1","parentReference":{"id":"root"}},
				{"id":"file","name":"a.docx","size":7,"eTag":"e2","cTag":"c2","lastModifiedDateTime":"2026-01-02T03:04:05Z","file":{"hashes":{"quickXorHash":"q"}},"parentReference":{"id":"dir"},"@microsoft.graph.downloadUrl":"https://secret","@content.downloadUrl":"https://secret"},
				{"id":"empty","name":"0","size":0,"file":{},"parentReference":{"id":"dir"}}],
				"@odata.nextLink":"`+x.graphServer.URL+`/v1.0/drives/b%21drive/root/delta?token=2"}`)(w, r)
			return
		}
		answer(`{"value":[
			{"id":"note","name":"Notebook","package":{"type":"oneNote"},"folder":{},"parentReference":{"id":"root"}},
			{"id":"link","name":"Shared","remoteItem":{"id":"far"},"folder":{},"parentReference":{"id":"root"}},
			{"id":"virus","name":"x.exe","size":3,"malware":{"description":"x"},"file":{},"parentReference":{"id":"root"}},
			{"id":"gone","deleted":{"state":"deleted"},"parentReference":{"id":"dir"}}],
			"@odata.deltaLink":"`+x.graphServer.URL+`/v1.0/drives/b%21drive/root/delta?token=3"}`)(w, r)
	})
	changes, next, err := collect(t, x.source(backup.Drive), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		i := c.Item
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s|%s|%d|%s|%s|%v", i.ID, i.Kind, i.Parent, i.Name, i.Version, i.MetaVersion, i.Size, i.Hash, i.Skip, c.Removed))
		if strings.Contains(string(i.Meta), "secret") {
			t.Errorf("a download address is kept: %s", i.Meta)
		}
	}
	want := []string{
		"dir|folder||Plans||e1|-1|||false", "file|file|dir|a.docx|c2|e2|7|quickxor:q||false", "empty|file|dir|0|||0|||false",
		"note|folder||Notebook|||-1||package|false", "link|file||Shared|||-1||shortcut|false", "virus|file||x.exe|||-1||malware|false", "gone||||||0|||true",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !changes[1].Item.Modified.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Error(changes[1].Item.Modified)
	}
	if string(next) != `{"v":1,"drive":"b!drive","root":"root","link":"/drives/b%21drive/root/delta?token=3"}` {
		t.Errorf("cursor %s", next)
	}
}

func TestDownloads(t *testing.T) {
	small, large := noise(1000), noise(3<<20)
	cutAfter := func(f *remoteFile, n int) {
		served := 0
		f.serve = func(w http.ResponseWriter, r *http.Request) {
			if served++; served == 1 {
				w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
				w.Write(f.content[:n])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
		}
	}
	tests := []struct {
		name    string
		content []byte
		prepare func(*tenant, *remoteFile)
		calls   int64
	}{
		{"small", small, nil, 2},
		{"large", large, nil, 2},
		{"exactly the window", large[:window], nil, 2},
		{"empty", nil, nil, 1},
		{"small, cut", small, func(_ *tenant, f *remoteFile) { cutAfter(f, 100) }, 3},
		{"large, cut behind the window", large, func(_ *tenant, f *remoteFile) { cutAfter(f, 2<<20) }, 3},
		{"cut, and the server knows no ranges", large, func(_ *tenant, f *remoteFile) {
			cutAfter(f, 2<<20)
			cutting := f.serve
			f.serve = func(w http.ResponseWriter, r *http.Request) { r.Header.Del("Range"); cutting(w, r) }
		}, 3},
		{"address has expired", small, func(_ *tenant, f *remoteFile) {
			n := 0
			f.serve = func(w http.ResponseWriter, r *http.Request) {
				if n++; n == 1 {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				w.Write(f.content)
			}
		}, 4},
		{"cut, and the address has expired meanwhile", large, func(_ *tenant, f *remoteFile) {
			cutAfter(f, 2<<20)
			cutting, n := f.serve, 0
			f.serve = func(w http.ResponseWriter, r *http.Request) {
				if n++; n == 2 {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				cutting(w, r)
			}
		}, 5},
		{"no address in the metadata: by redirect", small, func(x *tenant, f *remoteFile) {
			x.graph.HandleFunc("GET /drives/{drive}/items/"+f.id+"/content", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", x.contentServer.URL+"/first")
				w.WriteHeader(http.StatusFound)
			})
			x.contents.HandleFunc("GET /first", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/"+f.id, http.StatusTemporaryRedirect)
			})
			f.extra = `,"@microsoft.graph.downloadUrl":""`
		}, 4},
		{"throttled by the content host", small, func(_ *tenant, f *remoteFile) {
			n := 0
			f.serve = func(w http.ResponseWriter, r *http.Request) {
				if n++; n == 1 {
					w.Header().Set("Retry-After", "3")
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				w.Write(f.content)
			}
		}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			f := &remoteFile{id: "f", ctag: "c1", name: "a", content: tt.content}
			if tt.content == nil {
				f.hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="
			}
			if tt.prepare != nil {
				tt.prepare(x, f)
			}
			x.put(f)
			s := x.source(backup.Drive)
			before := s.Calls()
			item, content, err := read(t, s, "f")
			if err != nil || !bytes.Equal(content, tt.content) {
				t.Fatalf("%d bytes, %v", len(content), err)
			}
			if item.Version != "c1" || item.Size != int64(len(tt.content)) || item.Parent != "root" || strings.Contains(string(item.Meta), "geheim") {
				t.Errorf("%+v", item)
			}
			if got := s.Calls() - before; got != tt.calls {
				t.Errorf("%d calls, want %d", got, tt.calls)
			}
		})
	}
}

// A content that does not agree with its metadata is never handed out as whole.
func TestDisagreement(t *testing.T) {
	wrong := "d3JvbmcgaGFzaCB3cm9uZyBoYXM="
	t.Run("small and for good", func(t *testing.T) {
		x := newTenant(t)
		x.put(&remoteFile{id: "f", ctag: "c1", content: noise(1000), hash: wrong})
		_, _, err := read(t, x.source(backup.Drive), "f")
		wantSkip(t, err, backup.SkipUnstable)
	})
	t.Run("small, length, for good", func(t *testing.T) {
		x := newTenant(t)
		x.put(&remoteFile{id: "f", ctag: "c1", content: noise(1000), size: 900})
		_, _, err := read(t, x.source(backup.Drive), "f")
		wantSkip(t, err, backup.SkipUnstable)
	})
	t.Run("large: first a failure, then skipped", func(t *testing.T) {
		x := newTenant(t)
		x.put(&remoteFile{id: "f", ctag: "c1", content: noise(3 << 20), hash: wrong})
		s := x.source(backup.Drive)
		_, content, err := read(t, s, "f")
		if e := wantCode(t, err, backup.CodeBadResponse); !e.Retryable || len(content) != 3<<20 {
			t.Errorf("%d bytes, %+v", len(content), e)
		}
		_, _, err = read(t, s, "f")
		wantSkip(t, err, backup.SkipUnstable)
	})
	t.Run("the metadata was late", func(t *testing.T) {
		// Office files change after an upload, and the list learns of it a little later.
		x := newTenant(t)
		f := &remoteFile{id: "f", ctag: "c1", content: noise(3 << 20), hash: wrong}
		f.serve = func(w http.ResponseWriter, r *http.Request) {
			f.hash, f.ctag = "", "c2"
			w.Write(f.content)
		}
		x.put(f)
		item, content, err := read(t, x.source(backup.Drive), "f")
		if err != nil || !bytes.Equal(content, f.content) {
			t.Fatalf("%d bytes, %v", len(content), err)
		}
		if item.Version != "c1" {
			t.Errorf("version %s: the next listing must bring the file again", item.Version)
		}
	})
	t.Run("changed between two halves", func(t *testing.T) {
		x := newTenant(t)
		f := &remoteFile{id: "f", ctag: "c1", content: noise(3 << 20)}
		n := 0
		f.serve = func(w http.ResponseWriter, r *http.Request) {
			switch n++; n {
			case 1:
				w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
				w.Write(f.content[:2<<20])
				w.(http.Flusher).Flush()
				f.ctag = "c2"
				panic(http.ErrAbortHandler)
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		}
		x.put(f)
		_, _, err := read(t, x.source(backup.Drive), "f")
		wantCode(t, err, backup.CodeBadResponse)
	})
	t.Run("resumed at the wrong place", func(t *testing.T) {
		x := newTenant(t)
		f := &remoteFile{id: "f", ctag: "c1", content: noise(3 << 20)}
		n := 0
		f.serve = func(w http.ResponseWriter, r *http.Request) {
			if n++; n == 1 {
				w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
				w.Write(f.content[:2<<20])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(f.content)-1, len(f.content)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(f.content)
		}
		x.put(f)
		_, _, err := read(t, x.source(backup.Drive), "f")
		if e := wantCode(t, err, backup.CodeBadResponse); !strings.Contains(e.Error(), "wrong place") {
			t.Error(e.Error())
		}
	})
	t.Run("a body that does not end", func(t *testing.T) {
		x := newTenant(t)
		f := &remoteFile{id: "f", ctag: "c1", content: noise(100)}
		f.serve = func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
		x.put(f)
		_, _, err := read(t, x.source(backup.Drive), "f")
		wantSkip(t, err, backup.SkipUnstable)
	})
	t.Run("always cut at the same place", func(t *testing.T) {
		x := newTenant(t)
		f := &remoteFile{id: "f", ctag: "c1", content: noise(3 << 20)}
		f.serve = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
			w.Write(f.content[:2<<20])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		x.put(f)
		s := x.source(backup.Drive)
		_, _, err := read(t, s, "f")
		wantCode(t, err, backup.CodeBadResponse)
		if s.Calls() > 100 {
			t.Errorf("%d calls", s.Calls())
		}
	})
}

// What makes one file unreadable is that file's outcome; what makes all unreadable is a failure.
func TestRefusedContents(t *testing.T) {
	tests := []struct {
		name  string
		meta  http.HandlerFunc
		serve http.HandlerFunc
		skip  backup.SkipReason
		code  backup.Code
	}{
		{"malware by code", refuse(403, graphError("malwareDetected", "")), nil, backup.SkipMalware, ""},
		{"malware by inner code", refuse(403, `{"error":{"code":"accessDenied","innerError":{"code":"malwareDetected"}}}`), nil, backup.SkipMalware, ""},
		{"malware by the host's header", nil, refuse(403, "", "X-Virus-Infected", "Trojan"), backup.SkipMalware, ""},
		{"malware by facet", answer(`{"id":"f","file":{},"malware":{}}`), nil, backup.SkipMalware, ""},
		{"locked", refuse(423, graphError("resourceLocked", "")), nil, backup.SkipLocked, ""},
		{"label", refuse(403, graphError("accessRestricted", "")), nil, backup.SkipDenied, ""},
		{"not allowed", refuse(403, graphError("notAllowed", "")), nil, backup.SkipDenied, ""},
		{"gone", refuse(404, graphError("itemNotFound", "")), nil, "", backup.CodeNotFound},
		{"gone, by facet", answer(`{"id":"f","deleted":{}}`), nil, "", backup.CodeNotFound},
		{"a folder now", answer(`{"id":"f","folder":{}}`), nil, "", backup.CodeNotFound},
		{"no permission any more", refuse(403, graphError("accessDenied", "")), nil, "", backup.CodeFenced},
		{"every address refused", nil, refuse(403, "access from here is blocked"), "", backup.CodeFenced},
		{"metadata of another server", answer(`{"id":"f","size":3,"file":{},"@microsoft.graph.downloadUrl":"https://evil.test/x"}`), nil, "", backup.CodeBadConfig},
		{"metadata without TLS", answer(`{"id":"f","size":3,"file":{},"@microsoft.graph.downloadUrl":"http://127.0.0.1/x"}`), nil, "", backup.CodeBadConfig},
		{"redirected away", nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.test/x", http.StatusFound)
		}, "", backup.CodeBadConfig},
		{"redirected in a circle", nil, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/f", http.StatusFound) }, "", backup.CodeBadResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			f := &remoteFile{id: "f", ctag: "c1", content: noise(100), serve: tt.serve}
			if tt.meta != nil {
				x.graph.HandleFunc("GET /drives/{drive}/items/f", tt.meta)
			} else {
				x.put(f)
			}
			_, _, err := read(t, x.source(backup.Drive), "f")
			if tt.skip != "" {
				wantSkip(t, err, tt.skip)
				return
			}
			e := wantCode(t, err, tt.code)
			if strings.Contains(e.Error(), "tempauth") || strings.Contains(e.Error(), "geheim") {
				t.Errorf("a download address is in %q", e.Error())
			}
		})
	}
}

func TestDriveAccess(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		roles  []string
		code   backup.Code
	}{
		{"never opened", refuse(404, graphError("itemNotFound", "mysite not found")), []string{"Files.Read.All"}, backup.CodeNoService},
		{"no licence in the tenant", refuse(400, graphError("BadRequest", "Tenant does not have a SPO license.")), []string{"Files.Read.All"}, backup.CodeNoService},
		{"no permission", refuse(403, graphError("accessDenied", "")), []string{"User.Read.All"}, backup.CodeMissingRole},
		{"closed although permitted", refuse(403, graphError("accessDenied", "")), []string{"Sites.Read.All"}, backup.CodeFenced},
		{"site locked", refuse(423, graphError("resourceLocked", "")), []string{"Files.Read.All"}, backup.CodeFenced},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			x.roles = tt.roles
			x.graph = http.NewServeMux()
			x.graph.HandleFunc("GET /users/{user}", answer(`{"id":"`+testUser+`"}`))
			x.graph.HandleFunc("GET /users/{user}/drive", tt.answer)
			_, err := x.app().Source(t.Context(), backup.Account{UPN: "anna@contoso.test"}, backup.Drive)
			e := wantCode(t, err, tt.code)
			if tt.code == backup.CodeMissingRole && !strings.Contains(e.Error(), "Files.Read.All") {
				t.Error(e.Error())
			}
		})
	}
}

// A body that is silent for too long ends, and so does one whose reader gave up.
func TestSilentBody(t *testing.T) {
	x := newTenant(t)
	f := &remoteFile{id: "f", ctag: "c1", content: noise(2 << 20)}
	f.serve = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(f.content)))
		w.Write(f.content[:window+10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	x.put(f)
	app := x.app()
	app.client.idle = 50 * time.Millisecond
	s, err := app.Source(t.Context(), backup.Account{UPN: "anna@contoso.test"}, backup.Drive)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = read(t, s, "f")
	wantCode(t, err, backup.CodeBadResponse)
}
