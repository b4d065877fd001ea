// Package house holds the rules of the source tree: who may import whom, and what the deployment files promise.
//
// The table of imports is the one of the design ("The house"), a row a room. It is kept as data with one pure function that
// judges, so that its tests can show that it refuses what it should. Everything else here is a test over the tree.
package house

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Module is the path that every package of ours begins with.
const Module = "github.com/holdfast-backup/holdfast"

// rule is one row of the table: what the code of some packages may import. Tests may import more, and are not judged.
type rule struct {
	// packages are path patterns below the module; "/..." at the end takes the folder and everything below it.
	packages []string
	// ours lists, as patterns, the packages of ours that may be imported.
	ours []string
	// notOurs takes packages of ours away again.
	notOurs []string
	// notForeign lists prefixes of other people's packages that may not be imported.
	notForeign []string
	// onlyStandard allows the standard library and nothing else from outside.
	onlyStandard bool
	// why is the reason for the rule, and instead is what to do when it is in the way.
	why, instead string
}

const temporal = "go.temporal.io/"

// table is the house. A package takes the first row that fits it.
var table = []rule{
	{
		packages: []string{"internal/backup"}, onlyStandard: true,
		why:     "the vocabulary is what everybody shares, so it can depend on nobody",
		instead: "keep plain data and pure functions here, and put what needs a library into the adapter or activity that has it",
	},
	{
		packages: []string{"internal/msgraph"}, ours: []string{"internal/backup"}, notForeign: []string{temporal},
		why:     "the sign-in and the client of Microsoft Graph serve every adapter of it; it knows no adapter and nothing of mail, files or people",
		instead: "keep what only one adapter needs in that adapter",
	},
	{
		packages: []string{"integrations/*"}, ours: []string{"internal/backup", "internal/msgraph"}, notForeign: []string{temporal},
		why:     "an adapter speaks the vocabulary and its own client library; it knows neither Temporal nor another adapter, so that any of them can be exchanged and tested alone",
		instead: "return a *backup.Error and let activities turn it into Temporal's terms; what two adapters need belongs into internal/backup, and what joins them into worker",
	},
	{
		packages: []string{"activities"}, ours: []string{"internal/backup"},
		why:     "activities declare the interfaces that they use; the adapters behind them are chosen at the start",
		instead: "add a method to a port in activities/ports.go and let worker wire the adapter",
	},
	{
		packages: []string{"workflows"}, ours: []string{"activities", "internal/backup"},
		why:     "a workflow is replayed, so it may decide and nothing else; it names activities by method and never runs them",
		instead: "make the side effect an activity and call it by method: workflow.ExecuteActivity(ctx, (*activities.X)(nil).Method, in)",
	},
	{
		packages: []string{"internal/readapi"}, ours: []string{"internal/backup"}, notForeign: []string{temporal},
		why:     "the read API is wire types and their client, which every program may carry",
		instead: "serve from the worker's gateway; keep only what goes over the wire here",
	},
	{
		packages: []string{"internal/orchestrator"}, ours: []string{"workflows", "internal/backup", "internal/readapi", "internal/payload"},
		why:     "the typed client of the workflows reaches the world through them only",
		instead: "add a workflow, a signal, an update or a query, and send it from here",
	},
	{
		packages: []string{"starter", "starter/..."}, ours: []string{"internal/orchestrator", "internal/backup", "internal/readapi", "internal/ledger", "internal/payload", "starter/..."}, notForeign: []string{temporal},
		why:     "the command line runs on an administrator's machine: it talks to Temporal through the orchestrator and reads through the gateway, and holds no adapter and no key",
		instead: "add a method to orchestrator.Client or readapi.Client and call that",
	},
	{
		packages: []string{"worker"}, ours: []string{"..."}, notOurs: []string{"internal/sandbox/...", "starter/...", "demo/...", "test/...", "bench/..."},
		why:     "the worker wires everything that is shipped; servers made for tests and the demo are not",
		instead: "start sandbox servers from demo, test or bench; what both programs need belongs into internal",
	},
	{
		packages: []string{"internal/ledger"}, ours: []string{"internal/backup"}, notForeign: []string{temporal},
		why:     "the log of receipts is checked by the command line on an administrator's machine, so it carries no store, no key and no client",
		instead: "let the caller bring the rows and the keys",
	},
	{
		packages: []string{"internal/custody"}, ours: []string{"internal/backup", "internal/ledger"}, notForeign: []string{temporal},
		why:     "custody decides which generation of a key is asked for, where, and what is written down; how a method speaks is the adapter's",
		instead: "add a method to custody.Holder or custody.Records and let worker wire what has it",
	},
	{
		packages: []string{"internal/payload"}, ours: []string{"internal/backup"},
		why:     "the codec encrypts whatever goes to Temporal, without knowing what it is",
		instead: "hand it keys; where they come from is the worker's affair",
	},
	{
		packages: []string{"internal/devserver"}, notForeign: []string{temporal},
		why:     "it starts a program and waits for it, for anybody who needs a Temporal server",
		instead: "let the caller dial the address that Start returns",
	},
	{
		packages: []string{"internal/sandbox/..."}, ours: []string{"internal/sandbox/..."}, notForeign: []string{temporal},
		why:     "a sandbox that shares code with the product shares its mistakes, and then a test proves nothing",
		instead: "write the outside system's side again from its documentation",
	},
	{
		packages: []string{"demo/...", "test/...", "bench/..."}, ours: []string{"..."},
		why: "they show and try the whole", instead: "",
	},
	{
		packages: []string{"..."},
		why:      "a package that is in no row of the table may import nothing of ours, so that a new one gets its place before it gets friends",
		instead:  "add a row to internal/house/house.go and to the table in docs/ARCHITECTURE.md, and say why in the commit",
	},
}

// ruleFor finds the row of a package, given by its path below the module ("." for the root).
func ruleFor(pkg string) rule {
	i := slices.IndexFunc(table, func(r rule) bool { return matchesAny(r.packages, pkg) })
	return table[i] // the last row takes everything
}

// Judge returns a sentence for every import of a package that the table does not allow. Imports are full import paths.
func Judge(pkg string, imports []string) []string {
	r := ruleFor(pkg)
	var broken []string
	for _, imported := range imports {
		if what := r.refuses(pkg, imported); what != "" {
			broken = append(broken, fmt.Sprintf("%s imports %s, %s.\n    why:     %s\n    instead: %s", pkg, imported, what, r.why, r.instead))
		}
	}
	return broken
}

// refuses says what is wrong with one import, or nothing.
func (r rule) refuses(pkg, imported string) string {
	if below, ours := strings.CutPrefix(imported, Module+"/"); ours {
		switch {
		case below == pkg: // an external test package, or a cycle that the compiler refuses
			return ""
		case !matchesAny(r.ours, below), matchesAny(r.notOurs, below):
			return "which is not among what it may import of ours (" + r.allowed() + ")"
		}
		return ""
	}
	foreign := func(prefix string) bool { return strings.HasPrefix(imported, prefix) }
	switch {
	case r.onlyStandard && !isStandard(imported):
		return "and may import the standard library only"
	case slices.ContainsFunc(r.notForeign, foreign):
		return "which it must not know"
	}
	return ""
}

func (r rule) allowed() string {
	if len(r.ours) == 0 {
		return "nothing"
	}
	allowed := strings.Join(r.ours, ", ")
	if len(r.notOurs) > 0 {
		allowed += " without " + strings.Join(r.notOurs, ", ")
	}
	return allowed
}

// isStandard tells the standard library by its first element, which never holds a dot.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// matches compares a package with a pattern: "..." is everything, "a/..." is a and what is below, "a/*" is one level below.
func matches(pattern, pkg string) bool {
	if pattern == "..." {
		return true
	}
	if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == folder || strings.HasPrefix(pkg, folder+"/")
	}
	ok, _ := path.Match(pattern, pkg) // only a malformed pattern fails, and a test tries them all
	return ok
}
