package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

var _ activities.Directory = (*Directory)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is an Entra whose delta feed is a list of pages; link n leads to page n.
type scripted struct {
	*testing.T
	server *httptest.Server
	config backup.EntraConfig

	mu       sync.Mutex
	pages    []string // the "value" of each
	ends     map[int]bool
	members  string   // of each group, from its start
	moves    []string // of the groups, in each round that follows
	in       string   // what checkMemberGroups says
	noGroups bool
	purposes map[string]string
	refuse   map[string]int // path prefix to status
	throttle int            // every so many requests
	seen     int
}

func newScripted(t *testing.T, pages ...string) *scripted {
	x := &scripted{T: t, pages: pages, ends: map[int]bool{len(pages) - 1: true}, members: `[]`, purposes: map[string]string{}, refuse: map[string]int{}}
	x.server = httptest.NewTLSServer(x)
	t.Cleanup(x.server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	x.config = backup.EntraConfig{DirectoryTenant: "contoso.test", ClientID: "client", ClientSecret: "env:SECRET", LoginURL: x.server.URL, GraphURL: x.server.URL, CAFile: ca}
	return x
}

func (x *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base := x.server.URL + "/contoso.test"
	switch r.URL.Path {
	case "/contoso.test/v2.0/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]string{"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token"})
		return
	case "/contoso.test/oauth2/v2.0/token":
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"e30.%s.c2ln"}`, base64.RawURLEncoding.EncodeToString([]byte(`{"roles":[]}`)))
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seen++; x.throttle > 0 && x.seen%x.throttle == 0 {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	status, body := x.answer(strings.TrimPrefix(r.URL.Path, "/v1.0"), r)
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func (x *scripted) answer(path string, r *http.Request) (int, string) {
	for prefix, status := range x.refuse {
		if strings.HasPrefix(path, prefix) {
			return status, `{"error":{"code":"Refused","message":"no"}}`
		}
	}
	switch {
	case path == "/users/delta":
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if n >= len(x.pages) {
			return 200, `{"value":[],"@odata.deltaLink":"` + x.link(n) + `"}`
		}
		kind := "nextLink"
		if x.ends[n] {
			kind = "deltaLink"
		}
		return 200, `{"value":[` + x.pages[n] + `],"@odata.` + kind + `":"` + x.link(n+1) + `"}`
	case path == "/$batch":
		return 200, x.batch(r)
	case path == "/groups/delta":
		return 200, x.groups(r)
	case strings.HasSuffix(path, "/checkMemberGroups"):
		return 200, `{"value":[` + x.in + `]}`
	case strings.HasSuffix(path, "/transitiveMembers"):
		return 200, `{"value":` + x.members + `}`
	case strings.HasSuffix(path, "/userPurpose"):
		p, ok := x.purposes[strings.Split(path, "/")[2]]
		if !ok {
			return 404, `{"error":{"code":"MailboxNotEnabledForRESTAPI"}}`
		}
		return 200, `{"value":"` + p + `"}`
	case path == "/organization":
		return 200, `{"value":[{"displayName":"Contoso"}]}`
	case path == "/users":
		return 200, `{"value":[` + user(1, "") + `]}`
	case strings.HasPrefix(path, "/users/"):
		n, _ := strconv.Atoi(strings.TrimLeft(path[len(path)-12:], "0"))
		return 200, user(n, `,"department":"Fetched"`)
	}
	return 404, `{"error":{"code":"Request_ResourceNotFound"}}`
}

func (x *scripted) batch(r *http.Request) string {
	var ask struct{ Requests []innerRequest }
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || len(ask.Requests) > batchSize {
		x.Errorf("a batch of %d: %v", len(ask.Requests), err)
	}
	var out []string
	for _, q := range slices.Backward(ask.Requests) {
		inner, _ := http.NewRequest(q.Method, q.URL, nil)
		status, body := x.answer(inner.URL.Path, inner)
		out = append(out, fmt.Sprintf(`{"id":%q,"status":%d,"headers":{},"body":%s}`, q.ID, status, body))
	}
	return `{"responses":[` + strings.Join(out, ",") + `]}`
}

// groups is a round of groups/delta: from its start when it is filtered, else the n-th that follows.
func (x *scripted) groups(r *http.Request) string {
	var value []string
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	if filter := r.URL.Query().Get("$filter"); filter != "" {
		for term := range strings.SplitSeq(filter, " or ") {
			if _, id, _ := strings.Cut(term, "'"); !x.noGroups {
				value = append(value, fmt.Sprintf(`{"id":%q,"members@delta":%s}`, strings.Trim(id, "'"), x.members))
			}
		}
	} else {
		if n < len(x.moves) {
			value = append(value, x.moves[n])
		}
		n++
	}
	return fmt.Sprintf(`{"value":[%s],"@odata.deltaLink":"%s/v1.0/groups/delta?n=%d"}`, strings.Join(value, ","), x.server.URL, n)
}

func (x *scripted) link(n int) string {
	return fmt.Sprintf("%s/v1.0/users/delta?n=%d", x.server.URL, n)
}

func (x *scripted) open(t backup.Tenant) *Directory {
	x.Helper()
	a := New(Options{Secrets: func(context.Context, backup.SecretRef) ([]byte, error) { return []byte("s3cr3t"), nil },
		policy: msgraph.Policy{Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}})
	x.Cleanup(func() { a.Close() })
	d, err := a.OpenDirectory(x.Context(), t, backup.DirectoryConfig{Name: "entra", Kind: backup.Entra, Entra: &x.config})
	if err != nil {
		x.Fatal(err)
	}
	return d
}

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func user(n int, more string) string {
	return fmt.Sprintf(`{"id":%q,"displayName":"P %d","userPrincipalName":"p%d@x.test","mail":"p%d@x.test","accountEnabled":true%s}`, id(n), n, n, n, more)
}

// known is who there is after pages, by id.
type known map[string]backup.DirectoryEntry

func (k known) take(p backup.EntryPage) error {
	for _, e := range p.Entries {
		k[e.ID] = e
	}
	for _, g := range p.Gone {
		delete(k, g)
	}
	return nil
}

func TestFullThenChanges(t *testing.T) {
	x := newScripted(t, user(1, "")+","+user(2, "")+","+user(3, `,"userType":"Guest"`), user(2, `,"department":"New"`)+","+user(4, ""))
	k := known{}
	end, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{}, k.take)
	if err != nil || end.Mode != backup.FullRead || len(k) != 3 || k[id(2)].Department != "New" || end.Calls != 2 {
		t.Fatalf("%+v %+v %v", end, k, err)
	}
	x.pages = append(x.pages, fmt.Sprintf(`{"id":%q,"@removed":{"reason":"changed"}},{"id":%q,"@removed":{"reason":"deleted"}},{"id":%q,"department":"Partial"},%s`,
		id(1), id(4), id(2), user(5, `,"accountEnabled":false,"proxyAddresses":["SMTP:p5@x.test","smtp:five@x.test","X500:/o=x"]`)))
	x.ends[2] = true
	var gone []string
	end, err = x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{Since: end.Cursor}, func(p backup.EntryPage) error {
		gone = append(gone, p.Gone...)
		return k.take(p)
	})
	if err != nil || end.Mode != backup.ChangesRead || len(gone) != 2 || len(k) != 2 || k[id(2)].Department != "Fetched" || !k[id(5)].Disabled || !slices.Equal(k[id(5)].Aliases, []string{"five@x.test"}) {
		t.Fatalf("%+v %+v %v", end, k, err)
	}
	end, err = x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{Since: end.Cursor}, func(p backup.EntryPage) error {
		if len(p.Entries)+len(p.Gone) > 0 {
			t.Errorf("seen twice: %+v", p)
		}
		return nil
	})
	if err != nil || end.Calls != 1 {
		t.Fatal(end, err)
	}
}

// A read that is killed behind any of its pages goes on there, and gives what an unbroken one gives.
func TestResumeAtEveryPage(t *testing.T) {
	var pages []string
	for n := range 6 {
		pages = append(pages, user(n+1, ""))
	}
	killed := errors.New("killed")
	for at := range pages {
		x := newScripted(t, pages...)
		x.throttle = 10
		k, n := known{}, 0
		var from backup.ReadFrom
		d := x.open(backup.Tenant{ID: "acme"})
		_, err := d.Read(t.Context(), from, func(p backup.EntryPage) error {
			k.take(p)
			from.Resume = p.Resume
			if n++; n == at+1 {
				return killed
			}
			return nil
		})
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		end, err := d.Read(t.Context(), from, k.take)
		if err != nil || len(k) != len(pages) || len(end.Cursor) == 0 || end.Calls < int64(len(pages)) || end.Calls > int64(len(pages)+2) {
			t.Fatalf("killed behind page %d: %+v, %d people, %v", at, end, len(k), err)
		}
	}
}

func TestCursorsThatDoNotFit(t *testing.T) {
	x := newScripted(t, user(1, ""))
	x.members = `[{"@odata.type":"#microsoft.graph.user","id":"` + id(1) + `"},{"@odata.type":"#microsoft.graph.device","id":"` + id(9) + `"}]`
	x.config.Groups = []string{id(77)}
	end, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{}, known{}.take)
	if err != nil {
		t.Fatal(err)
	}
	old := end.Cursor
	var p position
	json.Unmarshal(old, &p)
	p.Made = p.Made.Add(-cursorLife - time.Minute)
	check := func(name string, c backup.DirectoryCursor, note string) {
		t.Helper()
		k := known{}
		end, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{Since: c}, k.take)
		if err != nil || end.Mode != backup.FullRead || !strings.Contains(end.Note, note) {
			t.Errorf("%s: %+v %v", name, end, err)
		}
	}
	check("too old", p.encode(), "seven days")
	check("unreadable", []byte(`{"v":9}`), "cannot be read")
	json.Unmarshal(old, &p)
	p.Groups.Again = make([]string, mostAgain+1)
	check("too many to ask again", p.encode(), "seemed to be in")
	x.config.Guests = true
	check("description", old, "description changed")
	x.config.Guests = false
	for _, status := range []int{410, 503, 403} {
		for _, feed := range []string{"/users/delta", "/groups/delta"} {
			x.refuse = map[string]int{feed: status}
			_, err = x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{Since: old}, known{}.take)
			want := map[int]backup.Code{410: backup.CodeCursorExpired, 503: backup.CodeBadResponse, 403: backup.CodeMissingRole}[status]
			if !backup.HasCode(err, want) {
				t.Errorf("%s %d: %v", feed, status, err)
			}
		}
	}
	x.refuse, x.noGroups = nil, true
	x.refuse = map[string]int{"/groups/" + id(77): 200}
	if _, err = x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{}, known{}.take); !backup.HasCode(err, backup.CodeBadResponse) {
		t.Errorf("a group that is kept quiet about: %v", err)
	}
	x.refuse = map[string]int{"/groups/" + id(77): 404}
	if _, err = x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{}, known{}.take); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Errorf("a group that is gone: %v", err)
	}
}

// Graph's answers may be older than its feed: what the feed said counts for who came, and who went is asked for again.
func TestAnswersThatAreOlderThanTheFeed(t *testing.T) {
	x := newScripted(t, user(1, "")+","+user(2, ""))
	x.config.Groups = []string{id(77)}
	x.members = `[{"@odata.type":"#microsoft.graph.user","id":"` + id(1) + `"}]`
	k, in := known{}, `"`+id(77)+`"`
	var cursor backup.DirectoryCursor
	read := func(name, says string, gone []string, want ...string) {
		t.Helper()
		x.in = says
		var left []string
		end, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{Since: cursor}, func(p backup.EntryPage) error {
			left = append(left, p.Gone...)
			return k.take(p)
		})
		if err != nil || !slices.Equal(slices.Sorted(maps.Keys(k)), want) || cursor != nil && (end.Mode != backup.ChangesRead || !slices.Equal(left, gone)) {
			t.Fatalf("%s: %v, gone %v, %+v, %v", name, slices.Sorted(maps.Keys(k)), left, end, err)
		}
		cursor = end.Cursor
	}
	read("from the start", "", nil, id(1))
	group := func(members string) string { return fmt.Sprintf(`{"id":%q,"members@delta":[%s]}`, id(77), members) }
	x.moves = []string{group(`{"id":"` + id(2) + `"}`), group(`{"id":"` + id(1) + `","@removed":{"reason":"deleted"}}`)}
	read("somebody came, which the answer does not know", "", nil, id(1), id(2))
	read("somebody went, which the answer does not know", in, nil, id(1), id(2))
	read("asked again", "", []string{id(1)}, id(2))
	read("and no more", in, nil, id(2))
}

// The next import follows the feeds from where a read that was broken heard them, not from where it listed the members once more, later.
func TestBrokenReadForgetsNoMove(t *testing.T) {
	x := newScripted(t, user(1, "")+","+user(2, ""), user(3, ""))
	x.config.Groups = []string{id(77)}
	x.members = `[{"id":"` + id(1) + `"},{"id":"` + id(3) + `"}]`
	k, killed := known{}, errors.New("killed")
	var from backup.ReadFrom
	if _, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), from, func(p backup.EntryPage) error {
		from.Resume = p.Resume
		k.take(p)
		return killed
	}); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	left := func(n int) string {
		return fmt.Sprintf(`{"id":%q,"members@delta":[{"id":%q,"@removed":{"reason":"deleted"}}]}`, id(77), id(n))
	}
	x.moves, x.members = []string{left(1), left(3)}, `[{"id":"`+id(3)+`"}]`
	end, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), from, k.take)
	if err != nil || len(k) != 1 || k[id(3)].ID == "" {
		t.Fatal(k, err)
	}
	if _, err = x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{Since: end.Cursor}, k.take); err != nil || len(k) != 0 {
		t.Error(k, err)
	}
}

// A group inside of another may be deleted without a word about that other.
func TestDeletedInnerGroup(t *testing.T) {
	x := newScripted(t, user(1, ""))
	x.config.Groups = []string{id(77)}
	x.members = `[{"@odata.type":"#microsoft.graph.user","id":"` + id(1) + `"},{"@odata.type":"#microsoft.graph.group","id":"` + id(78) + `"}]`
	end, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{}, known{}.take)
	if err != nil || end.Calls != 3 {
		t.Fatal(end, err)
	}
	x.moves = []string{`{"id":"` + id(78) + `","@removed":{"reason":"changed"}}`}
	end, err = x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{Since: end.Cursor}, known{}.take)
	if err != nil || end.Mode != backup.FullRead || !strings.Contains(end.Note, "was deleted") {
		t.Errorf("%+v %v", end, err)
	}
}

func TestSharedMailboxes(t *testing.T) {
	var people []string
	for n := range 45 {
		people = append(people, user(n+1, `,"accountEnabled":false`))
	}
	x := newScripted(t, strings.Join(people, ","))
	x.config.SharedMailboxes = true
	x.purposes = map[string]string{id(1): "shared", id(2): "room", id(3): "equipment", id(4): "user"}
	k := known{}
	end, err := x.open(backup.Tenant{ID: "acme"}).Read(t.Context(), backup.ReadFrom{}, k.take)
	if err != nil || end.Calls != 4 || k[id(1)].Kind != backup.SharedMailbox || k[id(1)].Disabled || k[id(2)].Kind != backup.RoomMailbox ||
		k[id(3)].Kind != backup.ResourceMailbox || !k[id(4)].Disabled || !k[id(45)].Disabled {
		t.Fatalf("%+v %+v %v", end, k[id(1)], err)
	}
}

func TestProbeNamesWhatIsMissing(t *testing.T) {
	x := newScripted(t, user(1, ""))
	x.config.Groups, x.config.SharedMailboxes = []string{id(77)}, true
	x.purposes[id(1)] = "user"
	if found, err := x.open(backup.Tenant{ID: "acme"}).Probe(t.Context()); err != nil || !strings.Contains(found, "Contoso") {
		t.Fatal(found, err)
	}
	for path, permission := range map[string]string{"/users": "User.Read.All", "/groups/": "GroupMember.Read.All", "/users/" + id(1) + "/mailboxSettings": "MailboxSettings.Read"} {
		x.refuse = map[string]int{path: 403}
		_, err := x.open(backup.Tenant{ID: "acme"}).Probe(t.Context())
		if !backup.HasCode(err, backup.CodeMissingRole) || !strings.Contains(err.Error(), permission) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLogins(t *testing.T) {
	m365 := &backup.Microsoft365Config{DirectoryTenant: "a.test", ClientID: "app", ClientSecret: "env:A", LoginURL: "https://l.test", GraphURL: "https://g.test"}
	for name, want := range clouds {
		l, err := loginOf(backup.Tenant{Microsoft365: m365}, backup.EntraConfig{Cloud: name})
		if err != nil || l.LoginURL != want.login || l.GraphURL != want.graph || l.Secret != "env:A" || l.ClientID != "app" {
			t.Errorf("%s: %+v %v", name, l, err)
		}
	}
	if l, err := loginOf(backup.Tenant{Microsoft365: m365}, backup.EntraConfig{ClientCertificate: "env:C"}); err != nil || l.LoginURL != "https://l.test" || l.Secret != "" || l.Certificate != "env:C" {
		t.Error(l, err)
	}
	if _, err := loginOf(backup.Tenant{}, backup.EntraConfig{}); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Error(err)
	}
	if _, err := loginOf(backup.Tenant{Microsoft365: m365}, backup.EntraConfig{Cloud: "moon"}); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Error(err)
	}
}
