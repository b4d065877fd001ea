package main

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// A gateway neither makes nor reads the key that signs key requests; a worker does.
func TestGatewayHasNoSigningKey(t *testing.T) {
	s := settings{State: t.TempDir()}
	if err := s.complete(); err != nil {
		t.Fatal(err)
	}
	p, err := s.openStore(t.Context(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if _, err := os.Stat(s.Identity); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the gateway's state holds a signing key: %v", err)
	}
	if got := ask(t, p, "right"); got != http.StatusNotFound {
		t.Errorf("asked for the workers' identity, a gateway answers %d", got)
	}
	w, err := s.open(t.Context(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if got := ask(t, w, "right"); got != http.StatusOK {
		t.Errorf("beside a worker it answers %d", got)
	}
	for _, token := range []string{"", "wrong", "right "} {
		if got := ask(t, w, token); got != http.StatusUnauthorized {
			t.Errorf("with the token %q it answers %d", token, got)
		}
	}
}

func ask(t *testing.T, p *parts, token string) int {
	t.Helper()
	mux := http.NewServeMux()
	(&reader{store: p.store, identity: p.identity, token: "right"}).routes(mux)
	r := httptest.NewRequest(http.MethodGet, readapi.IdentityPath, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Code
}
