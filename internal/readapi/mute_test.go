package readapi_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// TestMuteAlert: what is muted is posted with the token, and a refusal comes back as it was said.
func TestMuteAlert(t *testing.T) {
	until := time.Date(2026, 3, 2, 12, 30, 0, 0, time.UTC)
	c := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.URL.Path != "/v1/tenants/acme/alerts/mute" || r.Header.Get("Authorization") != "Bearer s3cret" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if string(body) == `{"kind":"not_connected","subject":"key","until":"2026-03-02T12:30:00Z"}` {
			fmt.Fprint(w, "{}")
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":"not_found","message":"no such alert","hint":"holdfast alerts acme"}`)
	})
	if err := c.MuteAlert(t.Context(), "acme", readapi.Mute{Kind: backup.AlertNotConnected, Subject: "key", Until: until}); err != nil {
		t.Error(err)
	}
	if err := c.MuteAlert(t.Context(), "acme", readapi.Mute{Kind: "other"}); !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("another alert: %v", err)
	}
}
