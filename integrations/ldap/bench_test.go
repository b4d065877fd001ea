package ldap_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

// BenchmarkList reads 10,000 people from slapd over LDAPS, with a new connection each time, beside OpenLDAP's own client
// with the same attributes and pages.
func BenchmarkList(b *testing.B) {
	const people = 10_000
	ca, err := sandbox.NewCA("bench")
	if err != nil {
		b.Fatal(err)
	}
	s, err := slapd.Start(b.Context(), slapd.Options{CA: ca, Password: password, People: sandbox.People(1, people, "acme.example")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.Run("holdfast", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dir, err := open(b.Context(), directory{ldaps: s.URL, caFile: s.CAFile}.config())
			if err != nil {
				b.Fatal(err)
			}
			got, err := list(b.Context(), dir)
			dir.Close()
			if err != nil || got.total != people {
				b.Fatalf("%d people, %v", got.total, err)
			}
		}
	})
	b.Run("ldapsearch", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), "ldapsearch", "-LLL", "-x", "-H", s.URL, "-D", ldapserver.DefaultBindDN, "-w", password,
				"-b", ldapserver.DefaultBaseDN, "-E", "pr=500/noprompt", "(objectClass=inetOrgPerson)",
				"entryUUID", "mail", "displayName", "cn", "employeeNumber", "departmentNumber", "userAccountControl", "pwdAccountLockedTime")
			cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+s.CAFile)
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
