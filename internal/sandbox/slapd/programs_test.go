package slapd

import (
	"strings"
	"testing"
)

func TestAMissingProgramNamesTheScript(t *testing.T) {
	_, err := findPrograms("slapd", "slapd-of-nobody")
	if err == nil || !strings.Contains(err.Error(), "scripts/install-test-servers.sh") {
		t.Fatalf("the error does not name the script: %v", err)
	}
}
