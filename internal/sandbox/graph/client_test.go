package graph

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

const (
	testClient = "11111111-2222-4333-8444-555555555555"
	testSecret = "a secret + with/characters="
)

// tester is a tenant and a client of it that only knows the protocol.
type tester struct {
	*testing.T
	*Server
	http  *http.Client
	token string
}

// start runs a tenant of n people; edit changes its options.
func start(t *testing.T, n int, edit ...func(*Options)) *tester {
	t.Helper()
	o := Options{Seed: 7, People: sandbox.People(7, n, "acme.example"), ClientID: testClient, ClientSecret: testSecret, MessagesPerMailbox: 40, FilesPerDrive: 12}
	for _, f := range edit {
		f(&o)
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{ForceAttemptHTTP2: true}
	if s.CA() != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: s.CA().Pool()}
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &tester{T: t, Server: s, http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

func (a answer) code() string {
	e, _ := a.json["error"].(map[string]any)
	code, _ := e["code"].(string)
	return code
}

func (t *tester) do(req *http.Request) answer {
	t.Helper()
	resp, err := t.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(a.body, &a.json); err != nil {
			t.Fatalf("%s: %v in %.200s", req.URL, err, a.body)
		}
	}
	return a
}

// login gets a token with the form given, or the right one.
func (t *tester) login(form url.Values) answer {
	t.Helper()
	if form == nil {
		form = url.Values{"client_id": {testClient}, "client_secret": {testSecret}, "grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}}
	}
	req, _ := http.NewRequest(http.MethodPost, t.LoginURL()+"/"+t.TenantID()+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return t.do(req)
}

func (t *tester) request(target string, header ...string) *http.Request {
	t.Helper()
	if t.token == "" {
		a := t.login(nil)
		if t.token, _ = a.json["access_token"].(string); t.token == "" {
			t.Fatalf("no token: %d %s", a.status, a.body)
		}
	}
	if !strings.HasPrefix(target, "http") {
		target = t.GraphURL() + target
	}
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+t.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

// get calls Graph; target is a path below the version, or a link.
func (t *tester) get(target string, header ...string) answer {
	t.Helper()
	return t.do(t.request(target, header...))
}

// want is get for an answer that must be 200.
func (t *tester) want(target string, header ...string) answer {
	t.Helper()
	a := t.get(target, header...)
	if a.status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", target, a.status, a.body)
	}
	return a
}

const immutable = `IdType="ImmutableId"`

// round follows a delta call to its deltaLink and gives everything in order, and the number of pages.
func (t *tester) round(target string, header ...string) (items []map[string]any, deltaLink string, pages int) {
	t.Helper()
	for {
		a := t.want(target, header...)
		pages++
		items = append(items, values(a)...)
		next, _ := a.json["@odata.nextLink"].(string)
		delta, _ := a.json["@odata.deltaLink"].(string)
		if (next == "") == (delta == "") {
			t.Fatalf("a page must have one of nextLink and deltaLink: %s", a.body)
		}
		if delta != "" {
			return items, delta, pages
		}
		if target = next; pages > 1000 {
			t.Fatal("the round does not end")
		}
	}
}

func values(a answer) (items []map[string]any) {
	list, _ := a.json["value"].([]any)
	for _, x := range list {
		items = append(items, x.(map[string]any))
	}
	return items
}

// state is what a client holds after a round: the last word on every id wins.
func state(items []map[string]any) map[string]map[string]any {
	known := map[string]map[string]any{}
	for _, it := range items {
		id := it["id"].(string)
		if it["@removed"] != nil || it["deleted"] != nil {
			delete(known, id)
			continue
		}
		known[id] = it
	}
	return known
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func names(items []map[string]any, key string) []string {
	var out []string
	for _, it := range items {
		out = append(out, text(it, key))
	}
	slices.Sort(out)
	return out
}

// must is for what cannot fail in a test that has come so far.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
