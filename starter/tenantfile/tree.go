package tenantfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds nesting; the schema needs five levels.
	maxDepth = 20
	// maxNodes bounds keys and values together.
	maxNodes = 20000
	// maxProblems bounds a report; a file with more is of another kind.
	maxProblems = 200
)

// tree is a YAML document as plain values, with the place of each.
type tree struct {
	value any // map[string]any, []any, string, int64, float64, bool or nil
	// places maps a path to its value's position; keys maps it to its key's.
	places map[string]place
	keys   map[string]place
}

type place struct{ line, column int }

// parseTree reads one document. Anchors, aliases, merge keys and tags are refused: a tenant file needs none, and they make a small
// file large.
func parseTree(data []byte) (*tree, []Problem) {
	if len(data) > maxSize {
		return nil, []Problem{{Line: 1, Column: 1, Message: fmt.Sprintf("the file is larger than %d KiB", maxSize>>10), Fix: "give a tenant file"}}
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document, further yaml.Node
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) || err == nil && len(document.Content) == 0 {
		return nil, []Problem{{Line: 1, Column: 1, Message: "the file is empty", Fix: "begin with id: and the tenant's short name"}}
	}
	if err != nil {
		return nil, []Problem{syntaxProblem(err)}
	}
	if err := d.Decode(&further); !errors.Is(err, io.EOF) {
		return nil, []Problem{{Line: max(1, further.Line), Column: max(1, further.Column), Message: "the file holds more than one document", Fix: "one file for one tenant"}}
	}
	w := walker{tree: &tree{places: map[string]place{}, keys: map[string]place{}}}
	w.tree.value = w.walk(document.Content[0], nil)
	return w.tree, w.problems
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// syntaxProblem keeps the line of the parser's message and drops its text when it could quote the file.
func syntaxProblem(err error) Problem {
	line := 1
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = yamlLine.ReplaceAllString(text, "")
	text = strings.TrimLeft(text, ": ")
	if strings.ContainsAny(text, "`\"") {
		text = "it cannot be read"
	}
	return Problem{Line: max(1, line), Column: 1, Message: "this is not YAML: " + text, Fix: "look at indentation, colons and quotes here and in the line above"}
}

// walker turns nodes into values.
type walker struct {
	tree     *tree
	nodes    int
	problems []Problem
}

func (w *walker) refuse(n *yaml.Node, path []string, message, fix string) {
	if len(w.problems) < maxProblems {
		w.problems = append(w.problems, Problem{pathText(path), n.Line, n.Column, message, fix})
	}
}

func (w *walker) walk(n *yaml.Node, path []string) any {
	w.nodes++
	at := pathText(path)
	w.tree.places[at] = place{n.Line, n.Column}
	switch {
	case len(path) > maxDepth:
		w.refuse(n, path[:maxDepth], "this is nested too deeply", "compare with the published schema")
		return nil
	case w.nodes > maxNodes:
		if w.nodes == maxNodes+1 {
			w.refuse(n, path, "the file has too many fields", "give a tenant file")
		}
		return nil
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		w.refuse(n, path, "anchors and aliases are not understood here", "write the value out")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return w.mapping(n, path)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = w.walk(c, append(slices.Clip(path), strconv.Itoa(i)))
		}
		return list
	}
	return w.scalar(n, path)
}

func (w *walker) mapping(n *yaml.Node, path []string) any {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Anchor != "" {
			w.refuse(key, path, "a field's name must be plain text", "write a name of the published schema")
			continue
		}
		at := append(slices.Clip(path), key.Value)
		if _, twice := m[key.Value]; twice {
			w.refuse(key, at, "this field is given twice", "keep one of them")
			continue
		}
		w.tree.keys[pathText(at)] = place{key.Line, key.Column}
		m[key.Value] = w.walk(n.Content[i+1], at)
	}
	return m
}

func (w *walker) scalar(n *yaml.Node, path []string) any {
	var v any
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value
	case "!!int", "!!float", "!!bool", "!!null":
		if n.Decode(&v) != nil {
			w.refuse(n, path, "this value cannot be read", "put text in quotes")
			return nil
		}
	default:
		w.refuse(n, path, "tags are not understood here", "write the value without its tag")
		return nil
	}
	switch number := v.(type) {
	case int:
		return int64(number)
	case uint64:
		return float64(number)
	case float64:
		return w.finite(n, path, number)
	}
	return v
}

// finite refuses what JSON cannot say.
func (w *walker) finite(n *yaml.Node, path []string, f float64) any {
	if f != f || f > 1e300 || f < -1e300 {
		w.refuse(n, path, "this is not a number that can be used", "write a whole number")
		return nil
	}
	return f
}

// problem places a problem at a path, or at the nearest parent that is there.
func (t *tree) problem(path []string, message, fix string) Problem {
	at := place{1, 1}
	for n := len(path); n >= 0; n-- {
		text := pathText(path[:n])
		p, ok := t.places[text]
		if k, isField := t.keys[text]; isField && n < len(path) {
			p, ok = k, true // something missing inside is shown at its parent's name
		}
		if ok {
			at = p
			break
		}
	}
	return Problem{pathText(path), at.line, at.column, message, fix}
}

// get walks down to a value; nil when it is not there.
func (t *tree) get(path ...string) any {
	v := t.value
	for _, p := range path {
		switch c := v.(type) {
		case map[string]any:
			v = c[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(c) {
				return nil
			}
			v = c[i]
		default:
			return nil
		}
	}
	return v
}

func (t *tree) text(path ...string) string { s, _ := t.get(path...).(string); return s }
func (t *tree) list(path ...string) []any  { l, _ := t.get(path...).([]any); return l }
func (t *tree) group(path ...string) map[string]any {
	m, _ := t.get(path...).(map[string]any)
	return m
}
func (t *tree) has(path ...string) bool { return t.get(path...) != nil }

// pathText writes a path as a person reads it: key.connectors[0].identity.
func pathText(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if isIndex(p) && i > 0 {
			b.WriteString("[" + p + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(shown(p))
	}
	return b.String()
}

func isIndex(p string) bool { _, err := strconv.ParseUint(p, 10, 16); return err == nil }

// shown cuts and quotes a field's name that is not one of ours, because it came from outside.
func shown(name string) string {
	if len(name) > 60 {
		name = name[:60] + "..."
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r > 0x7e {
			return strconv.QuoteToASCII(name)
		}
	}
	return name
}

func sorted(list []Problem) *Problems {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
	list = slices.Compact(list)
	return &Problems{List: list[:min(len(list), maxProblems)]}
}
