package samba_test

import (
	"crypto/tls"
	"os"
	"os/exec"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/samba"
)

const password = "Passw0rd!Of.Tests"

func TestMain(m *testing.M) {
	if out, err := exec.Command("../../../scripts/install-test-servers.sh").CombinedOutput(); err != nil {
		os.Stderr.Write(out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// TestAControllerAndItsTwin sees two controllers of one domain side by side, equal in all but who they are.
func TestAControllerAndItsTwin(t *testing.T) {
	ca, err := sandbox.NewCA("samba")
	if err != nil {
		t.Fatal(err)
	}
	first, err := samba.Start(t.Context(), samba.Options{CA: ca, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	twin, err := first.Twin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close()
	var guids, invocations [2]string
	for i, s := range []*samba.Server{first, twin} {
		c := dial(t, s, ca)
		guids[i] = read(t, c, samba.AdministratorDN, "objectGUID")
		invocations[i] = read(t, c, read(t, c, "", "dsServiceName"), "invocationId")
	}
	if guids[0] != guids[1] || guids[0] == "" {
		t.Errorf("the administrator has the ids %x and %x", guids[0], guids[1])
	}
	if invocations[0] == invocations[1] || len(invocations[1]) != 16 {
		t.Errorf("the invocation ids %x and %x", invocations[0], invocations[1])
	}
	if err := twin.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(twin.CAFile); !os.IsNotExist(err) {
		t.Errorf("the twin's folder is still there: %v", err)
	}
}

func dial(t *testing.T, s *samba.Server, ca *sandbox.CA) *ldap.Conn {
	t.Helper()
	c, err := ldap.DialURL(s.URL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: ca.Pool()}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Bind(samba.Administrator, password); err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, c *ldap.Conn, dn, attribute string) string {
	t.Helper()
	found, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{attribute}, nil))
	if err != nil || len(found.Entries) != 1 {
		t.Fatalf("%s: %v", dn, err)
	}
	return found.Entries[0].GetAttributeValue(attribute)
}
