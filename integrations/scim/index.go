package scim

import (
	"strings"
	"time"

	"github.com/elimity-com/scim/schema"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxIndexed is how long a value may be, in bytes, to be found by a filter; longer ones (photos, certificates) are kept, and not found.
const maxIndexed = 1024

// primaryValue is the path of the value of the primary element, so that a filter on both is about one element.
func primaryValue(attribute string) string { return strings.ToLower(attribute) + "[primary].value" }

// index lists what filters may ask of a document, but for what the store knows itself (see Filters in store.go).
func (t *resourceType) index(doc document) []backup.SCIMValue {
	var out []backup.SCIMValue
	t.each(doc, func(a attribute, v any) { out = indexValue(out, t, a, v) })
	return out
}

// each visits the attributes of a document in the order of the schemas.
func (t *resourceType) each(doc document, visit func(attribute, any)) {
	for _, extension := range append([]schema.Schema{{}}, t.extensions...) {
		in := doc.container(extension.ID, false)
		for _, a := range t.attributesOf(extension.ID) {
			if v, ok := in[a.Name()]; ok {
				visit(attribute{CoreAttribute: a, extension: extension.ID}, v)
			}
		}
	}
}

func indexValue(out []backup.SCIMValue, t *resourceType, a attribute, v any) []backup.SCIMValue {
	if stored(t, a) {
		return out
	}
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			out = indexValue(out, t, a, element)
		}
	case map[string]any:
		kind, _ := v["type"].(string)
		for _, sub := range a.SubAttributes() {
			if part, ok := v[sub.Name()]; ok {
				out = appendIndexed(out, strings.ToLower(a.text()+"."+sub.Name()), kind, sub, part)
			}
		}
		if value, ok := v["value"]; ok && v["primary"] == true {
			sub, _ := a.SubAttributes().ContainsAttribute("value")
			out = appendIndexed(out, primaryValue(a.text()), kind, sub, value)
		}
	default:
		out = appendIndexed(out, strings.ToLower(a.text()), "", a.CoreAttribute, v)
	}
	return out
}

func appendIndexed(out []backup.SCIMValue, path, kind string, a schema.CoreAttribute, v any) []backup.SCIMValue {
	text, err := compared(a, v)
	if err != nil || text == "" || len(text) > maxIndexed {
		return out
	}
	return append(out, backup.SCIMValue{Path: path, Type: strings.ToLower(kind), Text: text})
}

// stored tells whether the store has the attribute in a column of its own.
func stored(t *resourceType, a attribute) bool {
	switch a.Name() {
	case "externalId", "members", "groups", "userName", "active":
		return a.extension == ""
	case "displayName":
		return a.extension == "" && t == groupType
	}
	return false
}

// compared is a value as filters compare it (backup.SCIMValue.Text).
func compared(a schema.CoreAttribute, v any) (string, error) {
	if b, ok := v.(bool); ok {
		v = map[bool]string{true: "true", false: "false"}[b]
	}
	s, ok := v.(string)
	if !ok {
		return "", badFilter("%s cannot be compared with this value.", a.Name())
	}
	switch a.AttributeType() {
	case "boolean":
		if s = strings.ToLower(s); s != "true" && s != "false" {
			return "", badFilter("%s is compared with true or false.", a.Name())
		}
		return s, nil
	case "dateTime":
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return "", badFilter("%s is compared with a time like 2026-01-31T12:00:00Z.", a.Name())
		}
		return at.UTC().Format(TimeText), nil
	}
	if a.CaseExact() {
		return s, nil
	}
	return strings.ToLower(s), nil
}
