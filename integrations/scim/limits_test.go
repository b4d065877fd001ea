package scim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/scim"
)

const (
	errorSchema = "urn:ietf:params:scim:api:messages:2.0:Error"
	patience    = 30 * time.Second
)

// wantError checks an error's body (RFC 7644, section 3.12) and returns its detail.
func (r reply) wantError(t *testing.T, status int) (detail string) {
	t.Helper()
	var e struct {
		Schemas []string
		Status  string
		Detail  string
	}
	if err := json.Unmarshal([]byte(r.body), &e); err != nil {
		t.Fatalf("%d %.200s: %v", r.status, r.body, err)
	}
	if kind := r.header.Get("Content-Type"); !slices.Equal(e.Schemas, []string{errorSchema}) || e.Status != strconv.Itoa(status) || r.status != status || !strings.HasPrefix(kind, "application/scim+json") {
		t.Errorf("want %d, got %d %s: %s", status, r.status, kind, r.body)
	}
	return e.Detail
}

// Whoever comes while all turns are taken is told when to come again, and is served then.
func TestUnderLoadItSaysWhenToComeAgain(t *testing.T) {
	p := newProvider(t, scim.Options{Concurrent: 1, Wait: 20 * time.Millisecond})
	body, write := io.Pipe()
	slow, err := http.NewRequestWithContext(t.Context(), "POST", p.URL+scim.BasePath+"/Users", body)
	if err != nil {
		t.Fatal(err)
	}
	slow.Header.Set("Authorization", "Bearer a-token")
	answered := make(chan error, 1)
	go func() {
		answer, err := p.Client().Do(slow)
		if err == nil {
			answer.Body.Close()
		}
		answered <- err
	}()
	until := time.Now().Add(patience)
	refused := p.ask("GET", "/Users?count=0", "")
	for ; refused.status == 200 && time.Now().Before(until); refused = p.ask("GET", "/Users?count=0", "") {
	}
	if detail := refused.wantError(t, 429); !strings.Contains(detail, "Retry-After") {
		t.Errorf("the detail is %q", detail)
	}
	if after, err := strconv.Atoi(refused.header.Get("Retry-After")); err != nil || after < 1 || after > 60 {
		t.Errorf("Retry-After is %q", refused.header.Get("Retry-After"))
	}
	write.Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	for refused.status != 200 && time.Now().Before(until) {
		refused = p.ask("GET", "/Users?count=0", "")
	}
	if refused.status != 200 {
		t.Errorf("afterwards: %d %s", refused.status, refused.body)
	}
}

// A body over the limit is refused before it is read whole, and the answer says what to do.
func TestTooLargeABodyIsRefused(t *testing.T) {
	p := newProvider(t, scim.Options{MaxBody: 4096})
	user := func(size int) string {
		return `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"anna","title":"` + strings.Repeat("x", size) + `"}`
	}
	detail := p.ask("POST", "/Users", user(5000)).wantError(t, 413)
	if !strings.Contains(detail, "4096 bytes") || !strings.Contains(detail, "Send fewer") {
		t.Errorf("the detail is %q", detail)
	}
	if r := p.ask("GET", "/Users?count=0", ""); r.status != 200 || !strings.Contains(r.body, `"totalResults":0`) {
		t.Errorf("afterwards: %d %s", r.status, r.body)
	}
	p.send(201, "POST", "/Users", user(100), nil)
}
