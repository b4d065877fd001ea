package tenantfile

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// TestSchemaAndStructAgree: every field of the struct is in the published schema and the other way round, with the same kind of value.
func TestSchemaAndStructAgree(t *testing.T) {
	compare(t, reflect.TypeFor[backup.Tenant](), document, "")
}

func compare(t *testing.T, typ reflect.Type, s map[string]any, at string) {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if ref, ok := s["$ref"].(string); ok {
		s = child(child(document, "$defs"), strings.TrimPrefix(ref, "#/$defs/"))
	}
	switch {
	case typ == reflect.TypeFor[backup.Duration]():
		expect(t, at, s, "string")
	case typ.Kind() == reflect.Struct:
		expect(t, at, s, "object")
		compareFields(t, typ, s, at)
	case typ.Kind() == reflect.Map:
		expect(t, at, s, "object")
		values := child(s, "properties") // a map with a closed set of keys has properties
		if len(values) == 0 {
			values = map[string]any{"": s["additionalProperties"]}
		}
		for key := range values {
			compare(t, typ.Elem(), child(values, key), at+"{"+key+"}")
		}
	case typ.Kind() == reflect.Slice:
		expect(t, at, s, "array")
		compare(t, typ.Elem(), child(s, "items"), at+"[]")
	case typ.Kind() == reflect.String:
		if s["enum"] == nil {
			expect(t, at, s, "string")
		}
	case typ.Kind() == reflect.Bool:
		expect(t, at, s, "boolean")
	default:
		expect(t, at, s, "integer")
	}
}

func expect(t *testing.T, at string, s map[string]any, want string) {
	t.Helper()
	if s["type"] != want {
		t.Errorf("%s: the schema says %v, the struct %s", at, s["type"], want)
	}
}

func compareFields(t *testing.T, typ reflect.Type, s map[string]any, at string) {
	properties := child(s, "properties")
	if s["additionalProperties"] != false {
		t.Errorf("%s: the schema lets unknown fields pass", at)
	}
	known := map[string]bool{}
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		known[name] = true
		field := child(properties, name)
		if len(field) == 0 {
			t.Errorf("%s.%s is not in the schema", at, name)
			continue
		}
		if field["description"] == nil {
			t.Errorf("%s.%s has no description, so a problem with it has no fix", at, name)
		}
		compare(t, f.Type, field, at+"."+name)
	}
	for name := range properties {
		if !known[name] {
			t.Errorf("%s.%s is in the schema and not in the struct", at, name)
		}
	}
}

func TestEnumsAgree(t *testing.T) {
	for path, want := range map[string][]any{
		"administrators.0.role": {string(backup.CloudAdmin), string(backup.SaaSAdmin), string(backup.Approver), string(backup.Viewer)},
		"key.method":            {string(backup.KeyByConnector), string(backup.KeyByKMS)},
		"key.connectorAbsent":   {string(backup.FailWhenAbsent), string(backup.WaitWhenAbsent)},
		"key.kms.login.method":  {string(backup.LoginByAppRole), string(backup.LoginByToken), string(backup.LoginByKubernetes)},
		"directories.0.kind":    {string(backup.LDAP), string(backup.SCIM), string(backup.Entra)},
		"profile.services.0":    {string(backup.Mail), string(backup.Drive)},
	} {
		if got, _ := schemaAt(strings.Split(path, "."))["enum"].([]any); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
