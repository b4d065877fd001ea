package msgraph

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestSignInRefusals(t *testing.T) {
	tests := []struct {
		name   string
		status int
		error  string
		number int
		header string
		code   backup.Code
		hint   string
		tries  int
	}{
		{"wrong secret", 401, "invalid_client", 7000215, "", backup.CodeBadCredential, "not its Secret ID", 1},
		{"expired secret", 401, "invalid_client", 7000222, "", backup.CodeBadCredential, "new client secret", 1},
		{"unregistered certificate", 401, "invalid_client", 700027, "", backup.CodeBadCredential, "upload", 1},
		{"clock", 401, "invalid_client", 700024, "", backup.CodeBadCredential, "clock", 1},
		{"unknown app", 400, "unauthorized_client", 700016, "", backup.CodeBadConfig, "clientID", 1},
		{"disabled app", 400, "unauthorized_client", 7000112, "", backup.CodeBadCredential, "Enterprise applications", 1},
		{"unknown tenant", 400, "invalid_request", 90002, "", backup.CodeBadConfig, "directoryTenant", 1},
		{"wrong resource", 400, "invalid_scope", 70011, "", backup.CodeBadConfig, "graphURL", 1},
		{"no consent", 400, "invalid_grant", 65001, "", backup.CodeMissingRole, "admin consent", 1},
		{"conditional access", 400, "access_denied", 53003, "", backup.CodeBadCredential, "policy", 1},
		{"unknown number, known name", 400, "invalid_request", 4711, "", backup.CodeBadConfig, "directoryTenant", 1},
		{"unknown number, unknown name", 400, "something_new", 4711, "", backup.CodeBadCredential, "app registration", 1},
		{"throttled by number", 400, "temporarily_unavailable", 50196, "", backup.CodeThrottled, "nothing to do", attempts},
		{"throttled for long", 429, "temporarily_unavailable", 90055, "300", backup.CodeThrottled, "nothing to do", 1},
		{"outage", 503, "", 0, "", backup.CodeBadResponse, "passes by itself", attempts},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			x.token = func(w http.ResponseWriter, _ *http.Request) {
				if tt.header != "" {
					w.Header().Set("Retry-After", tt.header)
				}
				w.WriteHeader(tt.status)
				// The service does not repeat secrets; should it ever, we do not.
				fmt.Fprintf(w, `{"error":%q,"error_codes":[%d],"trace_id":"trace-1","error_description":"AADSTS%d: about %s. Trace ID: x"}`, tt.error, tt.number, tt.number, testSecret)
			}
			_, err := x.client().FreshRoles(t.Context())
			e := wantCode(t, err, tt.code)
			if !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("hint %q lacks %q", e.Hint, tt.hint)
			}
			if x.issued != tt.tries {
				t.Errorf("tried %d times, want %d", x.issued, tt.tries)
			}
			if tt.number != 0 && !strings.Contains(e.Error(), fmt.Sprint("AADSTS", tt.number)) {
				t.Errorf("the number is missing in %q", e.Error())
			}
			if tt.header == "300" && e.RetryAfter != 5*time.Minute {
				t.Errorf("come back after %v", e.RetryAfter)
			}
		})
	}
}

// Whatever else the token endpoint says, the text is never repeated whole: a broken answer may hold a token.
func TestSignInAnswerThatIsNone(t *testing.T) {
	x := newTenant(t)
	x.token = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"access_token":"`+testSecret+`",`) }
	_, err := x.client().FreshRoles(t.Context())
	wantCode(t, err, backup.CodeBadResponse)
}

// Any number of callers share one token, and one refusal makes one new token.
func TestOneTokenForAll(t *testing.T) {
	x := newTenant(t)
	var mu sync.Mutex
	revoked := map[string]bool{}
	x.graph.HandleFunc("GET /probe", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if revoked[r.Header.Get("Authorization")] {
			refuse(401, graphError("InvalidAuthenticationToken", "expired"))(w, r)
			return
		}
		answer(`{}`)(w, r)
	})
	c := x.client()
	all := func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := c.ReadJSON(t.Context(), Call{URL: c.At("", "probe")}, new(any)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all()
	if x.issued != 1 {
		t.Fatalf("%d tokens for the first calls", x.issued)
	}
	mu.Lock()
	revoked["Bearer "+x.jwt(1)] = true
	mu.Unlock()
	all()
	if x.issued != 2 {
		t.Fatalf("%d tokens after one was revoked, want 2", x.issued)
	}
}

// A claims challenge (continuous access evaluation) reaches the token endpoint with the capability that makes it possible.
func TestClaimsChallenge(t *testing.T) {
	x := newTenant(t)
	challenge := `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
	x.graph.HandleFunc("GET /probe", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+x.jwt(1) {
			refuse(401, graphError("InvalidAuthenticationToken", "Continuous access evaluation"), "WWW-Authenticate",
				`Bearer realm="", error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(challenge))+`"`)(w, r)
			return
		}
		answer(`{}`)(w, r)
	})
	c := x.client()
	if err := c.ReadJSON(t.Context(), Call{URL: c.At("", "probe")}, new(any)); err != nil {
		t.Fatal(err)
	}
	if len(x.claims) != 2 || !strings.Contains(x.claims[0], "cp1") && !strings.Contains(x.claims[0], "CP1") || !strings.Contains(x.claims[1], "1700000000") {
		t.Fatalf("claims sent: %q", x.claims)
	}
}
