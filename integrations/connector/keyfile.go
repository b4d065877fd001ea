package connector

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	keyFileVersion = 1
	maxKeyFile     = 64 << 10
	maxWorkers     = 64
)

// Setup is what a connector is told when its key file is made. Nothing in it is secret.
type Setup struct {
	Connector string
	Tenant    string
	// Workers are the public identities of the workers that may ask.
	Workers []string
	// Gateway is https://host[:port]; GatewayCA the PEM certificates that its certificate must come from.
	Gateway   string
	GatewayCA []byte
}

// KeyFile is a connector's key file in memory. What is secret in it has no exported field and is not printed.
type KeyFile struct {
	Setup
	Generation int // of the ekey

	identity Identity
	ekey     []byte
}

// keyFileForm is the file: JSON, byte fields as base64.
type keyFileForm struct {
	Version    int      `json:"version"`
	Connector  string   `json:"connector"`
	Tenant     string   `json:"tenant"`
	Identity   []byte   `json:"identity"` // the 32-byte seed of RFC 8032
	EKey       []byte   `json:"ekey"`
	Generation int      `json:"generation"`
	Workers    []string `json:"workers"`
	Gateway    string   `json:"gateway"`
	GatewayCA  string   `json:"gatewayCA"`
}

// CreateKeyFile makes a connector's identity and its tenant's first ekey, writes them to path (mode 0600) and returns the public
// identity, which goes into the tenant's file. A file that is there already is never replaced: it may hold the only ekey.
func CreateKeyFile(path string, s Setup) (publicIdentity string, err error) {
	identity, err := NewIdentity()
	if err != nil {
		return "", err
	}
	k := &KeyFile{Setup: s, Generation: 1, identity: identity, ekey: make([]byte, backup.EKeySize)}
	defer k.Wipe()
	rand.Read(k.ekey)
	return identity.Public(), k.create(path)
}

func (k *KeyFile) create(path string) error {
	if err := k.check(); err != nil {
		return err
	}
	content, err := json.MarshalIndent(keyFileForm{
		Version: keyFileVersion, Connector: k.Connector, Tenant: k.Tenant, Identity: k.identity.private.Seed(), EKey: k.ekey,
		Generation: k.Generation, Workers: k.Workers, Gateway: k.Gateway, GatewayCA: string(k.GatewayCA),
	}, "", "  ")
	if err != nil {
		return errors.New("the key file could not be encoded")
	}
	defer clear(content)
	err = createSecretFile(path, append(content, '\n'))
	if errors.Is(err, fs.ErrExist) {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " exists and is not replaced",
			Hint: "it may hold the only copy of an ekey: use it, or name another file"}
	}
	if err != nil {
		return fileError("the key file could not be written", path, err)
	}
	return nil
}

// LoadKeyFile reads a key file. It refuses one that others may read, and its errors never show what is in it.
func LoadKeyFile(path string) (*KeyFile, error) {
	content, err := readSecretFile(path, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "there is no key file " + path,
			Hint: "make one, or name the one that was made"}
	}
	if err != nil {
		return nil, err
	}
	defer clear(content)
	k, err := parseKeyFile(content)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " is not a good key file",
			Hint: "put it back from its copy", Cause: err}
	}
	return k, nil
}

func parseKeyFile(content []byte) (*KeyFile, error) {
	var f keyFileForm
	err := decode(content, maxKeyFile, &f)
	defer func() { clear(f.Identity) }()
	if err == nil && f.Version != keyFileVersion {
		err = fmt.Errorf("its version is %d, this program reads %d", f.Version, keyFileVersion)
	}
	if err == nil && len(f.Identity) != ed25519.SeedSize {
		err = errors.New("its identity has a wrong length")
	}
	if err != nil {
		clear(f.EKey)
		return nil, err
	}
	k := &KeyFile{
		Setup:      Setup{Connector: f.Connector, Tenant: f.Tenant, Workers: f.Workers, Gateway: f.Gateway, GatewayCA: []byte(f.GatewayCA)},
		Generation: f.Generation, identity: Identity{ed25519.NewKeyFromSeed(f.Identity)}, ekey: f.EKey,
	}
	if err := k.check(); err != nil {
		k.Wipe()
		return nil, err
	}
	return k, nil
}

// Identity is the connector's public identity.
func (k *KeyFile) Identity() string { return k.identity.Public() }

func (k *KeyFile) String() string {
	return fmt.Sprintf("key file of connector %q of tenant %q", k.Connector, k.Tenant)
}

// GoString keeps %#v from printing the ekey.
func (k *KeyFile) GoString() string { return k.String() }

// Wipe overwrites the ekey and the identity; the key file is of no use afterwards.
func (k *KeyFile) Wipe() {
	clear(k.ekey)
	clear(k.identity.private)
}

func (k *KeyFile) check() error {
	if len(k.ekey) != backup.EKeySize || k.Generation < 1 || !isCounter(k.Generation) {
		return badSetup("the ekey or its generation is not good")
	}
	return k.Setup.check()
}

func (s Setup) check() error {
	switch {
	case !connectorName.MatchString(s.Connector):
		return badSetup("the connector's name is not good: letters, digits, dots, dashes, at most 63")
	case !tenantName.MatchString(s.Tenant):
		return badSetup("the tenant's name is not good: lower-case letters, digits, dashes, at most 41")
	case len(s.Workers) == 0 || len(s.Workers) > maxWorkers:
		return badSetup(fmt.Sprintf("between 1 and %d worker identities are pinned", maxWorkers))
	case s.pool() == nil:
		return badSetup("the gateway's CA is not a PEM certificate")
	}
	for _, w := range s.Workers {
		if _, err := ParseIdentity(w); err != nil {
			return badSetup("a worker's identity is not good: " + err.Error())
		}
	}
	if u, err := url.Parse(s.Gateway); err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return badSetup("the gateway is not https://host[:port]")
	}
	return nil
}

// pool trusts the pinned CA alone; nil when there is no certificate.
func (s Setup) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.GatewayCA) {
		return nil
	}
	return pool
}

func badSetup(message string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message, Hint: "look at what the connector was set up with"}
}
