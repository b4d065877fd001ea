package keyserver_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

func started(t *testing.T, o keyserver.Options) *keyserver.Server {
	t.Helper()
	var log bytes.Buffer
	o.Log = &log
	s, err := keyserver.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err, log.String())
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return s
}

// roundTrip encrypts as root: the server serves.
func roundTrip(t *testing.T, s *keyserver.Server) error {
	t.Helper()
	var out struct{ Ciphertext string }
	err := s.Put(t.Context(), "transit/encrypt/k", map[string]string{"plaintext": "aGVsbG8="}, &out)
	if err == nil && !strings.HasPrefix(out.Ciphertext, "vault:v1:") {
		t.Errorf("the ciphertext is %q", out.Ciphertext)
	}
	return err
}

// A server keeps what it knows over a seal, a restart, a kill and a stop, and refuses while it is sealed.
func TestStateSurvives(t *testing.T) {
	folder := t.TempDir()
	s := started(t, keyserver.Options{Folder: folder})
	if err := s.Put(t.Context(), "sys/mounts/transit", map[string]string{"type": "transit"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "transit/keys/k", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	interruptions := []struct {
		name string
		do   func() error
	}{
		{"seal", func() error { return s.Seal(t.Context()) }},
		{"restart", func() error { return s.Restart(t.Context()) }},
		{"kill", func() error { s.Kill(); return s.Restart(t.Context()) }},
	}
	for _, i := range interruptions {
		if err := i.do(); err != nil {
			t.Fatal(i.name, err)
		}
		if err := roundTrip(t, s); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s: a sealed server answers %v", i.name, err)
		}
		if err := s.Unseal(t.Context()); err != nil {
			t.Fatal(i.name, err)
		}
		if err := roundTrip(t, s); err != nil {
			t.Errorf("%s: after the unsealing: %v", i.name, err)
		}
	}
	address := s.Address
	s.Stop()
	again := started(t, keyserver.Options{Folder: folder})
	if again.Address != address {
		t.Errorf("it moved from %s to %s", address, again.Address)
	}
	if err := roundTrip(t, again); err != nil {
		t.Error("after a stop:", err)
	}
}

// A standby without its active node refuses, and the restart as an ordinary one ends that.
func TestStandby(t *testing.T) {
	s := started(t, keyserver.Options{})
	if err := s.RestartAsStandby(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := s.Put(t.Context(), "sys/mounts/transit", map[string]string{"type": "transit"}, nil)
	if err == nil {
		t.Error("a standby serves")
	}
	t.Log("the standby says:", err)
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
}
