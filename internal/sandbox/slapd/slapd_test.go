package slapd_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

func TestMain(m *testing.M) {
	if out, err := exec.Command("../../../scripts/install-test-servers.sh").CombinedOutput(); err != nil {
		os.Stderr.Write(out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, ctx context.Context) *slapd.Server {
	t.Helper()
	ca, err := sandbox.NewCA("slapd test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := slapd.Start(ctx, slapd.Options{CA: ca, People: sandbox.People(1, 600, "acme.example"), Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// ldapsearch asks with OpenLDAP's own client, so that server and judge are both not ours.
func ldapsearch(t *testing.T, s *slapd.Server, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ldapsearch", append([]string{"-LLL", "-x", "-D", ldapserver.DefaultBindDN, "-w", "correct horse", "-b", ldapserver.DefaultBaseDN}, args...)...)
	cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+s.CAFile, "LDAPTLS_REQCERT=demand")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestServesThePeopleOverBothWays(t *testing.T) {
	s := start(t, t.Context())
	for name, way := range map[string][]string{"LDAPS": {"-H", s.URL}, "StartTLS": {"-ZZ", "-H", s.StartTLSURL}} {
		out, err := ldapsearch(t, s, append(way, "(objectClass=inetOrgPerson)", "entryUUID", "pwdAccountLockedTime", "mail")...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		for what, want := range map[string]int{"\nentryUUID: ": 600, "pwdAccountLockedTime: 000001010000Z": 24, "\nmail: ": 576} {
			if got := strings.Count(out, what); got != want {
				t.Errorf("%s: %d times %q, want %d", name, got, what, want)
			}
		}
	}
}

func TestRefusesAPasswordInTheClear(t *testing.T) {
	s := start(t, t.Context())
	out, err := ldapsearch(t, s, "-H", s.StartTLSURL)
	if err == nil || !strings.Contains(out, "Confidentiality required") {
		t.Fatalf("a bind without TLS answered %v: %s", err, out)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := start(t, ctx)
	cancel()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := ldapsearch(t, s, "-H", s.URL); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("slapd still answers")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestCloseRemovesTheFolder(t *testing.T) {
	s := start(t, t.Context())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.CAFile); !os.IsNotExist(err) {
		t.Fatalf("the folder is still there: %v", err)
	}
}
