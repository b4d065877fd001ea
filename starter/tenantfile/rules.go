package tenantfile

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	minEvery = 5 * time.Minute
	maxEvery = 31 * 24 * time.Hour

	minRotation = 24 * time.Hour
	maxRotation = 10 * 365 * 24 * time.Hour
	maxGrace    = 90 * 24 * time.Hour
)

// checkRules reports what is wrong beyond the schema. It reads the tree, not a tenant, so that a problem elsewhere hides nothing;
// what has the wrong type is the schema's matter and is passed over.
func checkRules(t *tree) []Problem {
	r := rules{tree: t}
	r.administrators()
	r.key()
	r.directories()
	r.microsoft365()
	r.profile()
	r.profiles()
	return r.problems
}

type rules struct {
	*tree
	problems []Problem
}

func (r *rules) refuse(message, fix string, path ...string) {
	r.problems = append(r.problems, r.problem(path, message, fix))
}

func (r *rules) administrators() {
	r.distinct("administrators", "name", strings.ToLower)
	list := r.list("administrators")
	for i := range list {
		switch backup.Role(r.text("administrators", strconv.Itoa(i), "role")) {
		case backup.SaaSAdmin, backup.Approver, backup.Viewer:
		default:
			return // one cloud-admin is enough; a role that is missing or unknown is the schema's matter
		}
	}
	if len(list) > 0 {
		r.refuse("nobody is a cloud-admin", "give one person the role cloud-admin", "administrators")
	}
}

func (r *rules) key() {
	if r.text("key", "method") == string(backup.KeyByKMS) && !r.has("key", "kms") {
		r.refuse("this field is missing", "address and login of the Vault that wraps the key", "key", "kms")
	}
	r.kms()
	r.keyTimes()
	r.distinct("key.connectors", "name", same)
	r.distinct("key.connectors", "identity", same)
	for i := range r.list("key", "connectors") {
		at := []string{"key", "connectors", strconv.Itoa(i), "identity"}
		if id := r.text(at...); looksLikeIdentity(id) && !validIdentity(id) {
			r.refuse("this is not a public key", fix(at), at...)
		}
	}
}

func (r *rules) kms() {
	r.address("key", "kms", "address")
	for _, name := range []string{"login", "provisioning"} {
		if r.has("key", "kms", name) {
			r.vaultLogin("key", "kms", name)
		}
	}
}

// loginFields says which fields of a login each auth method needs, and which it may have.
var loginFields = map[backup.VaultLoginMethod]struct{ needs, takes []string }{
	backup.LoginByAppRole:    {needs: []string{"roleID", "secretID"}},
	backup.LoginByKubernetes: {needs: []string{"role"}, takes: []string{"tokenFile"}},
	backup.LoginByToken:      {needs: []string{"token"}},
}

func (r *rules) vaultLogin(path ...string) {
	at := func(field string) []string { return append(slices.Clip(path), field) }
	method := r.text(at("method")...)
	fields, known := loginFields[backup.VaultLoginMethod(method)]
	if !known {
		return // the schema's matter
	}
	for _, field := range fields.needs {
		if !r.has(at(field)...) {
			r.refuse("the login by "+method+" needs this field", fix(at(field)), at(field)...)
		}
	}
	for _, field := range []string{"roleID", "secretID", "role", "tokenFile", "token"} {
		if r.has(at(field)...) && !slices.Contains(fields.needs, field) && !slices.Contains(fields.takes, field) {
			r.refuse("the login by "+method+" does not take this field", "remove it, or choose another method", at(field)...)
		}
	}
}

// keyTimes bounds the key's clocks. A rotation is under way until the replaced key's grace has ended, so the next one must come later.
func (r *rules) keyTimes() {
	for _, c := range []struct {
		name        string
		least, most time.Duration
		message     string
	}{
		{"waitAtMost", 0, maxEvery, "a run waits 744h at most"},
		{"rotateEvery", minRotation, maxRotation, "rotations are 24h apart at least and 87600h at most"},
		{"grace", 0, maxGrace, "a replaced key is kept for 2160h at most"},
		{"drillEvery", minEvery, maxEvery, "drills are 5m apart at least and 744h at most"},
		{"shredWait", 0, maxEvery, "a shredding waits 744h at most"},
	} {
		if d := r.duration("key", c.name); d != 0 && (d < c.least || d > c.most) {
			r.refuse(c.message, fix([]string{"key", c.name}), "key", c.name)
		}
	}
	every, grace := r.duration("key", "rotateEvery"), backup.Duration(r.duration("key", "grace")).Or(backup.DefaultGrace)
	if every >= minRotation && every <= grace {
		r.refuse("the next rotation would come before the replaced key is retired", "a time longer than grace, which is 168h when left out", "key", "rotateEvery")
	}
}

func (r *rules) directories() {
	r.distinctDirectories()
	for i := range r.list("directories") {
		r.directory("directories", strconv.Itoa(i))
	}
	for field, names := range r.group("people", "precedence") {
		list, _ := names.([]any)
		for i, name := range list {
			r.directoryIsThere(name, "people", "precedence", field, strconv.Itoa(i))
		}
	}
}

// distinctDirectories also sees names that are left out.
func (r *rules) distinctDirectories() {
	seen := map[string]bool{}
	for i := range r.list("directories") {
		at := []string{"directories", strconv.Itoa(i)}
		name := r.directoryName(at...)
		if seen[name] && name != "" {
			r.refuse("two directories have the name "+name, "a name of its own, for example name: "+name+"-2", append(at, "name")...)
		}
		seen[name] = true
	}
}

func (r *rules) directoryName(at ...string) string {
	return firstOf(r.text(append(slices.Clip(at), "name")...), r.text(append(slices.Clip(at), "kind")...))
}

// directoryIsThere refuses the name of a directory that the file does not have.
func (r *rules) directoryIsThere(name any, at ...string) {
	for i := range r.list("directories") {
		if r.directoryName("directories", strconv.Itoa(i)) == name {
			return
		}
	}
	if _, isText := name.(string); isText {
		r.refuse("there is no such directory", "the name of one of directories", at...)
	}
}

// sections is what a directory of each kind needs, and how a problem is mended.
var sections = map[backup.DirectoryKind]string{
	backup.LDAP:  "url, baseDN and a way to sign in",
	backup.Entra: "entra: {} takes the sign-in of microsoft365",
	backup.SCIM:  "scim: {}",
}

func (r *rules) directory(path ...string) {
	at := func(fields ...string) []string { return append(slices.Clip(path), fields...) }
	kind := backup.DirectoryKind(r.text(at("kind")...))
	if kind == backup.SCIM && r.has("googleworkspace") {
		r.refuse("SCIM is not offered for Google Workspace", "kind: ldap or kind: entra: its people are listed, not pushed", at("kind")...)
	}
	for other := range sections {
		if known := sections[kind]; known != "" && other != kind && r.has(at(string(other))...) {
			r.refuse("this belongs to a directory of the kind "+string(other), "remove it, or kind: "+string(other), at(string(other))...)
		}
	}
	if kind == backup.LDAP && !r.has(at("ldap")...) {
		r.refuse("this field is missing", sections[kind], at("ldap")...)
	}
	if every := r.duration(at("every")...); every != 0 && (every < minEvery || every > maxEvery) {
		r.refuse("imports are 5m apart at least and 744h at most", "24h", at("every")...)
	}
	r.ldap(at("ldap")...)
	r.entra(at("entra")...)
}

func (r *rules) ldap(path ...string) {
	at := func(fields ...string) []string { return append(slices.Clip(path), fields...) }
	if !r.has(path...) {
		return
	}
	startTLS, _ := r.get(at("startTLS")...).(bool)
	for address := range strings.SplitSeq(r.text(at("url")...), ",") {
		if strings.HasPrefix(address, "ldap://") && !startTLS {
			r.refuse("plain LDAP would send the password unencrypted", "ldaps://, or add startTLS: true", at("url")...)
		} else if strings.HasPrefix(address, "ldaps://") && startTLS {
			r.refuse("ldaps is encrypted already and cannot start TLS again", "ldap:// with startTLS, or ldaps:// without", at("startTLS")...)
		}
		r.isAddress(address, at("url")...)
	}
	r.ldapLogin(path...)
	if r.has(at("attributes", "disabledValue")...) && !r.has(at("attributes", "disabled")...) {
		r.refuse("this value belongs to no attribute", "name the attribute in disabled", at("attributes", "disabledValue")...)
	}
}

// ldapLogin wants exactly one way to sign in.
func (r *rules) ldapLogin(path ...string) {
	at := func(field string) []string { return append(slices.Clip(path), field) }
	certificate, kerberos := r.has(at("clientCertificate")...), r.has(at("kerberos")...)
	if certificate && kerberos {
		r.refuse("clientCertificate is given, too", "keep one way to sign in", at("kerberos")...)
	}
	for _, field := range []string{"bindDN", "bindPassword"} {
		switch given := r.has(at(field)...); {
		case given && (certificate || kerberos):
			r.refuse("there is another way to sign in already", "keep one way to sign in", at(field)...)
		case !given && !certificate && !kerberos:
			r.refuse("this field is missing", fix(at(field)), at(field)...)
		}
	}
}

func (r *rules) entra(path ...string) {
	at := func(field string) []string { return append(slices.Clip(path), field) }
	if r.has(at("clientSecret")...) && r.has(at("clientCertificate")...) {
		r.refuse("clientSecret is given, too", "keep one of clientSecret and clientCertificate", at("clientCertificate")...)
	}
	if r.has(at("clientID")...) && !r.has(at("clientSecret")...) && !r.has(at("clientCertificate")...) {
		r.refuse("there is nothing to sign in with", "one of clientSecret and clientCertificate", at("clientSecret")...)
	}
	r.address(at("loginURL")...)
	r.address(at("graphURL")...)
}

func (r *rules) microsoft365() {
	if !r.has("microsoft365") {
		return
	}
	secret, certificate := r.has("microsoft365", "clientSecret"), r.has("microsoft365", "clientCertificate")
	switch {
	case secret && certificate:
		r.refuse("clientSecret is given, too", "keep one of clientSecret and clientCertificate", "microsoft365", "clientCertificate")
	case !secret && !certificate:
		r.refuse("there is nothing to sign in with", "one of clientSecret and clientCertificate", "microsoft365", "clientSecret")
	}
	r.address("microsoft365", "loginURL")
	r.address("microsoft365", "graphURL")
}

func (r *rules) profile() {
	every := r.duration("profile", "every")
	if every != 0 && (every < minEvery || every > maxEvery) {
		r.refuse("backups are 5m apart at least and 744h at most", "24h", "profile", "every")
	}
	if jitter := r.duration("profile", "jitter"); jitter != 0 && jitter >= backup.Duration(every).Or(24*time.Hour) {
		r.refuse("starts cannot be spread further than they are apart", "a time shorter than every", "profile", "jitter")
	}
	r.services("profile")
}

func (r *rules) services(path ...string) {
	seen := map[string]bool{}
	for i := range r.list(append(slices.Clip(path), "services")...) {
		at := append(slices.Clip(path), "services", strconv.Itoa(i))
		s := r.text(at...)
		if seen[s] && s != "" {
			r.refuse("this service is listed twice", "keep one of them", at...)
		}
		seen[s] = true
	}
}

func (r *rules) profiles() {
	r.distinct("profiles", "name", same)
	for i := range r.list("profiles") {
		path := []string{"profiles", strconv.Itoa(i)}
		r.services(path...)
		for j, name := range r.list(append(slices.Clip(path), "when", "directories")...) {
			r.directoryIsThere(name, append(slices.Clip(path), "when", "directories", strconv.Itoa(j))...)
		}
	}
}

// duration reads a field; zero when it is missing or not one.
func (r *rules) duration(path ...string) time.Duration {
	d, err := time.ParseDuration(r.text(path...))
	if err == nil && d == 0 {
		r.refuse("this must be longer than nothing", fix(path), path...)
	}
	return d
}

// address refuses a URL that cannot be dialled.
func (r *rules) address(path ...string) { r.isAddress(r.text(path...), path...) }

func (r *rules) isAddress(text string, path ...string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || !validPort(u.Port()) {
		r.refuse("this is not an address", fix(path), path...)
	}
}

func validPort(p string) bool {
	n, err := strconv.ParseUint(p, 10, 16)
	return p == "" || err == nil && n > 0
}

// distinct refuses a second entry of a list with the same value of a field. list is a dotted path.
func (r *rules) distinct(list, field string, fold func(string) string) {
	path := strings.Split(list, ".")
	seen := map[string]bool{}
	for i := range r.list(path...) {
		at := append(append([]string(nil), path...), strconv.Itoa(i), field)
		v := fold(r.text(at...))
		if v != "" && seen[v] {
			r.refuse("this "+field+" is given twice", "keep one of them", at...)
		}
		seen[v] = true
	}
}

func same(s string) string { return s }

// looksLikeIdentity is what the schema accepts: the right letters in the right number.
func looksLikeIdentity(s string) bool {
	text, ok := strings.CutPrefix(s, "ed25519:")
	key, err := base64.RawURLEncoding.DecodeString(text)
	return ok && err == nil && len(key) == 32
}

// validIdentity recognises "ed25519:" and the unpadded base64url of 32 bytes, in the one form that encoding them gives.
func validIdentity(s string) bool {
	text, ok := strings.CutPrefix(s, "ed25519:")
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return ok && err == nil && len(key) == 32
}
