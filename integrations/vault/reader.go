package vault

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Reader reads secrets of the key-value engines (version 1 and 2) of one server, by "path#field": the path as the vault command line
// takes it, secret/holdfast/ldap#password.
type Reader struct {
	session *session
	pool    *pool
}

// NewReader makes a reader; secrets resolves what the login refers to. The caller closes it. Errors: CodeBadConfig.
func NewReader(server Server, login backup.VaultLogin, secrets Secrets) (*Reader, error) {
	p := newPool(secrets)
	s, err := p.session(server, login)
	if err != nil {
		return nil, err
	}
	return &Reader{s, p}, nil
}

// Close ends the login's renewal.
func (r *Reader) Close() error {
	r.pool.close()
	return nil
}

// Read returns one field of the newest version of a secret. The caller wipes it. Errors are those of Transit, and CodeBadConfig for a
// path without a field, a secret that is not there or was deleted, or a field that is not there or not text.
func (r *Reader) Read(ctx context.Context, reference string) ([]byte, error) {
	path, field, err := parseReference(reference)
	if err != nil {
		return nil, err
	}
	mount, version, err := r.engineOf(ctx, path)
	if err != nil {
		return nil, err
	}
	fields, err := r.fields(ctx, path, mount, version)
	if backup.HasCode(err, backup.CodeNotFound) {
		missing := badConfig(r.session.server.says("there is no secret at "+path), "`vault kv put "+path+" "+field+"=-` writes one")
		missing.Cause = err // tells it from other settings that are not good
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	return fields.take(path, field)
}

func parseReference(reference string) (path, field string, err error) {
	path, field, ok := strings.Cut(reference, "#")
	if !ok || field == "" || !goodPath(path) {
		return "", "", badConfig("the secret "+excerpt(reference)+" is not named by path#field", "for example vault:secret/holdfast/ldap#password")
	}
	return path, field, nil
}

// engineOf asks which engine serves a path. A server that does not tell is taken at its word: the path is then the one of the API.
func (r *Reader) engineOf(ctx context.Context, path string) (mount, version string, err error) {
	var found struct {
		Path    string
		Options struct{ Version string }
	}
	err = r.session.call(ctx, http.MethodGet, "sys/internal/ui/mounts/"+path, nil, &found)
	if err != nil && !backup.HasCode(err, backup.CodeDenied) {
		return "", "", err
	}
	return found.Path, found.Options.Version, nil
}

// fields are the values of a secret, still as JSON.
type fields map[string]json.RawMessage

func (r *Reader) fields(ctx context.Context, path, mount, version string) (fields, error) {
	var found fields
	if version != "2" {
		err := r.session.call(ctx, http.MethodGet, path, nil, &found)
		return found, err
	}
	var wrapped struct{ Data fields }
	err := r.session.call(ctx, http.MethodGet, mount+"data/"+strings.TrimPrefix(path, mount), nil, &wrapped)
	return wrapped.Data, err
}

// take returns one field and wipes all as JSON.
func (f fields) take(path, field string) ([]byte, error) {
	defer func() {
		for _, value := range f {
			clear(value)
		}
	}()
	value, ok := f[field]
	if !ok {
		return nil, badConfig("the secret at "+path+" has no field "+excerpt(field), "`vault kv patch "+path+" "+url.PathEscape(field)+"=-` writes one")
	}
	var text string
	if json.Unmarshal(value, &text) != nil || text == "" {
		return nil, badConfig("the field "+excerpt(field)+" of the secret at "+path+" is empty or not text", "write it as a string")
	}
	return []byte(text), nil
}
