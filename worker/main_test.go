package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A mistake in the command line has an exit code of its own, so that a script can tell it from a failure.
func TestMistakesInTheCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"backup"}, {"--bogus"}, {"run", "now"}, {"connector"}, {"connector", "make"}, {"connector", "new"}, {"gateway", "--listen"},
		{"run", "--state", t.TempDir(), "--log-level", "loud"},
	} {
		if code := execute(t.Context(), args); code != exitUsage {
			t.Errorf("holdfastd %q ends with %d, want %d", args, code, exitUsage)
		}
	}
	for _, args := range [][]string{{"--help"}, {"--version"}, {"connector", "new", "--help"}} {
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(new(bytes.Buffer))
		if err := root.Execute(); err != nil {
			t.Errorf("holdfastd %q: %v", args, err)
		}
	}
}

// `dev` starts a server of its own unless the environment leads to another, as Dial understands it: a profile file that lies about for
// other purposes does not.
func TestDevUsesTheTemporalThatIsNamed(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "temporalio", "temporal.toml")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "[profile.default]\naddress = \"elsewhere.example:7233\"\n[profile.prod]\naddress = \"prod.example:7233\"\nnamespace = \"backups\"\n[profile.empty]\nnamespace = \"x\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env                map[string]string
		address, namespace string
	}{
		"nothing":                   {},
		"an address":                {map[string]string{"TEMPORAL_ADDRESS": "here.example:1"}, "here.example:1", "default"},
		"an address and a space":    {map[string]string{"TEMPORAL_ADDRESS": "here.example:1", "TEMPORAL_NAMESPACE": "n"}, "here.example:1", "n"},
		"a profile":                 {map[string]string{"TEMPORAL_PROFILE": "prod"}, "prod.example:7233", "backups"},
		"a file":                    {map[string]string{"TEMPORAL_CONFIG_FILE": file}, "elsewhere.example:7233", "default"},
		"a profile without address": {map[string]string{"TEMPORAL_PROFILE": "empty"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", home)
			for _, v := range []string{"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"} {
				t.Setenv(v, c.env[v]) // restores it afterwards
				if c.env[v] == "" {
					os.Unsetenv(v)
				}
			}
			got, err := namedTemporal()
			if err != nil || got.TemporalAddress != c.address || got.TemporalNamespace != c.namespace {
				t.Errorf("got %q %q, %v, want %q %q", got.TemporalAddress, got.TemporalNamespace, err, c.address, c.namespace)
			}
		})
	}
}
