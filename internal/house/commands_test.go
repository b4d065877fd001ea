package house

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommandsExist builds the two programs and asks them whether they know every command and flag that the deployment files and the
// handbook tell people to type.
func TestCommandsExist(t *testing.T) {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./worker", "./starter")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the programs do not build: %v\n%s", err, out)
	}
	programs := map[string]*helper{"holdfastd": {ask: askProgram(t, filepath.Join(bin, "worker"))}, "holdfast": {ask: askProgram(t, filepath.Join(bin, "starter"))}}
	found := map[string]int{}
	for _, c := range writtenCommands(t) {
		found[c.program]++
		for _, problem := range programs[c.program].problems(c.words) {
			t.Errorf("%s: %s %s: %s", c.file, c.program, strings.Join(c.words, " "), problem)
		}
	}
	if found["holdfastd"] < 15 || found["holdfast"] < 20 {
		t.Errorf("only %v commands were found, so this test does not see them", found)
	}
}

// askProgram runs a program with --help behind some words.
func askProgram(t *testing.T, program string) func(path []string) string {
	return func(path []string) string {
		out, err := exec.CommandContext(t.Context(), program, append(slices.Clone(path), "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s --help: %v\n%s", program, strings.Join(path, " "), err, out)
		}
		return string(out)
	}
}

// command is a command line that somebody is told to type.
type command struct {
	file, program string
	words         []string
}

func writtenCommands(t *testing.T) []command {
	t.Helper()
	var found []command
	for _, s := range readCompose(t).Services {
		if s.Build != nil && s.Build.Target == "holdfastd" {
			found = append(found, command{"docker-compose.yml", "holdfastd", s.Command})
		}
	}
	for _, file := range []string{"deploy/README.md", "docs/operations.md", "deploy/systemd/holdfast-connector.service",
		"deploy/systemd/holdfast-worker.service", "deploy/systemd/holdfast-gateway.service"} {
		for _, c := range commandsIn(strings.Join(readLines(t, file), "\n")) {
			found = append(found, command{file, c.program, c.words})
		}
	}
	return found
}

// inText finds `holdfastd gateway --state x`, and `docker compose run ... worker identity`, which is holdfastd, too. A command ends
// with its line, its backtick, a pipe or a comment.
var inText = regexp.MustCompile("(?:^|[\\s`(]|/usr/local/bin/)(holdfastd?|run --rm -T --no-deps (?:-v \\S+ )*(?:worker|gateway|connector)) ([a-z][^\n|`#)<>]*)")

func commandsIn(text string) []command {
	var found []command
	for _, m := range inText.FindAllStringSubmatch(strings.ReplaceAll(text, "\\\n", " "), -1) {
		program := "holdfastd"
		if m[1] == "holdfast" {
			program = "holdfast"
		}
		found = append(found, command{program: program, words: strings.Fields(m[2])})
	}
	return found
}

// helper reads what a program of cobra's says of itself.
type helper struct {
	ask   func(path []string) string
	heard map[string]string
}

func (h *helper) help(path []string) string {
	key := strings.Join(path, " ")
	if _, known := h.heard[key]; !known {
		if h.heard == nil {
			h.heard = map[string]string{}
		}
		h.heard[key] = h.ask(path)
	}
	return h.heard[key]
}

// problems says what the program would not understand of a command line.
func (h *helper) problems(words []string) []string {
	var path, problems []string
	for _, w := range words {
		if !slices.Contains(subcommands(h.help(path)), w) {
			break
		}
		path = append(path, w)
	}
	help := h.help(path)
	rest := words[len(path):]
	if len(path) == 0 || len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && len(subcommands(help)) > 0 && !takesArguments(help, path) {
		return []string{fmt.Sprintf("there is no command %q", rest[0])}
	}
	for _, w := range rest {
		flag, _, _ := strings.Cut(w, "=")
		if strings.HasPrefix(flag, "-") && flag != "-" && !regexp.MustCompile(`(?m)^\s+(-\w, )?`+regexp.QuoteMeta(flag)+`(,| |$)`).MatchString(help) {
			problems = append(problems, "it does not know "+flag)
		}
	}
	return problems
}

// takesArguments tells a command that has others below it and works on a thing by itself, as `alerts TENANT` and `alerts mute` do.
func takesArguments(help string, path []string) bool {
	return regexp.MustCompile(`(?m)^  holdfastd? ` + regexp.QuoteMeta(strings.Join(path, " ")) + ` [A-Z]`).MatchString(help)
}

var subcommand = regexp.MustCompile(`(?m)^  (?:holdfastd? )?([a-z-]+) +[A-Z]`)

// subcommands reads the lists of commands and of help topics.
func subcommands(help string) []string {
	var names []string
	for _, list := range []string{"Available Commands:", "Additional help topics:"} {
		_, after, _ := strings.Cut(help, list+"\n")
		block, _, _ := strings.Cut(after, "\n\n")
		for _, m := range subcommand.FindAllStringSubmatch(block, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// TestCommandsAreRead shows that wrong commands are seen.
func TestCommandsAreRead(t *testing.T) {
	texts := map[string]string{
		"":           "Usage:\n\nAvailable Commands:\n  alerts      See them\n  run         Run it\n  users       See them\n\nFlags:\n  -h, --help   help\n\nAdditional help topics:\n  holdfast exit-codes The codes\n",
		"run":        "Flags:\n      --state string   folder\n  -f, --file string    file\n",
		"users":      "Available Commands:\n  list        List\n\nFlags:\n",
		"users list": "Flags:\n      --problems   those\n",
		"exit-codes": "0 is good\n",
		"alerts":     "Usage:\n  holdfast alerts TENANT [flags]\n  holdfast alerts [command]\n\nAvailable Commands:\n  mute        Mute it\n\nFlags:\n",
	}
	h := &helper{ask: func(path []string) string { return texts[strings.Join(path, " ")] }}
	for text, want := range map[string]string{
		"`holdfast run --state x -f y`":                    "",
		"type `holdfast users list acme --problems`":       "",
		"`holdfast exit-codes`":                            "",
		"holdfast run \\\n  --state x # and --more":        "",
		"`holdfast alerts acme`":                           "",
		"`holdfast run --state -`":                         "",
		"`holdfast walk`":                                  `there is no command "walk"`,
		"`holdfast users remove`":                          `there is no command "remove"`,
		"holdfast run --stat x":                            "it does not know --stat",
		"holdfast run \\\n    --never x":                   "it does not know --never",
		"docker compose run --rm -T --no-deps worker walk": `there is no command "walk"`,
	} {
		found := commandsIn(text)
		if len(found) != 1 {
			t.Errorf("%q: %d commands, want 1", text, len(found))
			continue
		}
		if got := strings.Join(h.problems(found[0].words), "; "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
