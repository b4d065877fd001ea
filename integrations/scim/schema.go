package scim

import (
	"slices"
	"strings"

	"github.com/elimity-com/scim/schema"
)

const (
	enterpriseURN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	patchURN      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	listURN       = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	searchURN     = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
)

// resourceType is a kind of resource: its schemas, which are the library's, and how they are looked up.
type resourceType struct {
	name, endpoint string
	core           schema.Schema
	extensions     []schema.Schema
	// all are the attributes of the core schema and the common ones.
	all schema.Attributes
}

var (
	userType  = newResourceType("User", "/Users", schema.CoreUserSchema(), schema.ExtensionEnterpriseUser())
	groupType = newResourceType("Group", "/Groups", groupSchema())
)

// groupSchema requires a name, as RFC 7643 section 4.2 does.
func groupSchema() schema.Schema {
	s := schema.CoreGroupSchema()
	s.Attributes = slices.Clone(s.Attributes)
	for i, a := range s.Attributes {
		if a.Name() == "displayName" {
			s.Attributes[i] = a.WithRequired(true)
		}
	}
	return s
}

func newResourceType(name, endpoint string, core schema.Schema, extensions ...schema.Schema) *resourceType {
	return &resourceType{name, endpoint, core, extensions, append(slices.Clone(core.Attributes), schema.CommonAttributes()...)}
}

// stated is the core schema together with externalId: what a peer may write.
func (t *resourceType) stated() schema.Schema {
	s := t.core
	s.Attributes = slices.Clone(s.Attributes)
	if a, ok := t.all.ContainsAttribute("externalId"); ok {
		s.Attributes = append(s.Attributes, a)
	}
	return s
}

// attribute is an attribute, or a part of one, that a name stands for.
type attribute struct {
	schema.CoreAttribute
	extension string // URN; empty: of the core schema, or common
	sub       *schema.CoreAttribute
}

// text is the attribute's name in errors, and folded in the index.
func (a attribute) text() string {
	name := a.Name()
	if a.extension != "" {
		name = a.extension + ":" + name
	}
	if a.sub != nil {
		name += "." + a.sub.Name()
	}
	return name
}

// leaf is what is compared or written: the sub-attribute where there is one.
func (a attribute) leaf() schema.CoreAttribute {
	if a.sub != nil {
		return *a.sub
	}
	return a.CoreAttribute
}

func (a attribute) complex() bool { return a.sub == nil && a.HasSubAttributes() }

// splitURN separates the URN of one of the type's schemas from what follows it. known is false when the name has a URN of no schema of ours.
func (t *resourceType) splitURN(name string) (extension, rest string, known bool) {
	if !strings.Contains(name, ":") {
		return "", name, true
	}
	for _, s := range append([]schema.Schema{t.core}, t.extensions...) {
		if len(name) < len(s.ID) || !strings.EqualFold(name[:len(s.ID)], s.ID) {
			continue
		}
		rest, ok := strings.CutPrefix(name[len(s.ID):], ":")
		if !ok && rest != "" {
			continue
		}
		if s.ID == t.core.ID {
			return "", rest, true
		}
		return s.ID, rest, true
	}
	return "", "", false
}

func (t *resourceType) attributesOf(extension string) schema.Attributes {
	for _, s := range t.extensions {
		if s.ID == extension {
			return s.Attributes
		}
	}
	return t.all
}

// find resolves a name and, when sub is not empty, a sub-attribute of it.
func (t *resourceType) find(extension, name, sub string) (attribute, bool) {
	core, ok := t.attributesOf(extension).ContainsAttribute(name)
	if !ok {
		return attribute{}, false
	}
	a := attribute{CoreAttribute: core, extension: extension}
	if sub == "" {
		return a, true
	}
	part, ok := core.SubAttributes().ContainsAttribute(sub)
	a.sub = &part
	return a, ok
}

// readOnly tells whether a peer's word on the attribute is ignored.
func readOnly(a schema.CoreAttribute) bool { return a.Mutability() == "readOnly" }
