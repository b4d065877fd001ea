package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// maxProfile bounds client.json in bytes.
const maxProfile = 64 << 10

// settings is how this machine reaches its Holdfast: client.json of the state folder, with the environment above it.
type settings struct {
	readapi.Profile
}

// errNotSetUp: neither client.json nor the environment names a gateway.
var errNotSetUp = &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "no Holdfast is set up here"}

func (p *program) stateFolder() string {
	if p.state != "" {
		return p.state
	}
	if s := p.getenv("HOLDFAST_STATE"); s != "" {
		return s
	}
	if s := p.getenv("XDG_DATA_HOME"); s != "" {
		return filepath.Join(s, "holdfast")
	}
	return filepath.Join(p.getenv("HOME"), ".local", "share", "holdfast")
}

func (p *program) settings() (settings, error) {
	var s settings
	if err := readProfile(filepath.Join(p.stateFolder(), "client.json"), &s.Profile); err != nil {
		return s, err
	}
	for name, field := range map[string]*string{
		"HOLDFAST_GATEWAY": &s.Gateway, "HOLDFAST_CA_FILE": &s.CAFile, "HOLDFAST_TOKEN_FILE": &s.TokenFile, "HOLDFAST_USER": &s.User,
		"HOLDFAST_PAYLOAD_KEYS": (*string)(&s.PayloadKeys),
	} {
		if v := p.getenv(name); v != "" {
			*field = v
		}
	}
	return s, nil
}

// readProfile leaves the profile empty when there is no file.
func readProfile(file string, profile *readapi.Profile) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return badProfile(file, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProfile))
	if err == nil {
		err = json.Unmarshal(b, profile)
	}
	if err != nil {
		return badProfile(file, err)
	}
	return nil
}

func badProfile(file string, err error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: file + " cannot be used", Hint: "holdfastd dev writes it anew", Cause: err}
}

// who is the person in whose name a command acts.
func (s settings) who(by string) (string, error) {
	if by != "" {
		return by, nil
	}
	if s.User != "" {
		return s.User, nil
	}
	return "", &usageError{errors.New("who are you? Give --by NAME or set HOLDFAST_USER to a name under administrators in the tenant's file")}
}

// startHint says how to start what does not answer.
func (p *program) startHint(hint string) string {
	if p.getenv("TEMPORAL_ADDRESS") != "" || p.getenv("HOLDFAST_GATEWAY") != "" {
		return "look at TEMPORAL_ADDRESS and HOLDFAST_GATEWAY, and whether holdfastd runs there"
	}
	if hint != "" && hint != "holdfastd dev" {
		return hint
	}
	return "holdfastd dev --state " + p.stateFolder() + "   (it is probably not running)"
}
