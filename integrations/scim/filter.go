package scim

import (
	"encoding/json"
	"strings"

	"github.com/elimity-com/scim/schema"
	filter "github.com/scim2/filter-parser/v2"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// resolveFilter turns the text of a filter into what a store understands. An attribute that the schemas do not know is an error, because an
// empty answer would let an identity provider create everybody a second time.
func (t *resourceType) resolveFilter(text string) (backup.SCIMFilter, error) {
	if strings.TrimSpace(text) == "" {
		return backup.SCIMFilter{}, nil
	}
	e, err := parseFilter(text)
	if err != nil {
		return backup.SCIMFilter{}, err
	}
	return resolver{t, e}.resolve(e.Expression)
}

type resolver struct {
	*resourceType
	whole expression
}

// Everything and nothing.
func always() backup.SCIMFilter { return backup.SCIMFilter{} }
func never() backup.SCIMFilter  { return negate(always()) }

func negate(f backup.SCIMFilter) backup.SCIMFilter { return backup.SCIMFilter{Not: &f} }

func constant(b bool) backup.SCIMFilter {
	if b {
		return always()
	}
	return never()
}

func (r resolver) resolve(e filter.Expression) (backup.SCIMFilter, error) {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		return both(e, r.resolve)
	case *filter.NotExpression:
		f, err := r.resolve(e.Expression)
		return negate(f), err
	case *filter.AttributeExpression:
		if g, ok := r.whole.groupOf(e); ok {
			return r.resolveGroup(g)
		}
		a, err := r.attributeOf(e.AttributePath)
		if err != nil {
			return backup.SCIMFilter{}, err
		}
		return r.compare(a, e)
	}
	return backup.SCIMFilter{}, badFilter("The filter has a form that is not supported.")
}

func both(e *filter.LogicalExpression, resolve func(filter.Expression) (backup.SCIMFilter, error)) (backup.SCIMFilter, error) {
	left, err := resolve(e.Left)
	if err != nil {
		return left, err
	}
	right, err := resolve(e.Right)
	if e.Operator == filter.OR {
		return backup.SCIMFilter{Or: []backup.SCIMFilter{left, right}}, err
	}
	return backup.SCIMFilter{And: []backup.SCIMFilter{left, right}}, err
}

// attributeOf resolves a path. The library splits the URN at its last colon, so the two are joined before the schema's is taken off.
func (t *resourceType) attributeOf(p filter.AttributePath) (attribute, error) {
	name := p.AttributeName
	if p.URIPrefix != nil {
		name = p.URI() + ":" + name
	}
	extension, rest, known := t.splitURN(name)
	if known && rest != "" {
		if a, ok := t.find(extension, rest, p.SubAttributeName()); ok {
			return a, nil
		}
	}
	// Entra asks for the manager by its bare name.
	for _, s := range t.extensions {
		if a, ok := t.find(s.ID, p.AttributeName, p.SubAttributeName()); ok && p.URIPrefix == nil {
			return a, nil
		}
	}
	return attribute{}, badFilter("A %s has no attribute %q. Use the names of /Schemas.", t.name, excerpt(p.String()))
}

// compare resolves a comparison outside of brackets. A complex attribute is compared by its value; ne fits also what has no value.
func (r resolver) compare(a attribute, e *filter.AttributeExpression) (backup.SCIMFilter, error) {
	if a.Returned() == "never" {
		return backup.SCIMFilter{}, badFilter("%s cannot be asked for.", a.text())
	}
	if f, ok, err := r.compareCommon(a, e); ok || err != nil {
		return f, err
	}
	if a.complex() {
		value, ok := a.SubAttributes().ContainsAttribute("value")
		if !ok {
			return presence(a, e)
		}
		a.sub = &value
	}
	if err := storable(r.resourceType, a); err != nil {
		return backup.SCIMFilter{}, err
	}
	c, err := comparison(a, e)
	if err == nil && c.Op == backup.SCIMNotEqual {
		c.Op = backup.SCIMEqual
		return negate(c), nil
	}
	return c, err
}

// presence is pr of a complex attribute without a value of its own: one of its parts is there.
func presence(a attribute, e *filter.AttributeExpression) (backup.SCIMFilter, error) {
	if e.Operator != filter.PR {
		return backup.SCIMFilter{}, badFilter("%s is compared by its parts, for example %s.%s.", a.text(), a.Name(), a.SubAttributes()[0].Name())
	}
	var any backup.SCIMFilter
	for _, sub := range a.SubAttributes() {
		any.Or = append(any.Or, backup.SCIMFilter{Path: strings.ToLower(a.text() + "." + sub.Name()), Op: backup.SCIMPresent})
	}
	return any, nil
}

// compareCommon answers for attributes that are the same for all resources, or that all have.
func (r resolver) compareCommon(a attribute, e *filter.AttributeExpression) (backup.SCIMFilter, bool, error) {
	if a.extension != "" {
		return backup.SCIMFilter{}, false, nil
	}
	path := strings.ToLower(a.text())
	present := e.Operator == filter.PR
	switch path {
	case "id", "username", "active", "meta.created", "meta.lastmodified", "meta", "meta.location":
		if present {
			return always(), true, nil
		}
	case "meta.resourcetype", "schemas":
		return r.compareKind(path, e)
	}
	if path == "meta" || path == "meta.location" || path == "meta.version" {
		return backup.SCIMFilter{}, false, badFilter("%s cannot be asked for; ask for id, or for meta.lastModified.", a.text())
	}
	return backup.SCIMFilter{}, false, nil
}

func (r resolver) compareKind(path string, e *filter.AttributeExpression) (backup.SCIMFilter, bool, error) {
	is := r.name
	if path == "schemas" {
		is = r.core.ID
	}
	text, err := valueText(e)
	switch {
	case err != nil:
		return backup.SCIMFilter{}, false, err
	case e.Operator == filter.PR:
		return always(), true, nil
	case e.Operator == filter.EQ:
		return constant(strings.EqualFold(text, is)), true, nil
	case e.Operator == filter.NE:
		return constant(!strings.EqualFold(text, is)), true, nil
	}
	return backup.SCIMFilter{}, false, badFilter("%s is compared by eq or ne.", path)
}

// storable refuses what stands neither in the index nor in the store's columns.
func storable(t *resourceType, a attribute) error {
	if (a.Name() == "members" || a.Name() == "groups") && a.extension == "" && a.leaf().Name() != "value" {
		return badFilter("%s cannot be asked for; ask for %s.value.", a.text(), a.Name())
	}
	return nil
}

// comparison is the comparison of one attribute that is not complex.
func comparison(a attribute, e *filter.AttributeExpression) (backup.SCIMFilter, error) {
	f := backup.SCIMFilter{Path: strings.ToLower(a.text()), Op: backup.SCIMOperator(e.Operator)}
	if e.Operator == filter.PR {
		return f, nil
	}
	if e.CompareValue == nil {
		return compareNull(f, a)
	}
	leaf := a.leaf()
	if leaf.AttributeType() == "boolean" && e.Operator != filter.EQ && e.Operator != filter.NE {
		return f, badFilter("%s is compared by eq, ne or pr.", a.text())
	}
	text, err := valueText(e)
	if err != nil {
		return f, err
	}
	f.Text, err = compared(leaf, text)
	return f, err
}

// compareNull: null is what has no value.
func compareNull(f backup.SCIMFilter, a attribute) (backup.SCIMFilter, error) {
	op := f.Op
	f.Op = backup.SCIMPresent
	switch op {
	case backup.SCIMEqual:
		return negate(f), nil
	case backup.SCIMNotEqual:
		return f, nil
	}
	return f, badFilter("%s is compared with null by eq or ne only.", a.text())
}

// valueText is a compared value as text.
func valueText(e *filter.AttributeExpression) (string, error) {
	switch v := e.CompareValue.(type) {
	case string:
		return unquote(v)
	case json.Number:
		return v.String(), nil
	case bool:
		return map[bool]string{true: "true", false: "false"}[v], nil
	}
	return "", nil
}

// resolveGroup resolves attribute[inner].
func (r resolver) resolveGroup(g valueGroup) (backup.SCIMFilter, error) {
	path, err := filter.ParseAttrPath([]byte(g.attribute))
	if err != nil {
		return backup.SCIMFilter{}, badFilter("%q is no attribute.", excerpt(g.attribute))
	}
	a, err := r.attributeOf(path)
	if err != nil {
		return backup.SCIMFilter{}, err
	}
	if !a.complex() {
		return backup.SCIMFilter{}, badFilter("%s has no parts that brackets could ask for.", a.text())
	}
	inner := g.inner
	if g.has != nil {
		inner = &filter.LogicalExpression{Left: g.inner, Right: g.has, Operator: filter.AND}
	}
	if !a.MultiValued() {
		return r.resolveParts(a, inner)
	}
	return r.resolveElement(a, inner)
}

// part resolves a name within brackets.
func part(a attribute, e *filter.AttributeExpression) (attribute, error) {
	sub, ok := a.SubAttributes().ContainsAttribute(e.AttributePath.AttributeName)
	if !ok || e.AttributePath.URIPrefix != nil || e.AttributePath.SubAttribute != nil {
		return a, badFilter("%s has no part %q.", a.text(), excerpt(e.AttributePath.String()))
	}
	a.sub = &sub
	return a, nil
}

// resolveParts resolves the brackets of an attribute that has one value: its parts are asked for one by one.
func (r resolver) resolveParts(a attribute, e filter.Expression) (backup.SCIMFilter, error) {
	inside := func(e filter.Expression) (backup.SCIMFilter, error) { return r.resolveParts(a, e) }
	switch e := e.(type) {
	case *filter.LogicalExpression:
		return both(e, inside)
	case *filter.NotExpression:
		f, err := inside(e.Expression)
		return negate(f), err
	case *filter.AttributeExpression:
		p, err := part(a, e)
		if err != nil {
			return backup.SCIMFilter{}, err
		}
		return r.compare(p, e)
	}
	return backup.SCIMFilter{}, badFilter("The brackets after %s hold a form that is not supported.", a.text())
}

// resolveElement resolves the brackets of a multi-valued attribute: one element must fit all that stands in them.
func (r resolver) resolveElement(a attribute, e filter.Expression) (backup.SCIMFilter, error) {
	if or, ok := e.(*filter.LogicalExpression); ok && or.Operator == filter.OR {
		return both(or, func(e filter.Expression) (backup.SCIMFilter, error) { return r.resolveElement(a, e) })
	}
	var c conjunction
	if err := c.collect(a, e); err != nil {
		return backup.SCIMFilter{}, err
	}
	return c.filter(r.resourceType, a)
}

// conjunction is what one element must fit: its type, that it is the primary one, and comparisons of other parts.
type conjunction struct {
	kind    string
	primary bool
	rest    []backup.SCIMFilter
	parts   []schema.CoreAttribute
}

func (c *conjunction) collect(a attribute, e filter.Expression) error {
	switch e := e.(type) {
	case *filter.LogicalExpression:
		if e.Operator == filter.AND {
			if err := c.collect(a, e.Left); err != nil {
				return err
			}
			return c.collect(a, e.Right)
		}
	case *filter.AttributeExpression:
		p, err := part(a, e)
		if err != nil {
			return err
		}
		f, err := comparison(p, e)
		if err != nil {
			return err
		}
		c.add(*p.sub, f)
		return nil
	}
	return badFilter("Within the brackets after %s, only comparisons joined by and, or alternatives of those, are supported.", a.text())
}

func (c *conjunction) add(sub schema.CoreAttribute, f backup.SCIMFilter) {
	switch {
	case sub.Name() == "type" && f.Op == backup.SCIMEqual && c.kind == "":
		c.kind = f.Text
	case sub.Name() == "primary" && f.Op == backup.SCIMEqual && f.Text == "true":
		c.primary = true
	default:
		c.rest, c.parts = append(c.rest, f), append(c.parts, sub)
	}
}

// filter says it in the store's words. They know an element by its type, and the value of the primary one; what would need more is refused,
// because an answer that mixes two elements would be wrong.
func (c *conjunction) filter(t *resourceType, a attribute) (backup.SCIMFilter, error) {
	if a.extension == "" && (a.Name() == "members" || a.Name() == "groups") {
		if len(c.rest) == 1 && c.kind == "" && c.parts[0].Name() == "value" {
			return c.rest[0], nil
		}
		return backup.SCIMFilter{}, badFilter("%s can be asked for by value only.", a.text())
	}
	path := strings.ToLower(a.text())
	switch {
	case len(c.rest) == 0 && c.primary:
		return backup.SCIMFilter{Path: path + ".primary", Type: c.kind, Op: backup.SCIMEqual, Text: "true"}, nil
	case len(c.rest) == 0:
		return backup.SCIMFilter{Path: path + ".type", Op: backup.SCIMEqual, Text: c.kind}, nil
	case len(c.rest) == 1 && c.rest[0].Not == nil && c.primary && c.parts[0].Name() == "value":
		f := c.rest[0]
		f.Path, f.Type = primaryValue(a.text()), c.kind
		return f, nil
	case len(c.rest) == 1 && c.rest[0].Not == nil && !c.primary:
		f := c.rest[0]
		f.Type = c.kind
		return f, nil
	case c.kind != "" && !c.primary:
		return c.partsOfType()
	}
	return backup.SCIMFilter{}, badFilter("The brackets after %s ask for too many parts of one element; ask for type and one other part.", a.text())
}

// partsOfType: an attribute has one element of a type, so several parts of it are of one element.
func (c *conjunction) partsOfType() (backup.SCIMFilter, error) {
	var all backup.SCIMFilter
	for _, f := range c.rest {
		if f.Not != nil {
			f.Not.Type = c.kind
		} else {
			f.Type = c.kind
		}
		all.And = append(all.And, f)
	}
	return all, nil
}
