package tenantfile

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Schema is the published JSON Schema (draft 2020-12) of a tenant file.
//
//go:embed tenant.schema.json
var Schema []byte

// document is the schema as plain values, for descriptions and examples; compiled is what checks.
var document, compiled = compile()

func compile() (map[string]any, *jsonschema.Schema) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		panic("tenant.schema.json: " + err.Error()) // it is part of the program
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("tenant.schema.json", doc); err != nil {
		panic("tenant.schema.json: " + err.Error())
	}
	return doc.(map[string]any), c.MustCompile("tenant.schema.json")
}

// checkSchema reports everything in which the tree differs from the schema.
func checkSchema(t *tree) []Problem {
	var e *jsonschema.ValidationError
	if !errors.As(compiled.Validate(t.value), &e) {
		return nil
	}
	var problems []Problem
	var leaves func(*jsonschema.ValidationError)
	leaves = func(e *jsonschema.ValidationError) {
		for _, c := range e.Causes {
			leaves(c)
		}
		if len(e.Causes) == 0 && len(problems) < maxProblems {
			problems = append(problems, explain(t, e)...)
		}
	}
	leaves(e)
	return problems
}

// explain says one difference in an administrator's words.
func explain(t *tree, e *jsonschema.ValidationError) []Problem {
	at := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return each(k.Missing, func(name string) Problem {
			field := append(slices.Clip(at), name)
			return t.problem(field, "this field is missing", fix(field))
		})
	case *kind.AdditionalProperties:
		return each(k.Properties, func(name string) Problem { return t.unknown(append(slices.Clip(at), name)) })
	case *kind.Type:
		return []Problem{t.problem(at, "this must be "+typeName(k.Want), fix(at))}
	case *kind.Enum:
		return []Problem{t.problem(at, "this must be "+oneOf(k.Want), fix(at))}
	case *kind.Pattern:
		return []Problem{t.problem(at, badText(at), fix(at))}
	case *kind.MinItems:
		return []Problem{t.problem(at, fmt.Sprintf("this needs %d entry at least", k.Want), fix(at))}
	case *kind.MaxItems, *kind.MaxLength:
		return []Problem{t.problem(at, "this is too long", fix(at))}
	case *kind.MinProperties:
		return []Problem{t.problem(at, "this needs one field at least", fix(at))}
	case *kind.MaxProperties:
		return []Problem{t.problem(at, "these are too many", fix(at))}
	case *kind.MinLength:
		return []Problem{t.problem(at, "this must not be empty", fix(at))}
	case *kind.Minimum:
		return []Problem{t.problem(at, "this must be "+k.Want.RatString()+" or more", fix(at))}
	case *kind.Maximum:
		return []Problem{t.problem(at, "this must be "+k.Want.RatString()+" or less", fix(at))}
	}
	return []Problem{t.problem(at, "this is not as the schema says", fix(at))}
}

func each(names []string, f func(string) Problem) []Problem {
	var problems []Problem
	for _, n := range names {
		problems = append(problems, f(n))
	}
	return problems
}

// unknown places the problem at the field's name, which is what is wrong.
func (t *tree) unknown(path []string) Problem {
	p := t.problem(path, "there is no such field", "one of "+strings.Join(fieldNames(path[:len(path)-1]), ", "))
	if k, ok := t.keys[pathText(path)]; ok {
		p.Line, p.Column = k.line, k.column
	}
	if len(path) == 1 && path[0] == "googleworkspace" {
		p.Message, p.Fix = "Google Workspace is not part of this version", "microsoft365"
	}
	return p
}

func badText(at []string) string {
	if schemaAt(at)["$ref"] == "#/$defs/secret" {
		return "this must say where the secret is, and must not be the secret itself"
	}
	return "this does not have the right form"
}

// fix is what the schema says about a field: what it is, and an example.
func fix(at []string) string {
	s := schemaAt(at)
	text, _ := s["description"].(string)
	examples, _ := s["examples"].([]any)
	if len(examples) == 0 {
		examples, _ = referred(s)["examples"].([]any)
	}
	if len(examples) > 0 {
		text = fmt.Sprintf("%s; for example %v", text, examples[0])
	}
	if s["$ref"] == "#/$defs/secret" {
		text += "; env:NAME, file:PATH or vault:PATH#FIELD"
	}
	return text
}

// schemaAt finds a field's part of the schema; empty when there is none.
func schemaAt(path []string) map[string]any {
	s := document
	for _, p := range path {
		s = referred(s)
		if items := child(s, "items"); len(items) > 0 && isIndex(p) {
			s = items
			continue
		}
		if values := child(s, "additionalProperties"); len(values) > 0 {
			s = values // a map: its keys are the tenant's own
			continue
		}
		s = child(child(s, "properties"), p)
	}
	return s
}

// referred is the definition that a group of fields is kept in, when it is not written out where it stands.
func referred(s map[string]any) map[string]any {
	if target, ok := strings.CutPrefix(fmt.Sprint(s["$ref"]), "#/$defs/"); ok {
		return child(child(document, "$defs"), target)
	}
	return s
}

func child(s map[string]any, name string) map[string]any {
	c, _ := s[name].(map[string]any)
	return c
}

func fieldNames(path []string) []string {
	var names []string
	for n := range child(referred(schemaAt(path)), "properties") {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func oneOf(values []any) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = fmt.Sprint(v)
	}
	return "one of " + strings.Join(names, ", ")
}

func typeName(types []string) string {
	switch types[0] {
	case "string":
		return "text"
	case "object":
		return "a group of fields"
	case "array":
		return "a list"
	case "integer", "number":
		return "a whole number"
	case "boolean":
		return "true or false"
	}
	return types[0]
}
