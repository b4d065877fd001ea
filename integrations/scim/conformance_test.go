package scim_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast/integrations/scim"
	"github.com/holdfast-backup/holdfast/integrations/scim/conformance"
)

// TestConformance runs the script over TLS against the real store.
func TestConformance(t *testing.T) {
	server := newProvider(t, scim.Options{})
	p := conformance.Peer{Client: server.Client(), BaseURL: server.URL + scim.BasePath, Token: "a-token", Run: "r1"}
	conformance.Check(t.Context(), p, func(step string, err error) {
		if err != nil {
			t.Errorf("%s: %v", step, err)
		}
	})
}
