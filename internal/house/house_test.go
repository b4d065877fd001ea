package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the top of the tree, seen from this package.
const root = "../.."

// TestImports holds every package of the tree against the table.
func TestImports(t *testing.T) {
	packages := readImports(t)
	for _, must := range []string{"internal/backup", "activities", "workflows", "worker", "integrations/ldap"} {
		if _, found := packages[must]; !found {
			t.Errorf("package %s was not found, so this test does not see the tree", must)
		}
	}
	for pkg, imports := range packages {
		for _, broken := range Judge(pkg, imports) {
			t.Errorf("%s", broken)
		}
	}
}

// TestTableHasNoDeadRows finds rows and permissions that nothing in the tree needs any more.
func TestTableHasNoDeadRows(t *testing.T) {
	packages := readImports(t)
	for _, r := range table {
		found := false
		for pkg := range packages {
			found = found || matchesAny(r.packages, pkg)
		}
		if !found {
			t.Errorf("no package fits the row %q: delete it", r.packages)
		}
		for _, p := range slices.Concat(r.packages, r.ours, r.notOurs) {
			if _, err := path.Match(p, "x"); err != nil {
				t.Errorf("the pattern %q: %v", p, err)
			}
		}
	}
}

// TestJudge shows that the table refuses what the design forbids, and allows what it allows.
func TestJudge(t *testing.T) {
	const ours = Module + "/"
	for _, c := range []struct {
		pkg, imported string
		refused       bool
	}{
		{"internal/backup", "crypto/hkdf", false},
		{"internal/backup", "go.uber.org/zap", true},
		{"internal/backup", ours + "activities", true},

		{"integrations/ldap", ours + "internal/backup", false},
		{"integrations/ldap", "github.com/go-ldap/ldap/v3", false},
		{"integrations/ldap", "go.temporal.io/sdk/temporal", true},
		{"integrations/ldap", ours + "integrations/sqlstore", true},
		{"integrations/ldap", ours + "activities", true},
		{"integrations/ldap", ours + "internal/sandbox/ldapserver", true},
		{"integrations/ldap", ours + "integrations/ldap", false}, // its external tests
		{"integrations/tomorrow", "go.temporal.io/api/enums/v1", true},

		{"activities", "go.temporal.io/sdk/activity", false},
		{"activities", ours + "internal/backup", false},
		{"activities", ours + "workflows", true},
		{"activities", ours + "integrations/kopia", true},

		{"workflows", ours + "activities", false},
		{"workflows", ours + "integrations/kopia", true},
		{"workflows", ours + "internal/orchestrator", true},

		{"internal/readapi", ours + "internal/backup", false},
		{"internal/readapi", ours + "internal/orchestrator", true},

		{"internal/orchestrator", ours + "workflows", false},
		{"internal/orchestrator", ours + "internal/readapi", false},
		{"internal/orchestrator", ours + "activities", true},
		{"internal/orchestrator", "go.temporal.io/sdk/client", false},

		{"starter", ours + "internal/orchestrator", false},
		{"starter", ours + "starter/tenantfile", false},
		{"starter", ours + "workflows", true},
		{"starter", ours + "integrations/connector", true},
		{"starter", "go.temporal.io/sdk/client", true},
		{"starter/tenantfile", ours + "internal/backup", false},
		{"starter/tenantfile", ours + "worker", true},

		{"worker", ours + "integrations/kopia", false},
		{"worker", ours + "internal/devserver", false},
		{"worker", ours + "internal/sandbox", true},
		{"worker", ours + "internal/sandbox/graph", true},
		{"worker", ours + "demo/stage", true},

		{"internal/devserver", "os/exec", false},
		{"internal/devserver", ours + "internal/backup", true},

		{"internal/sandbox", ours + "internal/sandbox/content", false},
		{"internal/sandbox/graph", ours + "internal/sandbox", false},
		{"internal/sandbox/graph", ours + "internal/backup", true},
		{"internal/sandbox/graph", ours + "integrations/microsoft365", true},

		{"demo/stage", ours + "internal/sandbox/graph", false},
		{"test", ours + "worker", false},
		{"bench", ours + "integrations/kopia", false},

		{"internal/utils", ours + "internal/backup", true}, // in no row
		{"internal/utils", "net/http", false},
	} {
		broken := Judge(c.pkg, []string{c.imported})
		if refused := len(broken) > 0; refused != c.refused {
			t.Errorf("%s imports %s: refused %t, want %t", c.pkg, c.imported, refused, c.refused)
		}
		for _, b := range broken {
			if !strings.Contains(b, c.imported) || !strings.Contains(b, "why:") || strings.HasSuffix(b, "instead: ") {
				t.Errorf("the refusal does not explain itself: %s", b)
			}
		}
	}
}

// TestMatches pins the patterns down at their edges.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, pkg string
		want         bool
	}{
		{"...", "a/b", true},
		{"a/...", "a", true},
		{"a/...", "a/b/c", true},
		{"a/...", "ab", false},
		{"a/*", "a/b", true},
		{"a/*", "a", false},
		{"a/*", "a/b/c", false},
		{"a", "a", true},
		{"a", "a/b", false},
	} {
		if got := matches(c.pattern, c.pkg); got != c.want {
			t.Errorf("matches(%q, %q) = %t", c.pattern, c.pkg, got)
		}
	}
}

// readImports reads what the code of each package imports, whatever the platform or build tag, tests excepted. It reads the files
// and asks no build tool, so a tree that does not compile today is judged all the same.
func readImports(t *testing.T) map[string][]string {
	t.Helper()
	packages := map[string][]string{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && !isOurs(file) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(folder)
		packages[pkg] = append(packages[pkg], "") // a package without imports is one, too
		for _, i := range parsed.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			packages[pkg] = append(packages[pkg], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, imports := range packages {
		slices.Sort(imports)
		packages[pkg] = slices.Compact(imports)[1:]
	}
	return packages
}

// isOurs leaves out what the go command leaves out: hidden folders, test data, nested modules, and what was built.
func isOurs(folder string) bool {
	name := filepath.Base(folder)
	if folder == root {
		return true
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || folder == filepath.Join(root, "build") {
		return false
	}
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err != nil
}
