package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/payload"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

const webUI = "https://temporal.example:8080"

// codecRig is a gateway's codec with one sealed payload, as JSON.
type codecRig struct {
	*http.ServeMux
	sessions *sessions
	body     string
}

func newCodecRig(t *testing.T) *codecRig {
	t.Helper()
	c := payload.NewCodec(payload.NewKeyring(time.Now()))
	sealed, err := c.Encode([]*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"Anna"`)}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: sealed})
	if err != nil {
		t.Fatal(err)
	}
	r := &codecRig{http.NewServeMux(), newSessions("right"), string(body)}
	r.sessions.routes(r.ServeMux)
	newCodecServer(c, r.sessions.admit, webUI).routes(r.ServeMux, "/codec/")
	return r
}

// ask sends a request that works, but for what is changed in it.
func (c *codecRig) ask(body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, readapi.DecodePath, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer right")
	r.Header.Set("Content-Type", "application/json")
	change(r)
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

func header(pairs ...string) func(*http.Request) {
	return func(r *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Set(pairs[i], pairs[i+1])
		}
	}
}

// decoded tells whether an answer holds "Anna" with its quotes, in base64.
func decoded(w *httptest.ResponseRecorder) bool { return strings.Contains(w.Body.String(), "IkFubmEi") }

// The codec decodes for who has the token, from the named page or from no page, and for nobody else.
func TestCodecRefuses(t *testing.T) {
	c := newCodecRig(t)
	for name, k := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
		cors   string
	}{
		"a command line":             {c.body, header(), 200, ""},
		"the Web UI":                 {c.body, header("Origin", webUI, "X-Namespace", "default"), 200, webUI},
		"another page":               {c.body, header("Origin", "https://evil.example"), 403, ""},
		"a page that only begins so": {c.body, header("Origin", webUI+".evil.example"), 403, ""},
		"a page without a name":      {c.body, header("Origin", "null"), 403, ""},
		"the page by another scheme": {c.body, header("Origin", "http://temporal.example:8080"), 403, ""},
		"no token":                   {c.body, header("Authorization", ""), 401, ""},
		"a wrong token":              {c.body, header("Authorization", "Bearer wrong"), 401, ""},
		"the token as a password":    {c.body, header("Authorization", "Basic right"), 401, ""},
		"the page without a token":   {c.body, header("Origin", webUI, "Authorization", ""), 401, webUI},
		"reading":                    {c.body, func(r *http.Request) { r.Method = http.MethodGet }, 405, ""},
		"what a form can send":       {c.body, header("Content-Type", "text/plain"), 415, ""},
		"no JSON":                    {"{", header(), 400, ""},
		"other JSON":                 {`{"payloads":[{"x":1}]}`, header(), 400, ""},
		"too much":                   {`{"payloads":[{"data":"` + strings.Repeat("A", readapi.MaxCodec) + `"}]}`, header(), 413, ""},
		"an altered payload":         {regexp.MustCompile(`("data":\s*")A`).ReplaceAllString(c.body, "${1}B"), header(), 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.ask(k.body, k.change)
			if w.Code != k.status || decoded(w) != (k.status == 200) {
				t.Errorf("%d %s, want %d", w.Code, w.Body, k.status)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != k.cors || !slices.Contains(w.Header().Values("Vary"), "Origin") {
				t.Errorf("CORS for %q, Vary %q", got, w.Header().Values("Vary"))
			}
			var f readapi.Failure
			if k.status != 200 && (json.Unmarshal(w.Body.Bytes(), &f) != nil || f.Code == "" || f.Message == "") {
				t.Errorf("not a classified refusal: %s", w.Body)
			}
		})
	}
}

// A preflight is answered for the named page only, without a token, and decodes nothing.
func TestCodecPreflight(t *testing.T) {
	c := newCodecRig(t)
	preflight := func(origin string) *httptest.ResponseRecorder {
		return c.ask("", func(r *http.Request) {
			r.Method = http.MethodOptions
			r.Header = http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type,x-namespace"}}
		})
	}
	h := preflight(webUI).Header()
	if h.Get("Access-Control-Allow-Origin") != webUI || h.Get("Access-Control-Allow-Methods") != "POST" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "x-namespace") {
		t.Errorf("the named page gets %v", h)
	}
	if w := preflight("https://evil.example"); w.Code != http.StatusForbidden || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another page gets %d %v", w.Code, w.Header())
	}
}

func TestOriginsAreExact(t *testing.T) {
	for _, bad := range []string{"*", "https://*.example", "temporal.example", "https://temporal.example/", "https://temporal.example/ui", "ftp://x", "https://a@b", "null", ""} {
		if checkOrigins([]string{webUI, bad}) == nil {
			t.Errorf("%q is taken for an origin", bad)
		}
	}
	if err := checkOrigins([]string{webUI, "http://localhost:8080"}); err != nil {
		t.Error(err)
	}
}

// A person signs in once with the read token; the Web UI's pages are answered by the cookie from then on, for eight hours.
func TestCodecSession(t *testing.T) {
	c := newCodecRig(t)
	signIn := func(token string, change func(*http.Request)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, signInPath, strings.NewReader(url.Values{"token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		change(r)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		return w
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"a wrong token": signIn("wrong", header()), "no token": signIn("", header()), "another site's form": signIn("right", header("Sec-Fetch-Site", "cross-site")),
		"a long one": signIn(strings.Repeat("x", maxForm), header()),
	} {
		if w.Code < 400 || len(w.Result().Cookies()) > 0 {
			t.Errorf("%s signs in: %d", name, w.Code)
		}
	}
	w := signIn("right", header("Sec-Fetch-Site", "same-origin"))
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || !cookies[0].Secure || !cookies[0].HttpOnly || strings.Contains(cookies[0].Value, "right") {
		t.Fatalf("%d, cookies %v", w.Code, cookies)
	}
	with := func(value, origin string) *httptest.ResponseRecorder {
		return c.ask(c.body, func(r *http.Request) {
			r.Header.Del("Authorization")
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: value})
		})
	}
	if w := with(cookies[0].Value, webUI); w.Code != 200 || !decoded(w) || w.Header().Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("with the session: %d %s", w.Code, w.Body)
	}
	_, mac, _ := strings.Cut(cookies[0].Value, ".")
	for name, w := range map[string]*httptest.ResponseRecorder{
		"a longer life":   with("9999999999."+mac, webUI),
		"no MAC":          with(strings.TrimSuffix(cookies[0].Value, mac), webUI),
		"another gateway": with(newSessions("other").session(time.Now().Add(time.Hour)), webUI),
		"another page":    with(cookies[0].Value, "https://evil.example"),
		"no page":         with(cookies[0].Value, ""),
	} {
		if w.Code < 400 || decoded(w) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	c.sessions.now = func() time.Time { return time.Now().Add(sessionTime + time.Second) }
	if w := with(cookies[0].Value, webUI); w.Code != http.StatusUnauthorized {
		t.Errorf("after its end: %d", w.Code)
	}
}

// The codec of `dev` answers to the pages of its own Web UI and to nothing else, and only below its path.
func TestLocalCodec(t *testing.T) {
	keys := payload.NewCodec(payload.NewKeyring(time.Now()))
	local, err := startLocalCodec(keys)
	if err != nil {
		t.Fatal(err)
	}
	defer local.close()
	local.allow("http://127.0.0.1:8233")
	body := newCodecRig(t).body // of other keys: what matters is whether it is looked at
	ask := func(path string, change func(*http.Request)) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, local.endpoint+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		header("Content-Type", "application/json", "Origin", "http://127.0.0.1:8233")(r)
		change(r)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := ask("/encode", header()); got != 200 {
		t.Errorf("the Web UI is answered %d", got)
	}
	if got := ask("/encode", header("Origin", "http://localhost:8233")); got != 200 {
		t.Errorf("the Web UI by its other name is answered %d", got)
	}
	for name, got := range map[string]int{
		"another page":               ask("/encode", header("Origin", "http://localhost:8234")),
		"no page":                    ask("/encode", func(r *http.Request) { r.Header.Del("Origin") }),
		"a name pointed at loopback": ask("/encode", func(r *http.Request) { r.Host = "evil.example" }),
		"without the path":           ask("/../../encode", func(r *http.Request) { r.URL.Path = "/encode" }),
	} {
		if got < 400 {
			t.Errorf("%s is answered %d", name, got)
		}
	}
	if u, err := url.Parse(local.endpoint); err != nil || !strings.HasPrefix(u.Host, "127.0.0.1:") || len(u.Path) < 20 {
		t.Errorf("the endpoint is %s, %v", local.endpoint, err)
	}
}

// Without payload keys a worker and a gateway do not start, and say what to type.
func TestPayloadKeysAreNeeded(t *testing.T) {
	s := settings{State: t.TempDir()}
	if err := s.complete(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.State, payloadKeysFile)
	_, err := s.openCodec(t.Context())
	if !backup.HasCode(err, backup.CodeBadConfig) || !strings.Contains(backup.AsError(err).Hint, "holdfastd payload-key new --out "+file) {
		t.Fatalf("%v: %s", err, backup.AsError(err).Hint)
	}
	if code := execute(t.Context(), []string{"payload-key", "new", "--out", file}); code != exitOK {
		t.Fatalf("payload-key new ends with %d", code)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	codec, err := s.openCodec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := codec.Encode([]*commonpb.Payload{{Data: []byte("before")}})
	if err != nil {
		t.Fatal(err)
	}
	if code := execute(t.Context(), []string{"payload-key", "new", "--out", file}); code != exitFailed {
		t.Errorf("payload-key new over an existing file ends with %d", code)
	}
	if err := s.ensurePayloadKeys(); err != nil {
		t.Error(err)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(first) {
		t.Errorf("the keys were made anew: %v", err)
	}
	if code := execute(t.Context(), []string{"payload-key", "rotate", "--file", file}); code != exitOK {
		t.Fatalf("payload-key rotate ends with %d", code)
	}
	codec, err = s.openCodec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := codec.Decode(sealed); err != nil || string(opened[0].GetData()) != "before" {
		t.Errorf("after the rotation: %v, %v", opened, err)
	}
	again, err := codec.Encode([]*commonpb.Payload{{}})
	if err != nil || string(again[0].GetMetadata()[payload.MetadataKeyID]) == string(sealed[0].GetMetadata()[payload.MetadataKeyID]) {
		t.Errorf("the old key still seals, %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.State, "*.new*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// `dev` makes keys at its first start, and only where nobody named others.
func TestDevMakesPayloadKeys(t *testing.T) {
	s := settings{State: t.TempDir(), PayloadKeys: "file:/nowhere/keys.json"}
	if err := s.complete(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.State, payloadKeysFile)
	if err := s.ensurePayloadKeys(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("keys were made where others were named")
	}
	s.PayloadKeys = ""
	if err := s.complete(); err != nil {
		t.Fatal(err)
	}
	if err := s.ensurePayloadKeys(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.openCodec(t.Context()); err != nil {
		t.Error(err)
	}
}

// A command line without keys starts and reads workflows through the gateway, which alone decrypts; when the gateway is away, nothing is
// sent, and the error says so.
func TestCommandLineWithoutKeys(t *testing.T) {
	c := newCodecRig(t)
	folder := t.TempDir()
	cert, key, token := filepath.Join(folder, "ca.pem"), filepath.Join(folder, "key.pem"), filepath.Join(folder, "token")
	if err := errors.Join(makeCertificate(cert, key, "127.0.0.1"), os.WriteFile(token, []byte("right\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	gateway := httptest.NewUnstartedServer(c)
	gateway.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	gateway.StartTLS()
	defer gateway.Close()
	temporal, err := devserver.Start(t.Context(), devserver.Options{UIPort: -1, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Stop()
	for _, name := range []string{"TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"} {
		t.Setenv(name, "")
	}
	profile := readapi.Profile{TemporalAddress: temporal.Address, Gateway: gateway.URL, CAFile: cert, TokenFile: token}
	o, err := orchestrator.Dial(t.Context(), orchestrator.Options{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	start := func(id string) error {
		_, err := o.Temporal().ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "nobody", StaticSummary: "Anna's"}, "Look", "Anna")
		return err
	}
	if err := start("by-gateway"); err != nil {
		t.Fatal(err)
	}
	d, err := o.Temporal().DescribeWorkflow(t.Context(), "by-gateway", "")
	if err != nil {
		t.Fatal(err)
	}
	if summary, err := d.GetStaticSummary(); err != nil || summary != "Anna's" {
		t.Errorf("read back: %q, %v", summary, err)
	}
	raw, err := o.Temporal().DescribeWorkflowExecution(t.Context(), "by-gateway", "")
	if err != nil || !strings.Contains(raw.String(), payload.Encoding) || strings.Contains(raw.String(), "Anna") {
		t.Errorf("at the server: %v, %v", raw, err)
	}

	if err := os.WriteFile(token, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stranger, err := orchestrator.Dial(t.Context(), orchestrator.Options{Profile: profile}); err != nil {
		t.Error(err)
	} else {
		_, err := stranger.Temporal().ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "x", TaskQueue: "nobody"}, "Look", "Anna")
		if !backup.HasCode(err, backup.CodeBadCredential) {
			t.Errorf("with a wrong token: %v", err)
		}
		stranger.Close()
	}
	gateway.Close()
	if err := start("without-gateway"); !errors.Is(err, readapi.ErrUnreachable) {
		t.Errorf("without the gateway: %v", err)
	}
}
