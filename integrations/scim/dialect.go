package scim

import (
	"encoding/json"
	"strings"

	"github.com/elimity-com/scim/schema"
)

// Limits of what is kept of one resource.
const (
	maxText     = 64 << 10 // bytes of one value; photos and certificates are the long ones
	maxElements = 1000     // of one multi-valued attribute, members aside
)

// document is a resource as it is kept: the names are the schemas' own, every value has its attribute's type, extensions stand
// below their URNs.
type document map[string]any

// plain makes the document of what a peer sent, whatever its dialect: names in any case, full URNs and dotted names as keys, booleans and
// numbers as strings, one value where a list is expected, a list or a bare id where one complex value is. Null, empty lists and
// empty objects are unassigned; readOnly and unknown attributes, and the password, are left out.
func (t *resourceType) plain(in map[string]any) (document, error) {
	doc := document{}
	for key, value := range in {
		extension, rest, known := t.splitURN(key)
		if !known {
			continue
		}
		if rest == "" {
			if err := t.plainObject(doc, extension, value); err != nil {
				return nil, err
			}
			continue
		}
		if err := t.plainKey(doc, extension, rest, value); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// plainObject takes in the object below a schema's URN.
func (t *resourceType) plainObject(doc document, extension string, value any) error {
	object, ok := value.(map[string]any)
	if !ok && value != nil {
		return badValue("%s must be an object.", extension)
	}
	for name, v := range object {
		if err := t.plainKey(doc, extension, name, v); err != nil {
			return err
		}
	}
	return nil
}

func (t *resourceType) plainKey(doc document, extension, name string, value any) error {
	name, sub, _ := strings.Cut(name, ".")
	a, ok := t.find(extension, name, sub)
	if !ok || !writable(a) {
		return nil
	}
	v, err := plainValue(a.CoreAttribute, a.sub, value)
	if err != nil || v == nil {
		return err
	}
	in := doc.container(extension, true)
	old, there := in[a.Name()]
	switch {
	case !there:
		in[a.Name()] = v
	case sub != "" || isObject(old) && isObject(v):
		merge(old, v)
	default:
		return badSyntax("%s is there more than once.", a.text())
	}
	return nil
}

// writable tells whether the peer's word on it is kept.
func writable(a attribute) bool {
	return !readOnly(a.CoreAttribute) && (a.sub == nil || !readOnly(*a.sub)) && a.Name() != "schemas" && a.Returned() != "never"
}

// plainValue makes a value of an attribute; of a dotted name it is the whole attribute with that part only.
func plainValue(a schema.CoreAttribute, sub *schema.CoreAttribute, value any) (any, error) {
	if sub == nil {
		return plainAttribute(a, value)
	}
	part, err := plainAttribute(*sub, value)
	if err != nil || part == nil {
		return nil, err
	}
	object := map[string]any{sub.Name(): part}
	if a.MultiValued() {
		return []any{object}, nil
	}
	return object, nil
}

// plainAttribute returns nil for what is unassigned.
func plainAttribute(a schema.CoreAttribute, value any) (any, error) {
	if !a.MultiValued() {
		if list, ok := value.([]any); ok {
			if len(list) > 1 {
				return nil, badValue("%s takes one value, not %d.", a.Name(), len(list))
			}
			value = nil
			if len(list) == 1 {
				value = list[0]
			}
		}
		return plainSingle(a, value)
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
		if parsed, isText := textOfJSON(value); isText {
			list = parsed
		}
	}
	if len(list) > maxElements && a.Name() != "members" {
		return nil, badValue("%s has %d values; at most %d are kept.", a.Name(), len(list), maxElements)
	}
	var out []any
	for _, element := range list {
		v, err := plainSingle(a, element)
		if err != nil {
			return nil, err
		}
		if v != nil {
			out = append(out, v)
		}
	}
	if out == nil {
		return nil, nil
	}
	onePrimary(out)
	return out, nil
}

// textOfJSON unwraps what Entra sends for a single role: an object, or a list, as a JSON text.
func textOfJSON(value any) ([]any, bool) {
	s, ok := value.(string)
	if !ok || len(s) == 0 || (s[0] != '{' && s[0] != '[') || tooDeep([]byte(s)) {
		return nil, false
	}
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return nil, false
	}
	if list, ok := v.([]any); ok {
		return list, true
	}
	return []any{v}, true
}

func plainSingle(a schema.CoreAttribute, value any) (any, error) {
	if value == nil {
		return nil, nil
	}
	if a.HasSubAttributes() {
		return plainComplex(a, value)
	}
	switch a.AttributeType() {
	case "boolean":
		return plainBool(a, value)
	case "dateTime", "binary", "string", "reference":
		return plainText(a, value)
	}
	return value, nil
}

func plainComplex(a schema.CoreAttribute, value any) (any, error) {
	object, ok := value.(map[string]any)
	if !ok {
		if _, has := a.SubAttributes().ContainsAttribute("value"); !has {
			return nil, badValue("%s must be an object with the parts that its schema names.", a.Name())
		}
		object = map[string]any{"value": value}
	}
	out := map[string]any{}
	for name, v := range object {
		sub, ok := a.SubAttributes().ContainsAttribute(name)
		if !ok || readOnly(sub) {
			continue
		}
		part, err := plainAttribute(sub, v)
		if err != nil {
			return nil, err
		}
		if part == nil {
			continue
		}
		if _, twice := out[sub.Name()]; twice {
			return nil, badSyntax("%s.%s is there more than once.", a.Name(), sub.Name())
		}
		out[sub.Name()] = part
	}
	if bare(out) {
		return nil, nil
	}
	return out, nil
}

// bare tells whether an element says nothing but what it would be: it is unassigned.
func bare(element map[string]any) bool {
	for name, v := range element {
		if name != "type" && name != "primary" && v != "" {
			return false
		}
	}
	return true
}

func plainBool(a schema.CoreAttribute, value any) (any, error) {
	switch v := value.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		case "":
			return nil, nil
		}
	}
	return nil, badValue("%s must be true or false.", a.Name())
}

func plainText(a schema.CoreAttribute, value any) (any, error) {
	var s string
	switch v := value.(type) {
	case string:
		s = v
	case json.Number:
		s = v.String()
	case bool:
		s = map[bool]string{true: "true", false: "false"}[v]
	case map[string]any:
		// A reference as Entra writes a manager where a plain value is meant: {"value": …}.
		inner, ok := v["value"].(string)
		if !ok {
			return nil, badValue("%s must be a string.", a.Name())
		}
		s = inner
	default:
		return nil, badValue("%s must be a string.", a.Name())
	}
	if len(s) > maxText {
		return nil, badValue("%s is longer than %d bytes.", a.Name(), maxText)
	}
	if strings.ContainsRune(s, 0) {
		return nil, badValue("%s holds a NUL character.", a.Name())
	}
	return s, nil
}

// container is where the attributes of a schema stand; nil when there is none and none is to be made.
func (d document) container(extension string, create bool) map[string]any {
	if extension == "" {
		return d
	}
	in, _ := d[extension].(map[string]any)
	if in == nil && create {
		in = map[string]any{}
		d[extension] = in
	}
	return in
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// merge lays the parts of one value over another of the same attribute.
func merge(old, v any) {
	switch old := old.(type) {
	case map[string]any:
		from, _ := v.(map[string]any)
		for name, part := range from {
			old[name] = part
		}
	case []any:
		from, _ := v.([]any)
		if len(from) > 0 && len(old) > 0 {
			merge(old[0], from[0])
		}
	}
}

// onePrimary leaves the last element that says it is the primary one as the only one (RFC 7643 section 2.4).
func onePrimary(list []any) {
	seen := false
	for i := len(list) - 1; i >= 0; i-- {
		element, _ := list[i].(map[string]any)
		if element["primary"] != true {
			continue
		}
		if seen {
			element["primary"] = false
		}
		seen = true
	}
}

// check lets the library validate a finished document, and looks after what it does not: names that are empty.
func (t *resourceType) check(doc document) error {
	whole := map[string]any{"schemas": []any{t.core.ID}}
	for name, v := range doc {
		whole[name] = v
	}
	identifying := map[*resourceType]string{userType: "userName", groupType: "displayName"}[t]
	if s, _ := doc[identifying].(string); strings.TrimSpace(s) == "" {
		return badValue("A %s needs a %s that is not empty. Map it in the identity provider.", t.name, identifying)
	}
	if _, err := t.stated().Validate(whole); err != nil {
		return &refusal{ScimError: *err}
	}
	for _, s := range t.extensions {
		if v, ok := doc[s.ID]; ok {
			if _, err := s.ValidateExtension(v); err != nil {
				return &refusal{ScimError: *err}
			}
		}
	}
	return nil
}
