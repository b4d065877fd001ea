package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// pushedTenant has an LDAP directory and those that are pushed.
func pushedTenant(pushed ...backup.DirectoryName) *readapi.TenantReport {
	t := backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{{Name: "ldap", Kind: backup.LDAP}}}
	for _, name := range pushed {
		t.Directories = append(t.Directories, backup.DirectoryConfig{Name: name, Kind: backup.SCIM, SCIM: &backup.SCIMConfig{}})
	}
	return &readapi.TenantReport{Tenant: t}
}

// TestSCIMTokenAdd: what is printed is what the identity provider needs, and the workflow learns the token's SHA-256 only.
func TestSCIMTokenAdd(t *testing.T) {
	env := map[string]string{"HOLDFAST_USER": "anna", "HOLDFAST_GATEWAY": "https://gateway.example:8443"}
	for args, want := range map[string]scimAdded{
		"":                                  {Directory: "okta", Label: "okta-2", BaseURL: "https://gateway.example:8443/scim/v2", Expires: morning.AddDate(1, 0, 0)},
		"--directory okta --label new":      {Directory: "okta", Label: "new", BaseURL: "https://gateway.example:8443/scim/v2", Expires: morning.AddDate(1, 0, 0)},
		"--gateway https://backup.example/": {Directory: "okta", Label: "okta-2", BaseURL: "https://backup.example/scim/v2", Expires: morning.AddDate(1, 0, 0)},
		"--expires 0 --by bela":             {Directory: "okta", Label: "okta-2", BaseURL: "https://gateway.example:8443/scim/v2"},
		"--expires 8h":                      {Directory: "okta", Label: "okta-2", BaseURL: "https://gateway.example:8443/scim/v2", Expires: morning.Add(8 * time.Hour)},
	} {
		c := &fakeFlows{}
		r := &fakeReader{report: pushedTenant("okta"), tokens: []readapi.SCIMToken{{Directory: "okta", Label: "okta"}}}
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), newFake(&stdout, &stderr, c, r, env), strings.Fields("scim token add acme --json "+args)); code != exitOK {
			t.Fatalf("%s: %d %s", args, code, &stderr)
		}
		var got scimAdded
		if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256([]byte(got.Token))
		if len(got.Token) != 50 || !bytes.Equal(c.token.Hash, hash[:]) || c.token.Label != got.Label || c.token.Directory != "okta" || !c.token.Expires.Equal(got.Expires) || c.token.Revoke {
			t.Errorf("%s: asked for %+v", args, c.token)
		}
		if by := c.token.RequestedBy; by != map[bool]string{true: "bela", false: "anna"}[strings.Contains(args, "bela")] {
			t.Errorf("%s: in the name of %s", args, by)
		}
		want.Tenant, want.Token = "acme", got.Token
		if got != want {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// TestSCIMTokenText: the token stands on standard output once, and nowhere else.
func TestSCIMTokenText(t *testing.T) {
	var stdout, stderr bytes.Buffer
	c, r := &fakeFlows{}, &fakeReader{report: pushedTenant("entra")}
	if code := run(t.Context(), newFake(&stdout, &stderr, c, r, map[string]string{"HOLDFAST_USER": "anna", "HOLDFAST_GATEWAY": "https://g.example"}), strings.Fields("scim token add acme")); code != exitOK {
		t.Fatalf("%d %s", code, &stderr)
	}
	says(t, stdout.String(), "https://g.example/scim/v2", scimTokenPrefix)
	says(t, stderr.String(), "Okta", "Entra ID", "2027-03-02", "holdfast scim token list acme")
	if strings.Count(stdout.String(), scimTokenPrefix) != 1 || strings.Contains(stderr.String(), scimTokenPrefix) {
		t.Error("the token is shown more than once")
	}
}

// TestSCIMTokenRefused: when it is not made good, nobody gets a token.
func TestSCIMTokenRefused(t *testing.T) {
	tooMany := fmt.Errorf("%w: %w", orchestrator.ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Message: "the directory okta of acme has 2 SCIM tokens, as many as it may have", Hint: "revoke"})
	for name, c := range map[string]struct {
		args   string
		report *readapi.TenantReport
		err    error
		code   int
		says   string
	}{
		"too many":         {"", pushedTenant("okta"), tooMany, exitRefused, "as many as it may have"},
		"no directory":     {"", pushedTenant(), nil, exitFailed, "- {name: okta, kind: scim}"},
		"another kind":     {"--directory ldap", pushedTenant("okta"), nil, exitFailed, "no directory ldap that is pushed"},
		"which of two":     {"", pushedTenant("okta", "entra"), nil, exitUsage, "--directory okta or --directory entra"},
		"no tenant":        {"", nil, nil, exitNotFound, "there is no tenant"},
		"expires too soon": {"--expires 3s", pushedTenant("okta"), nil, exitUsage, "--expires"},
		"not over TLS":     {"--gateway http://g.example", pushedTenant("okta"), nil, exitUsage, "https://"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			p := newFake(&stdout, &stderr, &fakeFlows{err: c.err}, &fakeReader{report: c.report}, map[string]string{"HOLDFAST_USER": "anna", "HOLDFAST_GATEWAY": "https://g.example"})
			if code := run(t.Context(), p, strings.Fields("scim token add acme "+c.args)); code != c.code || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.says) {
				t.Errorf("%d %s%s", code, &stdout, &stderr)
			}
		})
	}
}

// TestSCIMTokenRevoke finds the directory of a label, and asks when two have it.
func TestSCIMTokenRevoke(t *testing.T) {
	two := []readapi.SCIMToken{{Directory: "okta", Label: "one"}, {Directory: "entra", Label: "one"}, {Directory: "entra", Label: "two"}}
	for args, want := range map[string]struct {
		code int
		dir  backup.DirectoryName
	}{
		"two --yes-revoke two": {exitOK, "entra"}, "one --directory okta --yes-revoke one": {exitOK, "okta"}, "one --yes-revoke one": {exitUsage, ""},
		"three --yes-revoke three": {exitNotFound, ""}, "expired --directory okta --yes-revoke expired": {exitOK, "okta"},
		"two": {exitUsage, ""}, "two --yes-revoke one": {exitUsage, ""},
	} {
		var out bytes.Buffer
		c := &fakeFlows{}
		code := run(t.Context(), newFake(&out, &out, c, &fakeReader{tokens: two}, map[string]string{"HOLDFAST_USER": "anna", "HOLDFAST_GATEWAY": "https://g.example"}), strings.Fields("scim token revoke acme "+args))
		if code != want.code || c.token.Directory != want.dir || c.token.Revoke != (code == exitOK) {
			t.Errorf("%s: %d, %+v: %s", args, code, c.token, &out)
		}
	}
}
