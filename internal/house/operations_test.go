package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestOperationsKnowEverything makes sure that an administrator who is shown a code, an alert or a task finds it in the handbook, and
// that the handbook has none that does not exist.
func TestOperationsKnowEverything(t *testing.T) {
	want := map[string]bool{}
	for _, c := range constants(t, "internal/backup") {
		if c.kind == "Code" || c.kind == "AlertKind" || c.kind == "" && strings.HasPrefix(c.name, "Task") {
			want[c.value] = true
		}
	}
	if len(want) < 30 {
		t.Fatalf("only %d codes, alerts and tasks were found, so this test does not see them", len(want))
	}
	got := map[string]bool{}
	lines := readLines(t, "docs/operations.md")
	first := slices.Index(lines, "## Alerts")
	if first < 0 {
		t.Fatal("docs/operations.md has no section on alerts")
	}
	row := regexp.MustCompile("^\\| `([a-z_-]+)` \\| (.*) \\|$")
	for i, line := range lines[first:] {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		got[m[1]] = true
		if !want[m[1]] {
			t.Errorf("docs/operations.md:%d explains %s, which does not exist", first+i+1, m[1])
		}
		for _, cell := range strings.Split(m[2], " | ") {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("docs/operations.md:%d leaves something about %s empty", first+i+1, m[1])
			}
		}
	}
	for name := range want {
		if !got[name] {
			t.Errorf("docs/operations.md does not say what to do about %s", name)
		}
	}
}

type constant struct{ name, kind, value string }

// constants reads the text constants of a package with their types; the type is empty when none is given.
func constants(t *testing.T, pkg string) []constant {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []constant
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				kind, _ := spec.Type.(*ast.Ident)
				if text, ok := spec.Values[0].(*ast.BasicLit); ok && text.Kind == token.STRING {
					value, _ := strconv.Unquote(text.Value) // the parser has accepted it
					c := constant{name: spec.Names[0].Name, value: value}
					if kind != nil {
						c.kind = kind.Name
					}
					found = append(found, c)
				}
			}
			return true
		})
	}
	return found
}
