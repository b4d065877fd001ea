package tenantfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const identity = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// good is a small file that is right. Its lines are counted by the tests below.
const good = `id: acme
administrators:
  - name: anna@acme.example
    role: cloud-admin
key:
  connectors:
    - name: hq
      identity: ` + identity + `
directories:
- kind: ldap
  ldap:
    url: ldaps://ldap.acme.example
    bindDN: cn=holdfast
    bindPassword: env:LDAP_PASSWORD
    baseDN: dc=acme
microsoft365:
  directoryTenant: acme.example
  clientID: abc-1
  clientSecret: file:secrets/graph
`

// vault is the key's group of fields with a Vault in it.
func vault(address, login string) string {
	return "key:\n  kms:\n    address: " + address + "\n    login: {" + login + "}\n"
}

func TestGoodFile(t *testing.T) {
	tenant, err := Parse([]byte(good), "/etc/holdfast")
	if err != nil {
		t.Fatal(explained(err))
	}
	if tenant.Name != "acme" || tenant.Key.Method != backup.KeyByConnector || tenant.Repository.ID != "acme" || tenant.Directories[0].LDAP.PageSize != 1000 {
		t.Errorf("defaults: %+v", tenant)
	}
	p := tenant.Profile
	if len(p.Services) != 2 || p.Every != backup.Duration(24*time.Hour) || p.Jitter != backup.Duration(30*time.Minute) || p.PreserveDays != 365 {
		t.Errorf("profile: %+v", p)
	}
	if got := tenant.Microsoft365.ClientSecret; got != "file:/etc/holdfast/secrets/graph" {
		t.Errorf("a relative reference became %s", got)
	}
}

// TestKeyDefaults: what the file leaves out is filled in, once, so that nobody after this file guesses.
func TestKeyDefaults(t *testing.T) {
	tenant, err := Parse([]byte(good), "/etc/holdfast")
	if err != nil {
		t.Fatal(explained(err))
	}
	hours := func(n int) backup.Duration { return backup.Duration(time.Duration(n) * time.Hour) }
	k := tenant.Key
	if k.ConnectorAbsent != backup.FailWhenAbsent || k.WaitAtMost != hours(12) || k.Grace != hours(168) || k.DrillEvery != hours(168) || k.ShredWait != hours(72) || k.RotateEvery != 0 {
		t.Errorf("%+v", k)
	}
}

// TestKeyMethods: a connector may be enrolled later, a Vault needs its address and a login, and both may stand side by side.
func TestKeyMethods(t *testing.T) {
	pinned := "  connectors:\n    - name: hq\n      identity: " + identity + "\n"
	both := vault("https://vault.acme.example:8200", "method: approle, roleID: r, secretID: file:sid") +
		"    caFile: ca.pem\n    provisioning: {method: kubernetes, mount: k8s/eu, role: p, tokenFile: jwt}\n  connectorAbsent: wait\n  rotateEvery: 2160h\n"
	for name, key := range map[string]string{
		"nobody yet":        "key: {}\n",
		"an empty list":     "key: {connectors: []}\n",
		"kms alone":         "key:\n  method: kms\n" + strings.TrimPrefix(both, "key:\n"),
		"both":              both + pinned,
		"secrets elsewhere": vault("https://v", "method: token, token: 'vault:kv/holdfast#token'"),
	} {
		tenant, err := Parse([]byte(strings.Replace(good, "key:\n"+pinned, key, 1)), "/etc/holdfast")
		if err != nil {
			t.Errorf("%s: %s", name, explained(err))
		} else if v := tenant.Key.KMS; strings.Contains(name, "kms") || name == "both" {
			want := backup.KMSConfig{Address: "https://vault.acme.example:8200", CAFile: "/etc/holdfast/ca.pem", Mount: "transit", Key: "t-acme",
				Login:        backup.VaultLogin{Method: backup.LoginByAppRole, Mount: "approle", RoleID: "r", SecretID: "file:/etc/holdfast/sid"},
				Provisioning: &backup.VaultLogin{Method: backup.LoginByKubernetes, Mount: "k8s/eu", Role: "p", TokenFile: "/etc/holdfast/jwt"}}
			if !reflect.DeepEqual(*v, want) || tenant.Key.ConnectorAbsent != backup.WaitWhenAbsent {
				t.Errorf("%s: %+v", name, *v)
			}
		}
	}
	for _, ref := range []string{"vault:kv/acme/ldap#password", "env:P", "file:x"} {
		if _, err := Parse([]byte(strings.Replace(good, "env:LDAP_PASSWORD", "'"+ref+"'", 1)), "/"); err != nil {
			t.Errorf("%s: %s", ref, explained(err))
		}
	}
}

// TestBadFields gives each bad field once: a line is exchanged, and exactly one problem is expected at its path and line.
func TestBadFields(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		path           string
		line           int
		message        string
	}{
		{"id with capitals", "id: acme", "id: Acme", "id", 1, "right form"},
		{"id missing", "id: acme\n", "name: Acme\n", "id", 1, "missing"},
		{"unknown field", "id: acme", "id: acme\ncolour: red", "colour", 2, "no such field"},
		{"unknown field inside", "    bindDN:", "    colour: red\n    bindDN:", "directories[0].ldap.colour", 13, "no such field"},
		{"field given twice", "id: acme", "id: acme\nid: acme", "id", 2, "twice"},
		{"no administrators", "  - name: anna@acme.example\n    role: cloud-admin\n", "  []\n", "administrators", 3, "1 entry"},
		{"role unknown", "role: cloud-admin", "role: boss", "administrators[0].role", 4, "one of cloud-admin, saas-admin"},
		{"nobody is cloud-admin", "role: cloud-admin", "role: viewer", "administrators", 3, "cloud-admin"},
		{"administrator twice", "    role: cloud-admin\n", "    role: cloud-admin\n  - name: Anna@acme.example\n    role: viewer\n", "administrators[1].name", 5, "twice"},
		{"name is a number", "name: anna@acme.example", "name: 17", "administrators[0].name", 3, "text"},
		{"kms without a Vault", "key:\n", "key:\n  method: kms\n", "key.kms", 5, "missing"},
		{"kms without login", "key:\n", "key:\n  kms: {address: 'https://v'}\n", "key.kms.login", 6, "missing"},
		{"kms over http", "key:\n", vault("http://v", "method: token, token: env:T"), "key.kms.address", 7, "right form"},
		{"kms with a path", "key:\n", vault("https://v/v1", "method: token, token: env:T"), "key.kms.address", 7, "right form"},
		{"kms port", "key:\n", vault("https://v:99999", "method: token, token: env:T"), "key.kms.address", 7, "not an address"},
		{"kms mount", "key:\n", "key:\n  kms: {address: 'https://v', mount: /transit/, login: {method: token, token: env:T}}\n", "key.kms.mount", 6, "right form"},
		{"kms key", "key:\n", "key:\n  kms: {address: 'https://v', key: a/b, login: {method: token, token: env:T}}\n", "key.kms.key", 6, "right form"},
		{"kms unknown field", "key:\n", "key:\n  kms: {address: 'https://v', token: hunter2, login: {method: token, token: env:T}}\n", "key.kms.token", 6, "no such field"},
		{"login method unknown", "key:\n", vault("https://v", "method: github"), "key.kms.login.method", 8, "one of approle, token, kubernetes"},
		{"login unknown field", "key:\n", vault("https://v", "method: token, token: env:T, password: hunter2"), "key.kms.login.password", 8, "no such field"},
		{"approle without secret", "key:\n", vault("https://v", "method: approle, roleID: x"), "key.kms.login.secretID", 8, "approle needs"},
		{"kubernetes without role", "key:\n", vault("https://v", "method: kubernetes"), "key.kms.login.role", 8, "kubernetes needs"},
		{"token without token", "key:\n", vault("https://v", "method: token"), "key.kms.login.token", 8, "token needs"},
		{"token beside approle", "key:\n", vault("https://v", "method: approle, roleID: x, secretID: env:S, token: env:T"), "key.kms.login.token", 8, "does not take"},
		{"inline secret id", "key:\n", vault("https://v", "method: approle, roleID: x, secretID: hunter2"), "key.kms.login.secretID", 8, "not be the secret itself"},
		{"provisioning, too", "key:\n", vault("https://v", "method: token, token: env:T") + "    provisioning: {method: token, token: hunter2}\n", "key.kms.provisioning.token", 9, "not be the secret itself"},
		{"connectorAbsent", "key:\n", "key:\n  connectorAbsent: park\n", "key.connectorAbsent", 6, "one of fail, wait"},
		{"waitAtMost", "key:\n", "key:\n  waitAtMost: 1000h\n", "key.waitAtMost", 6, "744h"},
		{"rotations too close", "key:\n", "key:\n  rotateEvery: 1h\n", "key.rotateEvery", 6, "24h apart"},
		{"rotation within grace", "key:\n", "key:\n  rotateEvery: 48h\n  grace: 48h\n", "key.rotateEvery", 6, "before the replaced key"},
		{"rotation within the default grace", "key:\n", "key:\n  rotateEvery: 100h\n", "key.rotateEvery", 6, "before the replaced key"},
		{"no grace", "key:\n", "key:\n  grace: 0s\n", "key.grace", 6, "longer than nothing"},
		{"drills too close", "key:\n", "key:\n  drillEvery: 1m\n", "key.drillEvery", 6, "5m apart"},
		{"shredWait over", "key:\n", "key:\n  shredWait: 745h\n", "key.shredWait", 6, "744h"},
		{"vault reference without field", "env:LDAP_PASSWORD", "vault:secret/hunter2", "directories[0].ldap.bindPassword", 14, "where the secret is"},
		{"key method unknown", "key:\n", "key:\n  method: paper\n", "key.method", 6, "one of connector, kms"},
		{"identity is not base64", identity, "ed25519:???", "key.connectors[0].identity", 8, "right form"},
		{"identity has stray bits", identity, identity[:len(identity)-1] + "B", "key.connectors[0].identity", 8, "not a public key"},
		{"identity file missing", identity, "file:nowhere.pub", "key.connectors[0].identity", 8, "not there"},
		{"connector twice", "directories:\n", "    - name: hq\n      identity: " + strings.Replace(identity, "AAAA", "BBBB", 1) + "\ndirectories:\n", "key.connectors[1].name", 9, "twice"},
		{"identity twice", "directories:\n", "    - name: branch\n      identity: " + identity + "\ndirectories:\n", "key.connectors[1].identity", 10, "twice"},
		{"directory kind unknown", "kind: ldap", "kind: excel", "directories[0].kind", 10, "one of ldap"},
		{"scim", "kind: ldap", "kind: scim", "directories[0].ldap", 12, "kind ldap"},
		{"ldap missing", "  ldap:\n    url: ldaps://ldap.acme.example\n    bindDN: cn=holdfast\n    bindPassword: env:LDAP_PASSWORD\n    baseDN: dc=acme\n", "", "directories[0].ldap", 10, "missing"},
		{"plain ldap", "ldaps://ldap.acme.example", "ldap://ldap.acme.example", "directories[0].ldap.url", 12, "unencrypted"},
		{"ldaps and startTLS", "ldaps://ldap.acme.example", "ldaps://ldap.acme.example\n    startTLS: true", "directories[0].ldap.startTLS", 13, "already"},
		{"startTLS as text", "ldaps://ldap.acme.example", "ldaps://ldap.acme.example\n    startTLS: yes please", "directories[0].ldap.startTLS", 13, "true or false"},
		{"scheme", "ldaps://ldap.acme.example", "https://ldap.acme.example", "directories[0].ldap.url", 12, "right form"},
		{"port", "ldaps://ldap.acme.example", "ldaps://ldap.acme.example:99999", "directories[0].ldap.url", 12, "not an address"},
		{"password in the url", "ldaps://ldap.acme.example", "ldaps://u:hunter2@ldap.acme.example", "directories[0].ldap.url", 12, "right form"},
		{"inline password", "env:LDAP_PASSWORD", "hunter2", "directories[0].ldap.bindPassword", 14, "not be the secret itself"},
		{"inline number password", "env:LDAP_PASSWORD", "987654321", "directories[0].ldap.bindPassword", 14, "text"},
		{"vault reference with a space", "env:LDAP_PASSWORD", "vault:secret/ a#hunter2", "directories[0].ldap.bindPassword", 14, "where the secret is"},
		{"baseDN empty", "baseDN: dc=acme", `baseDN: ""`, "directories[0].ldap.baseDN", 15, "empty"},
		{"baseDN missing", "    baseDN: dc=acme\n", "", "directories[0].ldap.baseDN", 11, "missing"},
		{"baseDN null", "baseDN: dc=acme", "baseDN:", "directories[0].ldap.baseDN", 15, "text"},
		{"filter", "    baseDN:", "    filter: objectClass=*\n    baseDN:", "directories[0].ldap.filter", 15, "right form"},
		{"page size", "    baseDN:", "    pageSize: 0\n    baseDN:", "directories[0].ldap.pageSize", 15, "1 or more"},
		{"page size over", "    baseDN:", "    pageSize: 50000\n    baseDN:", "directories[0].ldap.pageSize", 15, "5000 or less"},
		{"page size half", "    baseDN:", "    pageSize: 2.5\n    baseDN:", "directories[0].ldap.pageSize", 15, "whole number"},
		{"page size infinite", "    baseDN:", "    pageSize: .inf\n    baseDN:", "directories[0].ldap.pageSize", 15, "number"},
		{"disabledValue alone", "    baseDN:", "    attributes: {disabledValue: x}\n    baseDN:", "directories[0].ldap.attributes.disabledValue", 15, "no attribute"},
		{"attribute name", "    baseDN:", "    attributes: {mail: 'a b'}\n    baseDN:", "directories[0].ldap.attributes.mail", 15, "right form"},
		{"groups as text", "    baseDN:", "    groups: cn=x\n    baseDN:", "directories[0].ldap.groups", 15, "a list"},
		{"kind entra with ldap", "kind: ldap", "kind: entra", "directories[0].ldap", 12, "kind ldap"},
		{"two of one name", "microsoft365:", "- kind: scim\n  name: ldap\nmicrosoft365:", "directories[1].name", 17, "have the name ldap"},
		{"two of one kind", "microsoft365:", "- kind: ldap\n  ldap: {url: 'ldaps://b', baseDN: b, bindDN: x, bindPassword: env:B}\nmicrosoft365:", "directories[1].name", 16, "have the name ldap"},
		{"no way to sign in", "    bindDN: cn=holdfast\n    bindPassword: env:LDAP_PASSWORD\n", "    bindDN: cn=holdfast\n", "directories[0].ldap.bindPassword", 11, "missing"},
		{"two ways to sign in", "    bindDN: cn=holdfast\n", "    clientCertificate: env:C\n", "directories[0].ldap.bindPassword", 14, "another way"},
		{"one plain server of two", "ldaps://ldap.acme.example", "'ldaps://a,ldap://b'", "directories[0].ldap.url", 12, "unencrypted"},
		{"change feed", "    baseDN:", "    changes: guess\n    baseDN:", "directories[0].ldap.changes", 15, "one of auto"},
		{"imports too often", "- kind: ldap", "- every: 1m\n  kind: ldap", "directories[0].every", 10, "5m apart"},
		{"precedence of a stranger", "id: acme", "id: acme\npeople: {precedence: {mail: [ldap, hr]}}", "people.precedence.mail[1]", 2, "no such directory"},
		{"precedence of a stranger's field", "id: acme", "id: acme\npeople: {precedence: {shoes: [ldap]}}", "people.precedence.shoes", 2, "no such field"},
		{"match by name", "id: acme", "id: acme\npeople: {matchBy: [displayName]}", "people.matchBy[0]", 2, "one of mail"},
		{"rule for nobody", "id: acme", "id: acme\nprofiles: [{name: board, when: {}, services: []}]", "profiles[0].when", 2, "one field"},
		{"rule of a stranger", "id: acme", "id: acme\nprofiles: [{name: board, when: {directories: [hr]}, services: []}]", "profiles[0].when.directories[0]", 2, "no such directory"},
		{"rule twice", "id: acme", "id: acme\nprofiles: [{name: b, when: {groups: [x]}, services: []}, {name: b, when: {groups: [y]}, services: []}]", "profiles[1].name", 2, "twice"},
		{"rule's attribute", "id: acme", "id: acme\nprofiles: [{name: b, when: {attributes: {department: Sales}}, services: []}]", "profiles[0].when.attributes.department", 2, "a list"},
		{"removals", "- kind: ldap", "- removals: {percent: 101}\n  kind: ldap", "directories[0].removals.percent", 10, "100 or less"},
		{"no app", "microsoft365:\n  directoryTenant: acme.example\n  clientID: abc-1\n  clientSecret: file:secrets/graph\n", "", "microsoft365", 1, "missing"},
		{"google", "id: acme", "id: acme\ngoogleworkspace: {}", "googleworkspace", 2, "not part of this version"},
		{"two secrets", "  clientID: abc-1", "  clientID: abc-1\n  clientCertificate: file:x.pem", "microsoft365.clientCertificate", 19, "clientSecret is given"},
		{"no secret", "  clientSecret: file:secrets/graph\n", "", "microsoft365.clientSecret", 16, "nothing to sign in with"},
		{"inline client secret", "file:secrets/graph", "hunter2~hunter2", "microsoft365.clientSecret", 19, "not be the secret itself"},
		{"login over http", "  clientID: abc-1", "  clientID: abc-1\n  loginURL: http://login.example", "microsoft365.loginURL", 19, "right form"},
		{"download host", "  clientID: abc-1", "  clientID: abc-1\n  downloadHosts: ['https://x']", "microsoft365.downloadHosts[0]", 19, "right form"},
		{"service unknown", "id: acme", "id: acme\nprofile: {services: [mail, fax]}", "profile.services[1]", 2, "one of mail, drive"},
		{"service twice", "id: acme", "id: acme\nprofile: {services: [mail, mail]}", "profile.services[1]", 2, "twice"},
		{"too often", "id: acme", "id: acme\nprofile: {every: 1m}", "profile.every", 2, "5m"},
		{"every without unit", "id: acme", "id: acme\nprofile: {every: 24}", "profile.every", 2, "text"},
		{"every in days", "id: acme", "id: acme\nprofile: {every: 1d}", "profile.every", 2, "right form"},
		{"jitter over every", "id: acme", "id: acme\nprofile: {every: 1h, jitter: 2h}", "profile.jitter", 2, "further"},
		{"repository id", "id: acme", "id: acme\nrepository: {id: A/B}", "repository.id", 2, "right form"},
		{"anchor", "id: acme", "id: &a acme", "id", 1, "anchors"},
		{"alias", "id: acme", "name: *b\nid: acme", "", 1, "not YAML"},
		{"tag", "id: acme", "id: !secret acme", "id", 1, "tags"},
		{"merge key", "id: acme", "id: acme\n<<: {a: b}", "", 2, "plain text"},
		{"broken", "id: acme", "id: [acme", "", 1, "not YAML"},
		{"two documents", "id: acme", "id: acme\n---\nid: acme", "", 2, "more than one document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("%q is not in the good file", c.old)
			}
			_, err := Parse([]byte(strings.Replace(good, c.old, c.new, 1)), t.TempDir())
			var p *Problems
			if !errors.As(err, &p) || len(p.List) != 1 {
				t.Fatalf("want one problem: %v", explained(err))
			}
			got := p.List[0]
			if got.Path != c.path || got.Line != c.line || !strings.Contains(got.Message, c.message) || got.Column < 1 {
				t.Errorf("got %+v", got)
			}
			if got.Fix == "" {
				t.Errorf("no fix: %+v", got)
			}
			if s := fmt.Sprintf("%+v", p.List); strings.Contains(s, "hunter2") || strings.Contains(s, "987654321") {
				t.Errorf("the report repeats a secret: %s", s)
			}
		})
	}
}

// TestSCIMForGoogleWorkspace: the reason is said, beside what else is wrong.
func TestSCIMForGoogleWorkspace(t *testing.T) {
	section := good[strings.Index(good, "- kind: ldap"):strings.Index(good, "microsoft365:")]
	_, err := Parse([]byte(strings.Replace(good, section, "- kind: scim\ngoogleworkspace: {}\n", 1)), "/")
	if text := explained(err); !strings.Contains(text, "Path:directories[0].kind") || !strings.Contains(text, "SCIM is not offered for Google Workspace") {
		t.Error(text)
	}
}

// TestSeveralDirectories: names and sections have defaults, and everything about people finds its place.
func TestSeveralDirectories(t *testing.T) {
	text := strings.Replace(good, "microsoft365:", `- {name: okta, kind: scim, every: 1h}
- kind: entra
  entra: {groups: [0b6e3f0a-1f0f-4a52-8a3e-0d6f4c1f2b11], attributes: {country: [DE, AT]}, guests: true}
people:
  approveFirstImport: true
  matchBy: [mail, employeeID]
  precedence: {department: [okta, ldap]}
profiles:
- {name: board, priority: 10, when: {groups: ["cn=board"], attributes: {department: [Board]}}, services: [mail], preserveDays: 3650}
- {name: none, when: {kinds: [guest]}, services: []}
microsoft365:`, 1)
	tenant, err := Parse([]byte(text), "/")
	if err != nil {
		t.Fatal(explained(err))
	}
	var names []backup.DirectoryName
	for _, d := range tenant.Directories {
		names = append(names, d.Name)
	}
	if !reflect.DeepEqual(names, []backup.DirectoryName{"ldap", "okta", "entra"}) || tenant.Directories[1].SCIM == nil || tenant.Directories[1].Every != backup.Duration(time.Hour) {
		t.Errorf("%+v", tenant.Directories)
	}
	if got := tenant.PrecedenceOf(backup.FieldDepartment); !reflect.DeepEqual(got, []backup.DirectoryName{"okta", "ldap", "entra"}) {
		t.Errorf("precedence %v", got)
	}
	if p := tenant.ServicePlan(); len(p.ByProfile) != 2 || tenant.PreserveDaysOf("board") != 3650 || tenant.PreserveDaysOf("none") != 365 {
		t.Errorf("%+v", tenant.Profiles)
	}
}

// TestEverythingAtOnce: problems of the schema and of the rules stand in one report, in the order of their lines.
func TestEverythingAtOnce(t *testing.T) {
	_, err := Parse([]byte(`id: ACME
administrators:
  - {name: a, role: viewer}
key:
  connectors: [{name: hq, identity: nonsense}]
directories:
- kind: ldap
  ldap: {url: "ldap://x", bindDN: y, bindPassword: hunter2, colour: red}
microsoft365:
  directoryTenant: acme.example
profile: {every: 1s, services: [mail, mail]}
`), "/")
	var p *Problems
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	var paths []string
	for _, problem := range p.List {
		paths = append(paths, fmt.Sprintf("%d %s", problem.Line, problem.Path))
	}
	want := "1 id,3 administrators,5 key.connectors[0].identity,8 directories[0].ldap.baseDN,8 directories[0].ldap.url,8 directories[0].ldap.bindPassword,8 directories[0].ldap.colour,9 microsoft365.clientID,9 microsoft365.clientSecret,11 profile.every,11 profile.services[1]"
	if got := strings.Join(paths, ","); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReadResolvesPaths(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "hq.pub"), identity+"\n")
	text := strings.NewReplacer(identity, "file:hq.pub", "id: acme", "id: acme\nrepository: {folder: repo}", "    baseDN:", "    caFile: ca.pem\n    baseDN:").Replace(good)
	file := filepath.Join(folder, "acme.yaml")
	write(t, file, text)
	tenant, err := Read(file)
	if err != nil {
		t.Fatal(explained(err))
	}
	if tenant.Key.Connectors[0].Identity != identity || tenant.Repository.Folder != filepath.Join(folder, "repo") || tenant.Directories[0].LDAP.CAFile != filepath.Join(folder, "ca.pem") {
		t.Errorf("%+v", tenant)
	}
	write(t, filepath.Join(folder, "hq.pub"), "PRIVATE hunter2")
	_, err = Read(file)
	var p *Problems
	if !errors.As(err, &p) || len(p.List) != 1 || strings.Contains(explained(err), "hunter2") || p.File != file {
		t.Errorf("a wrong identity file: %s", explained(err))
	}
	if _, err := Read(filepath.Join(folder, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestExampleFile(t *testing.T) {
	tenant, err := Read("../../docs/tenant.example.yaml")
	if err != nil {
		t.Fatal(explained(err))
	}
	if tenant.ID != "acme" || tenant.Directories[0].LDAP.Attributes.DisabledValue != "disabled" || len(tenant.Administrators) != 2 {
		t.Errorf("%+v", tenant)
	}
}

// TestExampleInComments: what the example has commented out is right, too.
func TestExampleInComments(t *testing.T) {
	data, err := os.ReadFile("../../docs/tenant.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(data), "  # kms:\n")
	block, rest, end := strings.Cut(after, "  connectorAbsent:")
	if !found || !end {
		t.Fatal("the example has no Vault in it")
	}
	text := before + "  kms:\n" + strings.ReplaceAll("\n"+block, "\n  # ", "\n  ") + "  connectorAbsent:" + strings.ReplaceAll(rest, "# rotateEvery", "rotateEvery")
	tenant, err := Parse([]byte(text), "/etc/holdfast")
	if err != nil {
		t.Fatalf("%s\n%s", explained(err), text)
	}
	if v := tenant.Key.KMS; v == nil || v.Provisioning == nil || v.Login.Method != backup.LoginByAppRole || tenant.Key.RotateEvery == 0 {
		t.Errorf("%+v", tenant.Key)
	}
}

func TestLimits(t *testing.T) {
	for name, text := range map[string]string{
		"empty":        "",
		"only comment": "# nothing\n",
		"a list":       "- a\n- b\n",
		"a word":       "acme",
		"too large":    "id: " + strings.Repeat("x", maxSize),
		"too deep":     strings.Repeat("[", 200) + strings.Repeat("]", 200),
		"too many":     "groups: [" + strings.Repeat("a,", maxNodes) + "a]",
		"bomb":         "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
		"binary":       "\x00\x01\xff",
		"null":         "null",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(text), "/")
			var p *Problems
			if !errors.As(err, &p) || len(p.List) == 0 || len(p.List) > maxProblems {
				t.Errorf("%v", err)
			}
		})
	}
}

// FuzzParse: whatever the bytes, there is a tenant that passes again or a report with places in it.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, "key:\n", vault("https://v", "method: token, token: 'vault:a#b'"), 1)))
	f.Add([]byte("id: [}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("id: !!binary aGk=\n0: 1\n.nan: 2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tenant, err := Parse(data, "/")
		if err == nil {
			if tenant.ID == "" || tenant.Microsoft365 == nil || tenant.Key.Method == backup.KeyByKMS && tenant.Key.KMS == nil {
				t.Fatalf("accepted: %+v", tenant)
			}
			return
		}
		var p *Problems
		if !errors.As(err, &p) || len(p.List) == 0 {
			t.Fatalf("no report: %v", err)
		}
		for _, problem := range p.List {
			if problem.Line < 1 || problem.Column < 1 || problem.Message == "" {
				t.Fatalf("a problem without a place: %+v", problem)
			}
		}
	})
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func explained(err error) string {
	var p *Problems
	if errors.As(err, &p) {
		return fmt.Sprintf("%+v", p.List)
	}
	return fmt.Sprint(err)
}
