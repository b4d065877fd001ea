package scim

import (
	"strings"

	filter "github.com/scim2/filter-parser/v2"
)

// target is what a path of a PATCH operation stands for.
type target struct {
	attribute
	// whole: not an attribute but all of a schema; extension says which.
	whole bool
	// where selects elements; nil: all.
	where filter.Expression
}

// parsePath resolves a path (RFC 7644 section 3.5.2).
func (t *resourceType) parsePath(text string) (target, error) {
	if len(text) > maxFilter {
		return target{}, badPath("The path is longer than %d bytes.", maxFilter)
	}
	extension, rest, known := t.splitURN(strings.TrimSpace(text))
	if !known {
		return target{}, badPath("%q is of no schema that is known here. See /Schemas, and take the attribute out of the mapping.", excerpt(text))
	}
	if rest == "" {
		return target{attribute: attribute{extension: extension}, whole: true}, nil
	}
	name, where, sub, err := splitPath(rest)
	if err != nil {
		return target{}, badPath("The path %q is not understood: %s", excerpt(text), refusalOf(err).Detail)
	}
	p, err := filter.ParsePath([]byte(name + sub))
	if err != nil || p.AttributePath.URIPrefix != nil {
		return target{}, badPath("The path %q is not understood: it must be like name.givenName or emails[type eq \"work\"].value.", excerpt(text))
	}
	a, ok := t.find(extension, p.AttributePath.AttributeName, p.AttributePath.SubAttributeName())
	if !ok {
		return target{}, badPath("A %s has no attribute %q. See /Schemas, and take it out of the mapping.", t.name, excerpt(text))
	}
	if where != nil && !(attribute{CoreAttribute: a.CoreAttribute}).complex() {
		return target{}, badPath("%s has no parts that brackets could ask for.", a.text())
	}
	return target{attribute: a, where: where}, nil
}

// splitPath separates attribute[where].sub; sub keeps its dot.
func splitPath(text string) (name string, where filter.Expression, sub string, err error) {
	name, rest, bracketed := strings.Cut(text, "[")
	if !bracketed {
		return name, nil, "", nil
	}
	r := &rewriter{rest: "[" + rest}
	g, err := r.brackets(name)
	if err != nil {
		return "", nil, "", err
	}
	if r.rest != "" && (!strings.HasPrefix(r.rest, ".") || strings.Contains(name, ".")) {
		return "", nil, "", badPath("%q does not belong behind the brackets.", excerpt(r.rest))
	}
	return name, g.inner, r.rest, nil
}
