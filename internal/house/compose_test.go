package house

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/api/enums/v1"
	"go.yaml.in/yaml/v3"

	"github.com/holdfast-backup/holdfast/internal/payload"
	"github.com/holdfast-backup/holdfast/workflows"
)

// These tests stand in for an engine: they check what `docker compose config` checks, and what it cannot know. What is left for a
// real engine is whether the images exist and start.

// composeFile is as much of the Compose Specification (https://github.com/compose-spec/compose-spec) as our file uses. Anything
// else in a service is refused, so that a mistyped key does not pass for a setting.
type composeFile struct {
	Name     string                    `yaml:"name"`
	Services map[string]composeService `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Volumes map[string]struct{} `yaml:"volumes"`
	Secrets map[string]struct {
		File string `yaml:"file"`
	} `yaml:"secrets"`
	Holdfast any `yaml:"x-holdfast"`
	Temporal any `yaml:"x-temporal"`
}

type composeService struct {
	Build *struct {
		Context string            `yaml:"context"`
		Target  string            `yaml:"target"`
		Args    map[string]string `yaml:"args"`
	} `yaml:"build"`
	Image       string            `yaml:"image"`
	Profiles    []string          `yaml:"profiles"`
	Hostname    string            `yaml:"hostname"`
	User        string            `yaml:"user"`
	Restart     string            `yaml:"restart"`
	Entrypoint  []string          `yaml:"entrypoint"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Secrets     []string          `yaml:"secrets"`
	Volumes     []string          `yaml:"volumes"`
	Networks    []string          `yaml:"networks"`
	Ports       []string          `yaml:"ports"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Healthcheck *struct {
		Test        []string `yaml:"test"`
		Interval    string   `yaml:"interval"`
		Timeout     string   `yaml:"timeout"`
		Retries     int      `yaml:"retries"`
		StartPeriod string   `yaml:"start_period"`
	} `yaml:"healthcheck"`
	ReadOnly        bool           `yaml:"read_only"`
	Tmpfs           []string       `yaml:"tmpfs"`
	CapDrop         []string       `yaml:"cap_drop"`
	CapAdd          []string       `yaml:"cap_add"`
	SecurityOpt     []string       `yaml:"security_opt"`
	Ulimits         map[string]int `yaml:"ulimits"` // -1 is unlimited
	MemSwappiness   *int           `yaml:"mem_swappiness"`
	StopGracePeriod string         `yaml:"stop_grace_period"`
	Logging         any            `yaml:"logging"`
}

// oneShot is a service that does its work and ends.
func (s composeService) oneShot() bool {
	return s.Restart == "no" || strings.HasPrefix(s.Restart, "on-failure")
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseCompose(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func parseCompose(b []byte) (composeFile, error) {
	var f composeFile
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	return f, d.Decode(&f)
}

// problems checks everything in the file that needs nothing but the file.
func (f composeFile) problems() []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(f.Services)) {
		for _, p := range f.problemsOf(f.Services[name]) {
			found = append(found, name+" "+p)
		}
	}
	return found
}

func (f composeFile) problemsOf(s composeService) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if s.Build == nil && s.Image == "" {
		say("has neither image nor build")
	}
	if s.Build == nil && s.Image != "" && !pinned.MatchString(s.Image) {
		say("has the image %q, which is not pinned to a version", s.Image)
	}
	if s.Healthcheck == nil && !s.oneShot() {
		say("has no health check and is not a one-shot")
	}
	for name, value := range s.Environment {
		if secretName.MatchString(name) && !strings.HasPrefix(value, "/") {
			say("has the environment variable %s, which looks like a secret: use a secrets file", name)
		}
	}
	for to, d := range s.DependsOn {
		target, known := f.Services[to]
		switch {
		case !known:
			say("depends on %s, which is no service", to)
		case d.Condition == "service_healthy" && target.Healthcheck == nil:
			say("waits for %s to be healthy, which has no health check", to)
		case d.Condition == "service_completed_successfully" && !target.oneShot():
			say("waits for the end of %s, which never ends", to)
		case d.Condition != "service_healthy" && d.Condition != "service_completed_successfully":
			say("depends on %s without a condition", to)
		case len(target.Profiles) > 0 && !slices.Equal(target.Profiles, s.Profiles):
			say("depends on %s, which is not started without a profile", to)
		}
	}
	for _, v := range s.Volumes {
		source, _, _ := strings.Cut(v, ":")
		if _, named := f.Volumes[source]; !named && !strings.HasPrefix(source, "./") {
			say("mounts %q, which is not declared as a volume", source)
		}
	}
	for _, secret := range s.Secrets {
		if _, known := f.Secrets[secret]; !known {
			say("takes the secret %s, which is not declared", secret)
		}
	}
	for _, network := range s.Networks {
		if _, known := f.Networks[network]; !known {
			say("joins the network %s, which is not declared", network)
		}
	}
	if len(s.Networks) == 0 {
		say("names no network, and so joins one where it can reach everything")
	}
	for _, port := range s.Ports {
		if !strings.HasPrefix(port, "127.0.0.1:") {
			say("publishes %s to more than this host", port)
		}
		if !slices.ContainsFunc(s.Networks, func(n string) bool { return !f.Networks[n].Internal }) {
			say("publishes %s, and is on internal networks only, from which nothing is published", port)
		}
	}
	return found
}

var (
	// pinned is name:tag with a digit in the tag, which "latest" and "stable" do not have.
	pinned = regexp.MustCompile(`^[a-z0-9./-]+:[a-z]*[0-9][A-Za-z0-9._-]*$`)
	// secretName is what a variable is called that holds a secret itself; ..._FILE names a file.
	secretName = regexp.MustCompile(`(?i)(password|passwd|pwd|secret|token|api_?key|private|credential)($|[^a-z])`)
)

func TestComposeFile(t *testing.T) {
	f := readCompose(t)
	if u := f.Services["connector"].Ulimits; !maps.Equal(u, map[string]int{"memlock": -1, "core": 0}) {
		t.Errorf("the connector's memory, which holds the key, may reach a disk: %v", u)
	}
	for _, p := range f.problems() {
		t.Error(p)
	}
	used := map[string]bool{}
	for _, s := range f.Services {
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			used["volume "+source] = true
		}
		for _, name := range s.Secrets {
			used["secret "+name] = true
		}
		for _, name := range s.Networks {
			used["network "+name] = true
		}
	}
	for name := range f.Volumes {
		if !used["volume "+name] {
			t.Errorf("the volume %s is declared and not used", name)
		}
	}
	for name := range f.Networks {
		if !used["network "+name] {
			t.Errorf("the network %s is declared and not used", name)
		}
	}
	for name, s := range f.Secrets {
		if !used["secret "+name] {
			t.Errorf("the secret %s is declared and not used", name)
		}
		if s.File != "./deploy/secrets/"+name {
			t.Errorf("the secret %s is read from %q, where deploy/prepare.sh does not make it", name, s.File)
		}
	}
}

// TestComposeFileRefuses shows that each of the checks can fail.
func TestComposeFileRefuses(t *testing.T) {
	const head = "services:\n  a: {image: \"x:1\", networks: [n], healthcheck: {test: [\"CMD\", \"true\"]}}\n"
	const foot = "\nnetworks: {n: {}, hidden: {internal: true}}\nvolumes: {v: {}}\nsecrets: {s: {file: ./s}}\n"
	const well = "healthcheck: {test: [\"CMD\", \"true\"]}"
	for service, want := range map[string]string{
		"{" + well + ", networks: [n]}":                                                                             "neither image nor build",
		"{image: postgres, " + well + ", networks: [n]}":                                                            "not pinned",
		"{image: 'postgres:latest', " + well + ", networks: [n]}":                                                   "not pinned",
		"{image: 'x:1', networks: [n]}":                                                                             "no health check",
		"{image: 'x:1', " + well + ", networks: [n], environment: {POSTGRES_PASSWORD: abc}}":                        "looks like a secret",
		"{image: 'x:1', " + well + ", networks: [n], environment: {POSTGRES_PWD: abc}}":                             "looks like a secret",
		"{image: 'x:1', " + well + ", networks: [n], environment: {VAULT_TOKEN: abc}}":                              "looks like a secret",
		"{image: 'x:1', " + well + ", networks: [n], depends_on: {c: {condition: service_healthy}}}":                "no service",
		"{image: 'x:1', " + well + ", networks: [n], depends_on: {a: {}}}":                                          "without a condition",
		"{image: 'x:1', " + well + ", networks: [n], depends_on: {a: {condition: service_completed_successfully}}}": "never ends",
		"{image: 'x:1', " + well + ", networks: [n], volumes: ['w:/w']}":                                            "not declared as a volume",
		"{image: 'x:1', " + well + ", networks: [n], secrets: [t]}":                                                 "not declared",
		"{image: 'x:1', " + well + ", networks: [m]}":                                                               "not declared",
		"{image: 'x:1', " + well + "}":                                                                              "names no network",
		"{image: 'x:1', " + well + ", networks: [n], ports: ['80:80']}":                                             "more than this host",
		"{image: 'x:1', " + well + ", networks: [hidden], ports: ['127.0.0.1:80:80']}":                              "internal networks only",
	} {
		f, err := parseCompose([]byte(head + "  b: " + service + foot))
		if err != nil {
			t.Errorf("%s: %v", service, err)
			continue
		}
		if p := f.problems(); len(p) != 1 || !strings.Contains(p[0], want) {
			t.Errorf("%s: %q, want one with %q", service, p, want)
		}
	}
	if _, err := parseCompose([]byte("services: {a: {image: 'x:1', helthcheck: {}}}")); err == nil {
		t.Error("a mistyped key passes")
	}
	if f, err := parseCompose([]byte(head + foot)); err != nil || len(f.problems()) != 0 {
		t.Errorf("a good file: %v, %q", err, f.problems())
	}
}

// TestConnectorReachesTheGatewayOnly holds the promise of the connector's network.
func TestConnectorReachesTheGatewayOnly(t *testing.T) {
	f := readCompose(t)
	c := f.Services["connector"]
	if !slices.Equal(c.Networks, []string{"connectors"}) || !f.Networks["connectors"].Internal {
		t.Errorf("the connector is on %q, want one internal network", c.Networks)
	}
	if len(c.Ports) > 0 || len(c.Secrets) > 0 || !slices.Equal(c.Volumes, []string{"connector:/var/lib/holdfast-connector"}) {
		t.Errorf("the connector has ports %q, secrets %q, volumes %q", c.Ports, c.Secrets, c.Volumes)
	}
	for name, s := range f.Services {
		if slices.Contains(s.Volumes, "connector:/var/lib/holdfast-connector") && name != "connector" {
			t.Errorf("%s sees the connector's key", name)
		}
		if slices.Contains(s.Networks, "connectors") && !slices.Contains([]string{"connector", "gateway", "holdfast"}, name) {
			t.Errorf("%s is in the connector's network", name)
		}
	}
}

// TestNoCoreDumps: what has keys in its memory writes none of it into a file when it crashes.
func TestNoCoreDumps(t *testing.T) {
	for name, s := range readCompose(t).Services {
		if core, limited := s.Ulimits["core"]; s.Build != nil && s.Build.Target == "holdfastd" && (!limited || core != 0) {
			t.Errorf("%s may write core dumps", name)
		}
	}
	units, err := filepath.Glob(filepath.Join(root, "deploy/systemd/*.service"))
	if err != nil || len(units) < 3 {
		t.Fatalf("%q, %v", units, err)
	}
	for _, unit := range units {
		if b, err := os.ReadFile(unit); err != nil || !bytes.Contains(b, []byte("\nLimitCORE=0\n")) {
			t.Errorf("%s may write core dumps, %v", unit, err)
		}
	}
}

// TestMountedFilesExist looks for what is mounted from the tree, and for what the image is built from.
func TestMountedFilesExist(t *testing.T) {
	prepared, err := os.ReadFile(filepath.Join(root, "deploy/prepare.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range readCompose(t).Services {
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if made, secret := strings.CutPrefix(source, "./deploy/secrets/"); secret {
				if !bytes.Contains(prepared, []byte(made)) {
					t.Errorf("%s mounts %s, which deploy/prepare.sh does not make", name, source)
				}
			} else if strings.HasPrefix(source, "./") {
				mustExist(t, name, source)
			}
		}
		for _, arg := range slices.Concat(s.Entrypoint, s.Command) {
			if file, deployed := strings.CutPrefix(strings.TrimPrefix(arg, "-config="), "/deploy/"); deployed {
				folder := mountedAt(s, "/deploy")
				mustExist(t, name, folder+"/"+file)
			}
		}
	}
	for name := range readCompose(t).Secrets {
		stem := strings.TrimSuffix(strings.TrimSuffix(name, "_key"), "_certificate")
		if !bytes.Contains(prepared, []byte(stem)) {
			t.Errorf("deploy/prepare.sh does not make %s", name)
		}
	}
}

func mountedAt(s composeService, folder string) string {
	for _, v := range s.Volumes {
		if part := strings.Split(v, ":"); part[1] == folder {
			return part[0]
		}
	}
	return ""
}

func mustExist(t *testing.T, who, path string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, path)); errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s needs %s, which is not in the tree", who, path)
	}
}

var (
	fromLine = regexp.MustCompile(`(?m)^FROM \S+ AS (\S+)$`)
	copyLine = regexp.MustCompile(`(?m)^COPY (?:--chmod=\d+ )?([^-\s].*) \S+$`)
	goTarget = regexp.MustCompile(`-o /out/\S+ (\./\S+)`)
)

// TestDockerfile checks that the image is built from what is there, that the compose file's targets exist, and that no target runs
// as root or takes a secret.
func TestDockerfile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	stages := map[string]string{}
	at := fromLine.FindAllStringSubmatchIndex(text, -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		stages[text[m[2]:m[3]]] = text[m[0]:end]
	}
	for name, s := range readCompose(t).Services {
		if s.Build == nil {
			continue
		}
		stage, found := stages[s.Build.Target]
		if !found {
			t.Errorf("%s builds the target %q, which the Dockerfile does not have", name, s.Build.Target)
		}
		if !strings.Contains(stage, "\nUSER 10001:10001\n") {
			t.Errorf("the target %s does not say that it runs as 10001:10001", s.Build.Target)
		}
	}
	ignored := readLines(t, ".dockerignore")
	for _, m := range copyLine.FindAllStringSubmatch(text, -1) {
		for _, source := range strings.Fields(m[1]) {
			mustExist(t, "the Dockerfile", source)
			if !slices.ContainsFunc(ignored, func(l string) bool {
				k, kept := strings.CutPrefix(l, "!")
				return kept && (source == k || strings.HasPrefix(source, k+"/"))
			}) {
				t.Errorf("the Dockerfile copies %s, which .dockerignore hides", source)
			}
		}
	}
	targets := goTarget.FindAllStringSubmatch(text, -1)
	if len(targets) != 2 {
		t.Errorf("%d programs are built, want 2", len(targets))
	}
	for _, m := range targets {
		mustExist(t, "the Dockerfile", filepath.Join(m[1], "main.go"))
	}
	if m := regexp.MustCompile(`(?im)^(ARG|ENV) \S*(password|secret|token|key)\S*`).FindString(text); m != "" {
		t.Errorf("the Dockerfile takes a secret: %s", m)
	}
	if m := regexp.MustCompile(`(?m)^ARG \S+_IMAGE=(\S+)$`).FindAllStringSubmatch(text, -1); len(m) != 2 || !pinned.MatchString(m[0][1]) || !pinned.MatchString(m[1][1]) {
		t.Errorf("the base images are not pinned: %q", m)
	}
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b), "\n")
}

// TestVariablesExist checks that the programs read the HOLDFAST_ variables that deployment files set.
func TestVariablesExist(t *testing.T) {
	known := map[string]bool{"HOLDFAST_VERSION": true} // of the compose file itself
	name := regexp.MustCompile(`HOLDFAST_[A-Z_]+`)
	for _, pattern := range []string{"worker/*.go", "starter/*.go", "internal/devserver/*.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil && !strings.HasSuffix(file, "_test.go") {
				for _, v := range name.FindAllString(string(b), -1) {
					known[v] = true
				}
			}
		}
	}
	for _, file := range []string{"docker-compose.yml", "Dockerfile", "deploy/README.md", "docs/operations.md"} {
		for i, line := range readLines(t, file) {
			for _, v := range name.FindAllString(line, -1) {
				if !known[v] {
					t.Errorf("%s:%d sets %s, which no program reads", file, i+1, v)
				}
			}
		}
	}
}

// TestSearchAttributes compares what the one-shot service makes with what every worker asks for.
func TestSearchAttributes(t *testing.T) {
	want := map[string]string{}
	for _, a := range []interface {
		GetName() string
		GetValueType() enums.IndexedValueType
	}{workflows.TenantAttribute, workflows.AppAttribute, workflows.StageAttribute, workflows.AwaitingAttribute, workflows.OutcomeAttribute} {
		want[a.GetName()] = a.GetValueType().String()
	}
	got := map[string]string{}
	made := regexp.MustCompile(`^attribute (\w+) (\w+)$`)
	for _, line := range readLines(t, "deploy/temporal/namespace.sh") {
		if m := made.FindStringSubmatch(line); m != nil {
			got[m[1]] = m[2]
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("deploy/temporal/namespace.sh makes %v, workers ask for %v", got, want)
	}
}

// TestPreparedPayloadKeys runs deploy/prepare.sh in a copy, twice: what it makes is what workers and gateways read, and stays as it is.
func TestPreparedPayloadKeys(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, "deploy/prepare.sh"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "prepare.sh"), script, 0o700); err != nil {
		t.Fatal(err)
	}
	var made [2][]byte
	for i := range made {
		if out, err := exec.CommandContext(t.Context(), filepath.Join(folder, "prepare.sh")).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if made[i], err = os.ReadFile(filepath.Join(folder, "secrets", "payload_keys")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("a second run made other payload keys")
	}
	if ring, err := payload.ParseKeyring(made[0]); err != nil || len(ring.IDs()) != 1 {
		t.Errorf("%v, %v", ring, err)
	}
}
