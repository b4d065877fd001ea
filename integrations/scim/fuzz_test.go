package scim

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// fuzzedDoc is what fuzzed operations change.
const fuzzedDoc = `{"userName":"ada","emails":[{"type":"work","value":"a@b","primary":true},{"type":"home","value":"c@d"}],"name":{"givenName":"Ada"},
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Maths","manager":{"value":"m1"}}}`

// refusedWell fails when an error is not one that the peer can be told.
func refusedWell(t *testing.T, err error) {
	t.Helper()
	if err != nil && refusalOf(err).Status >= http.StatusInternalServerError {
		t.Fatalf("a peer's mistake became %v", err)
	}
}

// FuzzFilter: whatever is asked, it is understood or refused, and what is understood has one meaning in each part.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{`userName eq "a"`, `emails[type eq "work"].value eq "a@b"`, `emails[type eq "work" and not (value sw "x")]`, `not (active eq "True") or id pr`,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "1"`, `meta.lastModified ge "2020-01-01T00:00:00Z"`, `members[value eq "x"]`, `userName sw O`, `((((`, `a[b[c]]`, `emails[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []*resourceType{userType, groupType} {
			resolved, err := kind.resolveFilter(text)
			refusedWell(t, err)
			if err == nil {
				soundFilter(t, resolved, 0)
			}
		}
	})
}

func soundFilter(t *testing.T, f backup.SCIMFilter, depth int) {
	parts := 0
	for _, set := range []bool{len(f.And) > 0, len(f.Or) > 0, f.Not != nil, f.Path != ""} {
		if set {
			parts++
		}
	}
	if parts > 1 || depth > 2*maxFilter || f.Path != strings.ToLower(f.Path) {
		t.Fatalf("%+v", f)
	}
	for _, part := range append(f.And, f.Or...) {
		soundFilter(t, part, depth+1)
	}
	if f.Not != nil {
		soundFilter(t, *f.Not, depth+1)
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{`emails[type eq "work"].value`, `members[value eq "x"]`, `name.givenName`, `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User`,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value`, `addresses[type eq "work"].`, `[`, `a.b.c`, `roles[primary eq "True"].value`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []*resourceType{userType, groupType} {
			_, err := kind.parsePath(text)
			refusedWell(t, err)
		}
	})
}

// FuzzBody: whatever is posted, what is kept of it is read again as the same.
func FuzzBody(f *testing.F) {
	for _, s := range []string{fuzzedDoc, `{"USERNAME":"x","active":"True","roles":["{\"value\":\"a\"}"],"addresses":[{"type":"work","locality":null}]}`, `{"displayName":"g","members":[{"value":"a","$ref":null}]}`, `{"a":{"b":[[[]]]}}`, "\xef\xbb\xbf{}", `{} x`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []*resourceType{userType, groupType} {
			sent, err := parseObject(body)
			if err == nil {
				var doc document
				if doc, err = kind.plain(sent); err == nil {
					if err = kind.check(doc); err == nil {
						keptDoc(t, kind, doc)
					}
				}
			}
			refusedWell(t, err)
		}
	})
}

// keptDoc looks that a document comes back from the store as it went there.
func keptDoc(t *testing.T, kind *resourceType, doc document) {
	kept := encode(doc)
	again, err := decode(kept)
	if err != nil {
		t.Fatalf("%s is kept and not read: %v", kept, err)
	}
	if twice := encode(again); string(twice) != string(kept) {
		t.Fatalf("%s became %s", kept, twice)
	}
	for _, v := range kind.index(again) {
		if v.Path == "" || v.Path != strings.ToLower(v.Path) {
			t.Fatalf("%+v", v)
		}
	}
}

// FuzzPatch: whatever is asked for, the user is a user afterwards, or stays as it was.
func FuzzPatch(f *testing.F) {
	for _, s := range []string{`{"op":"Replace","path":"emails[type eq \"work\"].value","value":"x"}`, `{"op":"remove","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager[value eq \"m1\"]"}`,
		`{"op":"add","value":{"name.givenName":"x","active":"False","emails":null}}`, `{"op":"Add","path":"roles[primary eq \"True\"].value","value":"a"},{"op":"remove","path":"roles"}`,
		`{"op":"replace","path":"userName","value":""}`, `{"op":"add","path":"emails","value":[{"value":"q","primary":true}]}`, `{"op":"add","path":"members","value":[{"value":"x"}]}`, `{"op":"remove","path":"members"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		body, err := parseObject([]byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + list + `]}`))
		var ops []operation
		if err == nil {
			ops, err = parsePatch(body)
		}
		if err != nil {
			refusedWell(t, err)
			return
		}
		u, err := patchedUser(backup.SCIMUser{ID: "u", UserName: "ada", Active: true, Doc: json.RawMessage(fuzzedDoc)}, ops)
		refusedWell(t, err)
		if err == nil {
			doc, err := decode(u.Doc)
			if err != nil || u.UserName == "" || u.ID != "u" {
				t.Fatalf("%+v, %v", u, err)
			}
			keptDoc(t, userType, doc)
		}
		g, _, err := patchedGroup(backup.SCIMGroup{ID: "g", DisplayName: "Staff", Doc: json.RawMessage(`{"displayName":"Staff"}`)}, ops)
		refusedWell(t, err)
		if err == nil && g.DisplayName == "" {
			t.Fatalf("%+v", g)
		}
	})
}
