package scim

import (
	"slices"
	"strings"
)

// maxProjected is how many names attributes and excludedAttributes may have together.
const maxProjected = 200

// projection is what of a resource an answer shall hold (RFC 7644 section 3.9).
type projection struct {
	only, without []projected
	asked         bool // the peer said something
}

// projected is a name of a projection; attribute and sub are the schemas' own words, empty when the name stands for the whole above it.
type projected struct{ extension, attribute, sub string }

// project resolves names. Those that no schema knows mean nothing.
func (t *resourceType) project(attributes, excluded []string) (projection, error) {
	if len(attributes)+len(excluded) > maxProjected {
		return projection{}, badValue("attributes and excludedAttributes have more than %d names.", maxProjected)
	}
	p := projection{asked: len(attributes)+len(excluded) > 0}
	for _, name := range attributes {
		p.only = append(p.only, t.projected(name))
	}
	for _, name := range excluded {
		p.without = append(p.without, t.projected(name))
	}
	return p, nil
}

// names splits the lists of a query.
func names(lists []string) []string {
	var out []string
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}

func (t *resourceType) projected(name string) projected {
	extension, rest, known := t.splitURN(name)
	if known && rest == "" && extension != "" {
		return projected{extension: extension}
	}
	first, sub, _ := strings.Cut(rest, ".")
	a, ok := t.find(extension, first, sub)
	if !known || !ok {
		return projected{attribute: "\x00"} // nothing has this name
	}
	p := projected{extension, a.Name(), ""}
	if a.sub != nil {
		p.sub = a.sub.Name()
	}
	return p
}

// wants tells whether an attribute of the core schema, or a part of it, is in the answer.
func (p projection) wants(name string) bool {
	if len(p.only) > 0 && !slices.ContainsFunc(p.only, func(x projected) bool { return x.extension == "" && x.attribute == name }) {
		return false
	}
	return !slices.Contains(p.without, projected{attribute: name})
}

// cut takes out of a resource what is not wanted. id and schemas always stay.
func (p projection) cut(resource map[string]any) map[string]any {
	out := resource
	if len(p.only) > 0 {
		out = map[string]any{}
		for _, x := range p.only {
			x.copy(resource, out)
		}
		out["id"], out["schemas"] = resource["id"], resource["schemas"]
	}
	for _, x := range p.without {
		if x.extension != "" || x.attribute != "id" && x.attribute != "schemas" {
			x.remove(out)
		}
	}
	return out
}

func (x projected) copy(from, to map[string]any) {
	if x.extension != "" {
		source, _ := from[x.extension].(map[string]any)
		if source == nil {
			return
		}
		if x.attribute == "" {
			to[x.extension] = source
			return
		}
		target, _ := to[x.extension].(map[string]any)
		if target == nil {
			target = map[string]any{}
		}
		x.copyAttribute(source, target)
		if len(target) > 0 {
			to[x.extension] = target
		}
		return
	}
	x.copyAttribute(from, to)
}

func (x projected) copyAttribute(from, to map[string]any) {
	v, ok := from[x.attribute]
	if !ok {
		return
	}
	if x.sub == "" {
		to[x.attribute] = v
		return
	}
	to[x.attribute] = copyPart(v, to[x.attribute], x.sub)
}

// copyPart adds one part of a value to those that were copied before.
func copyPart(from, to any, sub string) any {
	switch from := from.(type) {
	case []any:
		list, _ := to.([]any)
		if list == nil {
			list = make([]any, len(from))
		}
		for i := range from {
			list[i] = copyPart(from[i], list[i], sub)
		}
		return list
	case map[string]any:
		object, _ := to.(map[string]any)
		if object == nil {
			object = map[string]any{}
		}
		if v, ok := from[sub]; ok {
			object[sub] = v
		}
		return object
	}
	return from
}

func (x projected) remove(in map[string]any) {
	if x.extension != "" {
		if x.attribute == "" {
			delete(in, x.extension)
			return
		}
		in, _ = in[x.extension].(map[string]any)
	}
	if x.sub == "" {
		delete(in, x.attribute)
		return
	}
	removePart(in[x.attribute], x.sub)
}

func removePart(v any, sub string) {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			removePart(element, sub)
		}
	case map[string]any:
		delete(v, sub)
	}
}

// cutMember cuts one member of a group, which is written without its group's document.
func (p projection) cutMember(member map[string]any) any {
	resource := map[string]any{"members": []any{member}}
	if list, ok := p.cut(resource)["members"].([]any); ok {
		return list[0]
	}
	return member
}
