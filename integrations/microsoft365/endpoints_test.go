package microsoft365

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

func defaults(t *testing.T, hosts ...string) endpoints {
	t.Helper()
	e, err := msgraph.NewEndpoints("", "")
	if err != nil {
		t.Fatal(err)
	}
	return newEndpoints(e, backup.Microsoft365Config{DownloadHosts: hosts})
}

func TestDownloadHosts(t *testing.T) {
	tests := []struct {
		hosts []string
		link  string
		good  bool
	}{
		{nil, "https://contoso-my.sharepoint.com/personal/x?tempauth=1", true},
		{nil, "https://graph.microsoft.com/v1.0/x", true},
		{nil, "https://northeurope1-mediap.svc.ms/x", true},
		{nil, "http://contoso-my.sharepoint.com/x", false},
		{nil, "https://contoso-my.sharepoint.com:8443/x", false},
		{nil, "https://sharepoint.com.evil.test/x", false},
		{nil, "https://evilsharepoint.com/x", false},
		{nil, "https://.sharepoint.com/x", false},
		{nil, "https://user@contoso.sharepoint.com/x", false},
		{nil, "https://127.0.0.1/x", false},
		{nil, "file:///etc/passwd", false},
		{[]string{"127.0.0.1:4711"}, "https://127.0.0.1:4711/x", true},
		{[]string{"127.0.0.1:4711"}, "https://127.0.0.1/x", false},
		{[]string{"files.test"}, "https://FILES.test/x", true},
		{[]string{"files.test"}, "https://a.files.test/x", false},
		{[]string{"files.test"}, "https://contoso.sharepoint.com/x", false},
		{[]string{"[::1]:99"}, "https://[::1]:99/x", true},
	}
	for _, tt := range tests {
		if err := defaults(t, tt.hosts...).checkDownload(tt.link); (err == nil) != tt.good {
			t.Errorf("%v %s: %v", tt.hosts, tt.link, err)
		}
	}
}

// A page that leads elsewhere is refused before anything is sent there.
func TestPoisonedLinks(t *testing.T) {
	for _, kind := range []string{"nextLink", "deltaLink"} {
		t.Run(kind, func(t *testing.T) {
			x := newTenant(t)
			x.contents.HandleFunc("/", func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") })
			x.graph.HandleFunc("GET /drives/{drive}/root/delta", answer(`{"value":[],"@odata.`+kind+`":"`+x.contentServer.URL+`/v1.0/drives/x/root/delta"}`))
			_, _, err := collect(t, x.source(backup.Drive), nil)
			wantCode(t, err, backup.CodeBadResponse)
		})
	}
}

// A cursor that was tampered with, or is of something else, leads to a full listing and nowhere else.
func TestPoisonedCursors(t *testing.T) {
	x := newTenant(t)
	x.contents.HandleFunc("/", func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") })
	evil := x.contentServer.URL
	for _, cursor := range []string{
		`{`, `[]`, `{"v":2,"drive":"b!drive","root":"r","link":"/x"}`, `{"v":1,"drive":"b!other","root":"r","link":"/x"}`, `{"v":1,"drive":"b!drive","root":"r","link":""}`,
		`{"v":1,"drive":"b!drive","root":"r","link":"` + evil + `/v1.0/x"}`, `{"v":1,"drive":"b!drive","root":"r","link":"@evil.test/x"}`, `{"v":1,"drive":"b!drive","root":"r","link":"//evil.test/x"}`,
		`{"v":1,"drive":"b!drive","root":"r","link":"/../beta/x"}`, `{"v":1,"drive":"b!drive","root":"r","link":"/x","more":1}`,
	} {
		_, _, err := collect(t, x.source(backup.Drive), []byte(cursor))
		wantCode(t, err, backup.CodeCursorExpired)
	}
	for _, cursor := range []string{
		`{"v":1,"user":"another","folders":"/x","messages":{}}`, `{"v":1,"user":"` + testUser + `","folders":"` + evil + `/v1.0/x","messages":{}}`,
	} {
		_, _, err := collect(t, x.source(backup.Mail), []byte(cursor))
		wantCode(t, err, backup.CodeCursorExpired)
	}
	x.graph.HandleFunc("GET /folders", answer(`{"value":[],"@odata.deltaLink":"`+x.graphServer.URL+`/v1.0/folders"}`))
	_, _, err := collect(t, x.source(backup.Mail), []byte(`{"v":1,"user":"`+testUser+`","folders":"/folders","messages":{"f":"`+evil+`/v1.0/x"}}`))
	wantCode(t, err, backup.CodeCursorExpired)
}

// Pages that would end a listing early, lead in a circle or are not pages are errors, never an end.
func TestBrokenPages(t *testing.T) {
	for name, body := range map[string]string{
		"no link": `{"value":[]}`, "both links": `{"value":[],"@odata.nextLink":"SELF","@odata.deltaLink":"SELF"}`, "itself": `{"value":[],"@odata.nextLink":"SELF"}`,
		"not JSON": `<html>`, "entry without id": `{"value":[{"name":"x"}],"@odata.deltaLink":"SELF"}`, "entry that is none": `{"value":[7],"@odata.deltaLink":"SELF"}`,
		"null": `null`, "list": `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			x := newTenant(t)
			x.graph.HandleFunc("GET /drives/{drive}/root/delta", func(w http.ResponseWriter, r *http.Request) {
				answer(strings.ReplaceAll(body, "SELF", x.graphServer.URL+"/v1.0"+r.URL.String()))(w, r)
			})
			changes, next, err := collect(t, x.source(backup.Drive), nil)
			wantCode(t, err, backup.CodeBadResponse)
			if len(changes) != 0 || next != nil {
				t.Errorf("%v %s", changes, next)
			}
		})
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"v":1,"drive":"d","root":"r","link":"/drives/d/root/delta?token=x"}`))
	f.Add([]byte(`{"v":1,"user":"u","folders":"/users/u","messages":{"f":"/x?y=z","g":""}}`))
	f.Add([]byte(`{"v":1,"drive":"d","root":"r","link":"/..//evil.test"}`))
	e, err := msgraph.NewEndpoints("", "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var links []string
		if c, err := readDriveCursor(raw, "d"); err == nil {
			links = append(links, c.Link)
		}
		if c, err := readMailCursor(raw, "u"); err == nil {
			links = append(links, c.Folders)
			for _, l := range c.Messages {
				links = append(links, l)
			}
		}
		for _, l := range links {
			if link, err := e.Restore(l); err == nil && !strings.HasPrefix(link, "https://graph.microsoft.com/v1.0/") {
				t.Fatalf("%q leads to %q", l, link)
			}
		}
	})
}

func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"value":[{"id":"1","subject":"x","changeKey":"k","lastModifiedDateTime":"2026-01-01T00:00:00Z"}],"@odata.nextLink":"https://graph.microsoft.com/v1.0/x"}`))
	f.Add([]byte(`{"value":[{"id":"1","name":"x","size":7,"file":{"hashes":{"quickXorHash":"AA=="}},"@microsoft.graph.downloadUrl":"https://x"}]}`))
	f.Add([]byte(`{"value":[{"id":"1","@removed":{"reason":"deleted"}},{"id":"2","deleted":{}},{"id":"3","package":{},"folder":{}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		checkPage(t, body)
	})
}
