package vault

import (
	"context"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Writer also writes and destroys secrets, in key-value engines of version 2: those compare before they write, so that nothing is
// overwritten, and can destroy every version of a secret. References are those of Reader.
type Writer struct{ *Reader }

// saysNoMatch is how a server refuses a write to a place that is taken; the same in Vault 1.21 and OpenBao 2.4.
const saysNoMatch = "check-and-set parameter did not match"

// Put writes a secret of one field where none is. CodeNotAllowed where there is one, or was one whose versions are still kept, or where the
// engine is of version 1. The caller wipes value; what the library's buffers had of it is beyond us.
func (w Writer) Put(ctx context.Context, reference string, value []byte) error {
	s, err := w.secret(ctx, reference)
	if err != nil {
		return err
	}
	in := map[string]any{"options": map[string]int{"cas": 0}, "data": map[string]string{s.field: string(value)}}
	err = w.session.call(ctx, http.MethodPut, s.at("data"), in, nil)
	if e := backup.AsError(err); err != nil && strings.Contains(e.Message, saysNoMatch) {
		return customer(backup.CodeNotAllowed, w.session.server.says("there is a secret at "+s.path+", or was one, and it is not overwritten"),
			"look at it: `vault kv metadata get "+s.path+"`; when it is of no use any more, `vault kv metadata delete "+s.path+"`")
	}
	return err
}

// Remove destroys a secret with every version of it; one that is not there is as good. CodeNotAllowed when it has other fields, which
// would go with it.
func (w Writer) Remove(ctx context.Context, reference string) error {
	s, err := w.secret(ctx, reference)
	if err != nil {
		return err
	}
	found, err := w.fields(ctx, s.path, s.mount, "2")
	if err != nil && !backup.HasCode(err, backup.CodeNotFound) { // its newest version may be deleted, and the older ones are there
		return err
	}
	for name, value := range found {
		clear(value)
		if name != s.field {
			return customer(backup.CodeNotAllowed, w.session.server.says("the secret at "+s.path+" has other fields than "+s.field+", which would be destroyed with it"),
				"move them elsewhere, or destroy it by hand: `vault kv metadata delete "+s.path+"`")
		}
	}
	return w.session.call(ctx, http.MethodDelete, s.at("metadata"), nil, nil)
}

// place is where a secret of an engine of version 2 is.
type place struct{ mount, path, field string }

// at is the secret's path in one of the engine's branches: data or metadata.
func (p place) at(branch string) string {
	return p.mount + branch + "/" + strings.TrimPrefix(p.path, p.mount)
}

func (w Writer) secret(ctx context.Context, reference string) (place, error) {
	path, field, err := parseReference(reference)
	if err != nil {
		return place{}, err
	}
	mount, version, err := w.engineOf(ctx, path)
	if err != nil {
		return place{}, err
	}
	if version != "2" {
		return place{}, customer(backup.CodeNotAllowed, w.session.server.says("the engine of "+path+" is no key-value engine of version 2, or the login may not use it"),
			"name a path in one of version 2 (`vault secrets enable -path=kv -version=2 kv`), with the policy deploy/vault/holdfast-connector.hcl")
	}
	return place{mount, path, field}, nil
}
