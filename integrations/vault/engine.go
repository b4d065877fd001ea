package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Defaults of a KMSConfig.
const (
	defaultMount = "transit"
	keyPrefix    = "t-"
)

// keyType is AES-256 in GCM with a 96-bit nonce; a derived key has a subkey for every context.
const keyType = "aes256-gcm96"

// engine is one tenant's transit key as one login sees it.
type engine struct {
	*session
	mount, key string
}

// keyInfo is what the server tells about a transit key.
type keyInfo struct {
	Type                 string           `json:"type"`
	Derived              bool             `json:"derived"`
	Exportable           bool             `json:"exportable"`
	AllowPlaintextBackup bool             `json:"allow_plaintext_backup"`
	LatestVersion        int              `json:"latest_version"`
	MinDecryptionVersion int              `json:"min_decryption_version"`
	MinAvailableVersion  int              `json:"min_available_version"`
	Keys                 map[string]int64 `json:"keys"` // version → when it was made, in Unix seconds of the server's clock
}

// engine finds the tenant's key and the login for it: that of provisioning, or the workers'.
func (t *Transit) engine(tenant backup.Tenant, provisioning bool) (*engine, error) {
	c := tenant.Key.KMS
	if c == nil {
		return nil, badConfig("the tenant "+tenant.ID+" has no key.kms section", "say under key.kms where its Vault is and how to log in")
	}
	e := &engine{mount: c.Mount, key: c.Key}
	if e.mount == "" {
		e.mount = defaultMount
	}
	if e.key == "" {
		e.key = keyPrefix + tenant.ID
	}
	if !goodPath(e.mount) || !pathElement.MatchString(e.key) {
		return nil, badConfig("mount or key of the KMS is not a path", "for example transit and t-acme")
	}
	login := c.Login
	if provisioning && c.Provisioning != nil {
		login = *c.Provisioning
	}
	var err error
	e.session, err = t.pool.session(Server{c.Address, c.Namespace, c.CAFile}, login)
	return e, err
}

func (e *engine) path(verb string) string { return e.mount + "/" + verb + "/" + e.key }

func (e *engine) keyPath() string { return e.mount + "/keys/" + e.key }

// info returns nil when there is no such key.
func (e *engine) info(ctx context.Context) (*keyInfo, error) {
	var k keyInfo
	err := e.call(ctx, http.MethodGet, e.keyPath(), nil, &k)
	if backup.HasCode(err, backup.CodeNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &k, nil
}

// check refuses a key that does not keep what is promised of it.
func (k *keyInfo) check(e *engine) error {
	switch {
	case !k.Derived:
		return e.server.badConfig("the transit key "+e.key+" is not derived, so nothing would bind an ekey to its tenant", "make it with type="+keyType+" derived=true under another name, and name that in key.kms.key")
	case k.Exportable, k.AllowPlaintextBackup:
		return e.server.badConfig("the transit key "+e.key+" may be exported", "make one that may not, and name it in key.kms.key; this flag cannot be taken back")
	}
	return nil
}

// madeWithin tells whether the newest version is at most that old, by the server's own clock, with two seconds to spare because it tells
// whole seconds.
func (k *keyInfo) madeWithin(age time.Duration, serverNow time.Time) bool {
	made, ok := k.Keys[strconv.Itoa(k.LatestVersion)]
	return ok && serverNow.Sub(time.Unix(made, 0))+2*time.Second <= age
}

func (e *engine) serverTime(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	health, err := e.client.WithNamespace("").Sys().HealthWithContext(ctx)
	if err != nil {
		return time.Time{}, e.classify(ctx, "asking for its health", nil, err)
	}
	return time.Unix(health.ServerTimeUTC, 0), nil
}

func (e *engine) make(ctx context.Context) error {
	return e.call(ctx, http.MethodPut, e.keyPath(), map[string]any{"type": keyType, "derived": true}, nil)
}

func (e *engine) rotate(ctx context.Context) error {
	return e.call(ctx, http.MethodPut, e.keyPath()+"/rotate", struct{}{}, nil)
}

type contextual struct {
	Ciphertext string `json:"ciphertext,omitempty"`
	Context    []byte `json:"context"`
}

// dataKey lets the server make an ekey and wrap it; its plain form stays there.
func (e *engine) dataKey(ctx context.Context, binding []byte) (string, error) {
	var out struct{ Ciphertext string }
	if err := e.call(ctx, http.MethodPut, e.mount+"/datakey/wrapped/"+e.key, contextual{Context: binding}, &out); err != nil {
		return "", err
	}
	_, err := versionOf(out.Ciphertext)
	return out.Ciphertext, err
}

// decrypt returns the plain ekey. The caller wipes it.
func (e *engine) decrypt(ctx context.Context, wrapped string, binding []byte) ([]byte, error) {
	var out struct{ Plaintext []byte }
	if err := e.call(ctx, http.MethodPut, e.path("decrypt"), contextual{wrapped, binding}, &out); err != nil {
		return nil, err
	}
	if len(out.Plaintext) != backup.EKeySize {
		n := len(out.Plaintext)
		clear(out.Plaintext)
		return nil, customer(backup.CodeWrongKey, e.server.says(fmt.Sprintf("what it unwrapped has %d bytes and is no ekey", n)), "was the wrapped key made by Holdfast?")
	}
	return out.Plaintext, nil
}

func (e *engine) rewrap(ctx context.Context, wrapped string, binding []byte) (string, error) {
	var out struct{ Ciphertext string }
	if err := e.call(ctx, http.MethodPut, e.path("rewrap"), contextual{wrapped, binding}, &out); err != nil {
		return "", err
	}
	_, err := versionOf(out.Ciphertext)
	return out.Ciphertext, err
}

// forget makes every version below lowest undecipherable, and deletes them.
func (e *engine) forget(ctx context.Context, lowest int) error {
	config := map[string]any{"min_decryption_version": lowest, "min_encryption_version": lowest}
	if err := e.call(ctx, http.MethodPut, e.keyPath()+"/config", config, nil); err != nil {
		return err
	}
	return e.call(ctx, http.MethodPut, e.keyPath()+"/trim", map[string]any{"min_available_version": lowest}, nil)
}

// destroy deletes the key; one that is gone already is as good.
func (e *engine) destroy(ctx context.Context) error {
	k, err := e.info(ctx)
	if err != nil || k == nil {
		return err
	}
	if err := e.call(ctx, http.MethodPut, e.keyPath()+"/config", map[string]any{"deletion_allowed": true}, nil); err != nil {
		return err
	}
	return e.call(ctx, http.MethodDelete, e.keyPath(), nil, nil)
}

// wrappedForm is a ciphertext of transit: version, then base64.
var wrappedForm = regexp.MustCompile(`^vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]{16,512}={0,2}$`)

// versionOf reads the version of the transit key that wrapped an ekey.
func versionOf(wrapped string) (int, error) {
	found := wrappedForm.FindStringSubmatch(wrapped)
	if found == nil {
		return 0, &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultCustomer, Message: "a wrapped ekey does not have the form vault:vN:…", Hint: "is the mount a transit engine?"}
	}
	return strconv.Atoi(found[1])
}

// bindingOf is the context that a generation is wrapped under.
func bindingOf(t backup.Tenant, generation int) ([]byte, error) {
	if t.ID == "" || t.Repository.ID == "" || generation < 1 || strings.ContainsRune(t.ID+t.Repository.ID, 0) {
		return nil, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "an ekey without tenant, repository or generation", Cause: errors.ErrUnsupported}
	}
	return []byte("holdfast ekey v1\x00" + t.ID + "\x00" + t.Repository.ID + "\x00" + strconv.Itoa(generation)), nil
}
