package scim

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// maxOperations is how many operations one PATCH may have.
const maxOperations = 2000

// operation is one of a PATCH.
type operation struct {
	op    string // add, replace or remove
	path  string // empty: value is an object of several
	value any
}

// parsePatch reads a PatchOp message (RFC 7644 section 3.5.2). Its keys and the names of operations may be in any case.
func parsePatch(body map[string]any) ([]operation, error) {
	m := folded(body)
	if schemas, there := m["schemas"]; there && !lists(schemas, patchURN) {
		return nil, badSyntax("The schemas of the body must name %s.", patchURN)
	}
	list, ok := m["operations"].([]any)
	if !ok || len(list) == 0 {
		return nil, badSyntax("The body has no Operations.")
	}
	if len(list) > maxOperations {
		return nil, badValue("The body has %d operations; at most %d may be sent at once.", len(list), maxOperations)
	}
	ops := make([]operation, 0, len(list))
	for i, element := range list {
		o, err := parseOperation(element)
		if err != nil {
			return nil, prefix(err, i, len(list))
		}
		ops = append(ops, o)
	}
	return ops, nil
}

func parseOperation(element any) (operation, error) {
	object, ok := element.(map[string]any)
	if !ok {
		return operation{}, badSyntax("it is not an object.")
	}
	m := folded(object)
	op, _ := m["op"].(string)
	path, isText := m["path"].(string)
	o := operation{strings.ToLower(op), strings.TrimSpace(path), m["value"]}
	switch {
	case o.op != "add" && o.op != "replace" && o.op != "remove":
		return o, badSyntax("op is %q; it must be add, replace or remove.", excerpt(op))
	case !isText && m["path"] != nil:
		return o, badPath("path is not a string.")
	case o.op == "remove" && o.path == "":
		return o, noTarget("a remove needs a path.")
	}
	if _, there := m["value"]; !there && o.op != "remove" {
		return o, badValue("value is missing.")
	}
	return o, nil
}

func folded(object map[string]any) map[string]any {
	out := make(map[string]any, len(object))
	for k, v := range object {
		out[strings.ToLower(k)] = v
	}
	return out
}

func lists(v any, urn string) bool {
	list, _ := v.([]any)
	return slices.ContainsFunc(list, func(v any) bool {
		s, _ := v.(string)
		return strings.EqualFold(s, urn)
	})
}

// prefix says of several operations which one it was.
func prefix(err error, i, n int) error {
	r := refusalOf(err)
	if n > 1 {
		detail := r.Detail
		r = refuse(r.Status, r.ScimType, "Operation %d: %s", i+1, detail)
	}
	return r
}

// patch is a PATCH under way: the document is changed in place, and only kept when all operations went well.
type patch struct {
	*resourceType
	doc document
	// members collects what happens to a group's members, which are not in the document.
	members memberChanges
}

func (p *patch) apply(ops []operation) error {
	for i, o := range ops {
		if err := p.one(o); err != nil {
			return prefix(err, i, len(ops))
		}
	}
	return p.check(p.doc)
}

func (p *patch) one(o operation) error {
	if o.path == "" {
		return p.several("", o)
	}
	to, err := p.parsePath(o.path)
	if err != nil {
		return err
	}
	if to.whole {
		return p.wholeSchema(to.extension, o)
	}
	if !writable(to.attribute) {
		if to.Returned() == "never" {
			return nil // a password is taken and not kept
		}
		return notMutable("%s is read-only. Take it out of the mapping.", to.text())
	}
	return p.set(to, o)
}

// several applies an operation without a path: each key of its value is a path. What a peer may not write, and what no schema knows, is
// passed over there: Okta sends the id in it.
func (p *patch) several(extension string, o operation) error {
	object, ok := o.value.(map[string]any)
	if !ok {
		return badValue("value must be an object when there is no path.")
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		path := key
		if extension != "" {
			path = extension + ":" + key
		}
		to, err := p.parsePath(path)
		switch {
		case err != nil && strings.Contains(key, "["):
			return err
		case err != nil || !to.whole && !writable(to.attribute):
			continue
		}
		each := operation{o.op, path, object[key]}
		if to.whole {
			err = p.wholeSchema(to.extension, each)
		} else {
			err = p.set(to, each)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *patch) wholeSchema(extension string, o operation) error {
	if o.op != "remove" && o.value != nil {
		return p.several(extension, o)
	}
	if extension == "" {
		return noTarget("the path names all of a %s; name an attribute.", p.name)
	}
	delete(p.doc, extension)
	return nil
}

// set applies an operation to one attribute.
func (p *patch) set(to target, o operation) error {
	if to.Name() == "members" && p.resourceType == groupType {
		return p.members.change(to, o)
	}
	if o.value == nil && o.op == "replace" {
		o.op = "remove"
	}
	in := p.doc.container(to.extension, o.op != "remove")
	if in == nil {
		return nil
	}
	var err error
	switch {
	case to.where != nil || to.sub != nil && to.MultiValued():
		err = setElements(in, to, o)
	case to.sub != nil:
		err = setPart(in, to, o)
	default:
		err = setWhole(in, to, o)
	}
	if err != nil {
		return err
	}
	if to.extension != "" && len(in) == 0 {
		delete(p.doc, to.extension)
	}
	return nil
}

// setWhole sets an attribute as a whole.
func setWhole(in map[string]any, to target, o operation) error {
	name := to.Name()
	if o.op == "remove" {
		if !to.MultiValued() || o.value == nil {
			delete(in, name)
			return nil
		}
		return removeListed(in, to, o.value)
	}
	v, err := plainAttribute(to.CoreAttribute, o.value)
	switch {
	case err != nil:
		return err
	case v == nil && o.op == "add":
		return nil
	case v == nil:
		delete(in, name)
	case to.MultiValued() && o.op == "add":
		old, _ := in[name].([]any)
		return addElements(in, to, old, v.([]any))
	case isObject(v) && isObject(in[name]) && v.(map[string]any)["value"] == nil:
		// The parts that are not named stay, but for those of a reference: a new manager does not keep the old one's $ref.
		merge(in[name], v)
	default:
		in[name] = v
	}
	return nil
}

func addElements(in map[string]any, to target, old, more []any) error {
	for _, v := range more {
		if !slices.ContainsFunc(old, func(o any) bool { return reflect.DeepEqual(o, v) }) {
			old = append(old, v)
		}
	}
	if len(old) > maxElements {
		return badValue("%s would have more than %d values.", to.text(), maxElements)
	}
	onePrimary(old)
	in[to.Name()] = old
	return nil
}

// removeListed removes the elements that are named in the operation's value, as Entra does.
func removeListed(in map[string]any, to target, value any) error {
	v, err := plainAttribute(to.CoreAttribute, value)
	if err != nil {
		return err
	}
	named, _ := v.([]any)
	keep(in, to.Name(), func(element any) bool {
		return !slices.ContainsFunc(named, func(n any) bool { return sameElement(element, n) })
	})
	return nil
}

func sameElement(a, b any) bool {
	x, ok := a.(map[string]any)
	y, ok2 := b.(map[string]any)
	if ok && ok2 && x["value"] != nil && y["value"] != nil {
		return x["value"] == y["value"] && (y["type"] == nil || x["type"] == y["type"])
	}
	return reflect.DeepEqual(a, b)
}

// keep keeps the elements that fit, and the attribute only while it has any.
func keep(in map[string]any, name string, fits func(any) bool) {
	old, _ := in[name].([]any)
	var kept []any
	for _, element := range old {
		if fits(element) {
			kept = append(kept, element)
		}
	}
	if kept == nil {
		delete(in, name)
		return
	}
	in[name] = kept
}

// setPart sets one part of an attribute with one value.
func setPart(in map[string]any, to target, o operation) error {
	object, _ := in[to.Name()].(map[string]any)
	if object == nil {
		object = map[string]any{}
	}
	if err := assign(object, to, o); err != nil {
		return err
	}
	in[to.Name()] = object
	if bare(object) {
		delete(in, to.Name())
	}
	return nil
}

// assign writes or removes the part that to names.
func assign(object map[string]any, to target, o operation) error {
	if o.op == "remove" {
		delete(object, to.sub.Name())
		return nil
	}
	v, err := plainAttribute(*to.sub, o.value)
	if err != nil {
		return err
	}
	if v == nil || v == "" && to.MultiValued() {
		delete(object, to.sub.Name())
		return nil
	}
	object[to.sub.Name()] = v
	return nil
}

// setElements applies an operation to the elements that the path selects: all without a filter.
func setElements(in map[string]any, to target, o operation) error {
	selected, err := selectElements(in, to)
	if err != nil {
		return err
	}
	if len(selected) == 0 {
		if o.op == "remove" {
			return nil
		}
		return createElement(in, to, o)
	}
	if to.sub == nil && o.op == "remove" {
		drop(in, to, selected)
		return nil
	}
	for _, object := range selected {
		if err := setElement(object, to, o); err != nil {
			return err
		}
	}
	settle(in, to, selected)
	return nil
}

// selectElements returns the elements themselves: to change one changes the document.
func selectElements(in map[string]any, to target) ([]map[string]any, error) {
	list, ok := in[to.Name()].([]any)
	if !ok && in[to.Name()] != nil {
		list = []any{in[to.Name()]}
	}
	var selected []map[string]any
	for _, element := range list {
		fits := true
		if to.where != nil {
			var err error
			if fits, err = matches(to.attribute, element, to.where); err != nil {
				return nil, badPath("The path's brackets: %s", refusalOf(err).Detail)
			}
		}
		if object, ok := element.(map[string]any); ok && fits {
			selected = append(selected, object)
		}
	}
	if to.where != nil && len(list) == 0 {
		// The filter is looked at even when there is nothing to select.
		if _, err := matches(to.attribute, map[string]any{}, to.where); err != nil {
			return nil, badPath("The path's brackets: %s", refusalOf(err).Detail)
		}
	}
	return selected, nil
}

func setElement(object map[string]any, to target, o operation) error {
	if to.sub != nil {
		return assign(object, to, o)
	}
	v, err := plainSingle(to.CoreAttribute, one(o.value))
	if err != nil {
		return err
	}
	from, _ := v.(map[string]any)
	if o.op == "replace" {
		kind := object["type"]
		clear(object)
		if kind != nil {
			object["type"] = kind
		}
	}
	maps.Copy(object, from)
	return nil
}

// one unwraps a list of one.
func one(v any) any {
	if list, ok := v.([]any); ok && len(list) == 1 {
		return list[0]
	}
	return v
}

// settle looks after the elements once some were changed: what says nothing any more goes, and the primary one that was set last is the only one.
func settle(in map[string]any, to target, changed []map[string]any) {
	if !to.MultiValued() {
		if bare(changed[0]) {
			delete(in, to.Name())
		}
		return
	}
	for _, object := range changed {
		if object["primary"] == true {
			list, _ := in[to.Name()].([]any)
			for _, element := range list {
				if other, _ := element.(map[string]any); other["primary"] == true {
					other["primary"] = false
				}
			}
			object["primary"] = true
		}
	}
	keep(in, to.Name(), func(element any) bool {
		object, ok := element.(map[string]any)
		return !ok || !bare(object)
	})
}

func drop(in map[string]any, to target, selected []map[string]any) {
	if !to.MultiValued() {
		delete(in, to.Name())
		return
	}
	keep(in, to.Name(), func(element any) bool {
		return !slices.ContainsFunc(selected, func(s map[string]any) bool {
			object, ok := element.(map[string]any)
			return ok && reflect.ValueOf(object).Pointer() == reflect.ValueOf(s).Pointer()
		})
	})
}

// createElement makes the element that a path asks for and that is not there.
func createElement(in map[string]any, to target, o operation) error {
	object := map[string]any{}
	if to.where != nil {
		var ok bool
		if object, ok = equalities(to.attribute, to.where); !ok {
			return noTarget("no element of %s fits the path, and none can be made of it.", to.Name())
		}
	}
	made := object
	o.op = "add"
	if err := setElement(made, to, o); err != nil {
		return err
	}
	if bare(made) {
		return nil
	}
	if !to.MultiValued() {
		in[to.Name()] = made
		return nil
	}
	old, _ := in[to.Name()].([]any)
	return addElements(in, to, old, []any{made})
}
