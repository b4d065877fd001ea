// Package tenantfile reads the YAML file that describes a tenant.
//
// The file's shape is the published JSON Schema tenant.schema.json beside this package; what a schema cannot say well is in
// rules.go. A bad file is reported once and completely: every problem with its path, line and column, and what to write
// instead. No value of the file is ever repeated in a problem, because a value at the wrong place may be a secret.
package tenantfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxSize bounds a tenant file in bytes; a real one has about two thousand.
const maxSize = 256 << 10

// Read reads and checks a tenant file. Relative paths in it are taken from the file's own folder. The error is a *Problems when
// the content is bad, and an *fs.PathError when it cannot be read.
func Read(path string) (backup.Tenant, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.Tenant{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return backup.Tenant{}, err
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return backup.Tenant{}, err
	}
	t, err := Parse(data, folder)
	if p := (*Problems)(nil); errors.As(err, &p) {
		p.File = path
	}
	return t, err
}

// Parse checks a tenant's description; folder is absolute, and where relative paths begin. The error is a *Problems.
func Parse(data []byte, folder string) (backup.Tenant, error) {
	tree, problems := parseTree(data)
	if len(problems) > 0 {
		return backup.Tenant{}, sorted(problems)
	}
	problems = append(checkSchema(tree), checkRules(tree)...)
	if len(problems) > 0 {
		return backup.Tenant{}, sorted(problems)
	}
	t, err := decode(tree)
	if err != nil {
		return backup.Tenant{}, sorted([]Problem{tree.problem(nil, "the file does not describe a tenant", "compare with the published schema")})
	}
	applyDefaults(&t)
	if problems := resolve(tree, &t, folder); len(problems) > 0 {
		return backup.Tenant{}, sorted(problems)
	}
	return t, nil
}

// decode goes through JSON, because the struct's JSON names are the file's names.
func decode(tree *tree) (backup.Tenant, error) {
	var t backup.Tenant
	b, err := json.Marshal(tree.value)
	if err != nil {
		return t, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return t, d.Decode(&t)
}

// Problem is one thing that is wrong with a file.
type Problem struct {
	// Path names the field, for example key.connectors[0].identity; empty for the file as a whole.
	Path string `json:"path"`
	// Line and Column count from 1.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Message says what is wrong, Fix what to write instead. Neither repeats a value of the file.
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// Problems is everything that is wrong with a file, in the order of its lines.
type Problems struct {
	File string    `json:"file"`
	List []Problem `json:"problems"`
}

func (p *Problems) Error() string {
	if len(p.List) == 1 {
		return fmt.Sprintf("%s has a problem", firstOf(p.File, "the tenant file"))
	}
	return fmt.Sprintf("%s has %d problems", firstOf(p.File, "the tenant file"), len(p.List))
}

func firstOf(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}
