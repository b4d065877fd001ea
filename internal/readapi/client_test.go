package readapi_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// gateway serves over TLS with a CA of its own and gives a client that trusts it.
func gateway(t *testing.T, h http.HandlerFunc) *readapi.Client {
	t.Helper()
	return client(t, serve(t, h))
}

type served struct{ url, caFile, tokenFile string }

func serve(t *testing.T, h http.HandlerFunc) served {
	t.Helper()
	folder := t.TempDir()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are meant
	s.StartTLS()
	t.Cleanup(s.Close)
	token := filepath.Join(folder, "token")
	ca := filepath.Join(folder, "ca.pem")
	put(t, token, "s3cret\n")
	put(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return served{s.URL, ca, token}
}

func client(t *testing.T, s served) *readapi.Client {
	t.Helper()
	c, err := readapi.NewClient(readapi.ClientOptions{Gateway: s.url, CAFile: s.caFile, TokenFile: s.tokenFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestQuestionsAndAnswers(t *testing.T) {
	var asked string
	c := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer s3cret" {
			t.Errorf("%s without the token", r.Method)
		}
		asked = r.URL.EscapedPath() + "?" + r.URL.RawQuery
		fmt.Fprint(w, `{"next":"n","future":1,"number":3,"identity":"ed25519:x","run":{"number":7}}`)
	})
	ctx := t.Context()
	for want, ask := range map[string]func() error{
		"/v1/tenants/acme?":                                     func() error { _, err := c.Tenant(ctx, "acme"); return err },
		"/v1/tenants/a%2Fb?":                                    func() error { _, err := c.Tenant(ctx, "a/b"); return err },
		"/v1/tenants/acme/users?limit=500&state=active":         func() error { _, err := c.Users(ctx, "acme", backup.Active, ""); return err },
		"/v1/tenants/acme/users?after=x%26y&limit=500":          func() error { _, err := c.Users(ctx, "acme", "", "x&y"); return err },
		"/v1/tenants/acme/problems?limit=500":                   func() error { _, err := c.Problems(ctx, "acme", ""); return err },
		"/v1/tenants/acme/users/a%2Fb@acme.example?":            func() error { _, err := c.User(ctx, "acme", "a/b@acme.example"); return err },
		"/v1/tenants/acme/entries?ref=uid%3Dx%2Cdc%3Dacme":      func() error { _, err := c.FindEntries(ctx, "acme", "uid=x,dc=acme"); return err },
		"/v1/tenants/acme/entries?directory=hq&limit=500":       func() error { _, err := c.Entries(ctx, "acme", "hq", ""); return err },
		"/v1/tenants/acme/conflicts?after=n&limit=500":          func() error { _, err := c.Conflicts(ctx, "acme", "n"); return err },
		"/v1/tenants/acme/imports?directory=hq&limit=1":         func() error { _, err := c.Imports(ctx, "acme", "hq", 1); return err },
		"/v1/tenants/acme/imports/7?":                           func() error { r, err := c.Import(ctx, "acme", 7); return errors.Join(err, number(r.Number+4)) },
		"/v1/tenants/acme/imports/7/changes?after=n&limit=500":  func() error { _, err := c.Changes(ctx, "acme", 7, "n"); return err },
		"/v1/tenants/acme/runs?limit=20":                        func() error { _, err := c.Runs(ctx, "acme", 20); return err },
		"/v1/tenants/acme/runs/7?":                              func() error { r, err := c.Run(ctx, "acme", 7); return errors.Join(err, number(r.Run.Number)) },
		"/v1/tenants/acme/alerts?all=true":                      func() error { _, err := c.Alerts(ctx, "acme", true); return err },
		"/v1/tenants/acme/key?":                                 func() error { _, err := c.Key(ctx, "acme"); return err },
		"/v1/tenants/acme/key/receipts?after=7&limit=500&run=3": func() error { _, err := c.Receipts(ctx, "acme", "3", "7"); return err },
		"/v1/worker-identity?":                                  func() error { _, err := c.WorkerIdentity(ctx); return err },
	} {
		if err := ask(); err != nil || asked != want {
			t.Errorf("asked %s, want %s: %v", asked, want, err)
		}
	}
}

func number(n int64) error {
	if n != 7 {
		return fmt.Errorf("number %d", n)
	}
	return nil
}

// TestAnswersThatAreNone: each ends as a classified error, and none repeats the token.
func TestAnswersThatAreNone(t *testing.T) {
	failure, _ := json.Marshal(readapi.Failure{Code: backup.CodeNotFound, Message: "there is no tenant acme", Hint: "holdfast apply"})
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   backup.Code
	}{
		"typed failure":  {status(404, string(failure)), backup.CodeNotFound},
		"token refused":  {status(401, "go away"), backup.CodeBadCredential},
		"another server": {status(404, "<html>"), backup.CodeBadResponse},
		"not JSON":       {status(200, "<html>"), backup.CodeBadResponse},
		"wrong JSON":     {status(200, `{"accounts":17}`), backup.CodeBadResponse},
		"breaks off":     {breaksOff, backup.CodeUnreachable},
		"redirect":       {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://elsewhere.example", 302) }, backup.CodeBadResponse},
		"without an end": {endless, backup.CodeBadResponse},
		"server's fault": {status(503, `{"code":"disk_full","message":"the store has no room"}`), backup.CodeDiskFull},
		"half a failure": {status(500, `{"code":"disk_full"}`), backup.CodeBadResponse},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gateway(t, c.answer).Tenant(t.Context(), "acme")
			if !backup.HasCode(err, c.code) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v", err)
			}
			if name == "typed failure" && (err.Error() != "there is no tenant acme" || backup.AsError(err).Hint != "holdfast apply") {
				t.Errorf("the gateway's words are lost: %v", err)
			}
		})
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); io.WriteString(w, body) }
}

func breaksOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, "{")
}

func endless(w http.ResponseWriter, r *http.Request) {
	block := []byte(strings.Repeat(" ", 1<<20))
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := serve(t, status(200, "{}"))
	stranger, err := sandbox.NewCA("stranger")
	if err != nil {
		t.Fatal(err)
	}
	other := s
	other.caFile = filepath.Join(t.TempDir(), "other.pem")
	put(t, other.caFile, string(stranger.PEM()))
	gone := s
	gone.url = "https://127.0.0.1:1"
	for name, at := range map[string]served{"certificate of a stranger": other, "nobody there": gone} {
		_, err := client(t, at).Tenant(t.Context(), "acme")
		if !errors.Is(err, readapi.ErrUnreachable) || !backup.HasCode(err, backup.CodeUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	hangs := gateway(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // it never answers, not even an empty page
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := hangs.Tenant(ctx, "acme"); !errors.Is(err, readapi.ErrUnreachable) {
		t.Errorf("a hanging gateway: %v", err)
	}
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	if _, err := hangs.Tenant(interrupted, "acme"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestBadSettings(t *testing.T) {
	s := serve(t, status(200, "{}"))
	empty := filepath.Join(t.TempDir(), "empty")
	put(t, empty, "\n")
	long := filepath.Join(t.TempDir(), "long")
	put(t, long, strings.Repeat("x", 5000))
	for name, o := range map[string]readapi.ClientOptions{
		"plain http":     {Gateway: strings.Replace(s.url, "https", "http", 1), CAFile: s.caFile, TokenFile: s.tokenFile},
		"no address":     {CAFile: s.caFile, TokenFile: s.tokenFile},
		"no CA file":     {Gateway: s.url, CAFile: "/nowhere", TokenFile: s.tokenFile},
		"CA without PEM": {Gateway: s.url, CAFile: s.tokenFile, TokenFile: s.tokenFile},
		"no token file":  {Gateway: s.url, CAFile: s.caFile, TokenFile: "/nowhere"},
		"empty token":    {Gateway: s.url, CAFile: s.caFile, TokenFile: empty},
		"long token":     {Gateway: s.url, CAFile: s.caFile, TokenFile: long},
	} {
		if _, err := readapi.NewClient(o); !backup.HasCode(err, backup.CodeBadConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
