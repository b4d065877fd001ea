package workflows

import (
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestIDsAreReadBack(t *testing.T) {
	for id, want := range map[string]ID{
		OnboardID("acme", backup.Microsoft365):   {"onboard", "acme", "microsoft365"},
		ProvisionKeyID("acme"):                   {"key", "acme", ""},
		WatchConnectorsID("acme"):                {"connectors", "acme", ""},
		ImportID("acme", "ldap"):                 {"import", "acme", "ldap"},
		BackUpID("acme", backup.GoogleWorkspace): {"backup", "acme", "googleworkspace"},
		RestoreID("acme", "r-17"):                {"restore", "acme", "r-17"},
		CheckID("acme", string(CheckAppSystem)):  {"check", "acme", "app"},
		"backup/acme/microsoft365-2026-11-23T1Z": {"backup", "acme", "microsoft365-2026-11-23T1Z"},
		"import/acme/ldap-2026-11-23T03:00:00Z":  {"import", "acme", "ldap-2026-11-23T03:00:00Z"},
		"drill/acme-2026-11-23T03:00:00Z":        {"drill", "acme", "2026-11-23T03:00:00Z"},
		DrillKeyID("a-2026-11-23"):               {"drill", "a-2026-11-23", ""},
		"rotate/acme-2-2026-11-23T03:00:00Z":     {"rotate", "acme-2", "2026-11-23T03:00:00Z"},
		RetireKeyID("acme", 3):                   {"retire", "acme", "3"},
		EnrollConnectorID("acme", "hq"):          {"enroll", "acme", "hq"},
		RemoveConnectorID("acme", "hq"):          {"remove", "acme", "hq"},
		RestoreID("acme", "a/b"):                 {"restore", "acme", "a/b"},
	} {
		if got, err := ParseID(id); err != nil || got != want {
			t.Errorf("%s is read back as %+v, %v; want %+v", id, got, err, want)
		}
	}
	for _, id := range []string{"", "acme", "onboard", "onboard/", "approval/acme/1", "temporal-sys-scheduler:backup/acme"} {
		if got, err := ParseID(id); err == nil {
			t.Errorf("%q is read as %+v", id, got)
		}
	}
}
