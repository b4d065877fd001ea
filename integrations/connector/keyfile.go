package connector

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	keyFileVersion = 1
	maxKeyFile     = 256 << 10
	maxWorkers     = 64
	// maxHeld bounds the generations in a key file; usually there are one or two.
	maxHeld = 64
	// maxEnded bounds what is remembered of generations that were given up; the oldest are forgotten first.
	maxEnded = 256
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
	// EKeySource says where the ekeys are kept outside of the key file, see NewEKeySource; empty: in it.
	EKeySource string
}

// KeyFile is a connector's key file in memory. What is secret in it has no exported field and is not printed.
type KeyFile struct {
	Setup
	// Generations are those of the ekey that the connector holds, by number; the last one is the current one. There may be none: a
	// connector that joined waits for its share.
	Generations []Generation
	// Ended are those that it gave up.
	Ended []Ended

	identity Identity
	sealed   *recipient // opens what another connector seals to this one
}

// keyFileForm is the file: JSON, byte fields as base64.
type keyFileForm struct {
	Version     int              `json:"version"`
	Connector   string           `json:"connector"`
	Tenant      string           `json:"tenant"`
	Identity    []byte           `json:"identity"`  // the 32-byte seed of RFC 8032
	Recipient   []byte           `json:"recipient"` // the 32-byte private key of the HPKE suite's KEM
	Generations []generationForm `json:"generations"`
	Ended       []Ended          `json:"ended,omitempty"`
	Workers     []string         `json:"workers"`
	Gateway     string           `json:"gateway"`
	GatewayCA   string           `json:"gatewayCA"`
	EKeySource  string           `json:"ekeySource,omitempty"`
}

type generationForm struct {
	Number int       `json:"number"`
	Made   time.Time `json:"made"`
	Check  string    `json:"check"`
	EKey   []byte    `json:"ekey,omitempty"` // absent when it is kept elsewhere
}

func (f *keyFileForm) wipe() {
	clear(f.Identity)
	clear(f.Recipient)
	for _, g := range f.Generations {
		clear(g.EKey)
	}
}

// NewKeyFile makes a connector's identity and its recipient key, in memory. It holds no ekey yet: the first is made when a worker asks
// for it (or by Generate), and a connector that joins others is given theirs.
func NewKeyFile(s Setup) (*KeyFile, error) {
	identity, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	sealed, err := newRecipient()
	if err != nil {
		return nil, err
	}
	k := &KeyFile{Setup: s, identity: identity, sealed: sealed}
	return k, k.check()
}

// Generate makes a generation of the ekey in a key file that is not stored yet; a stored one changes through its KeyStore.
func (k *KeyFile) Generate(number int, now time.Time) error {
	g, err := newGeneration(k.Tenant, number, newEKey(), now)
	if err != nil {
		return err
	}
	k.add(g)
	return k.check()
}

// encode is the file's content; the caller wipes it.
func (k *KeyFile) encode() ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	recipient, err := k.sealed.private.Bytes()
	if err != nil {
		return nil, errors.New("the recipient key could not be encoded")
	}
	f := keyFileForm{
		Version: keyFileVersion, Connector: k.Connector, Tenant: k.Tenant, Identity: k.identity.private.Seed(),
		Recipient:   slices.Clone(recipient), // what Bytes returns is the key's own seed, and the form is wiped
		Generations: []generationForm{}, Ended: k.Ended, Workers: k.Workers, Gateway: k.Gateway, GatewayCA: string(k.GatewayCA),
		EKeySource: k.EKeySource,
	}
	defer f.wipe()
	for _, g := range k.Generations {
		f.Generations = append(f.Generations, generationForm{g.Number, g.Made, g.Check, slices.Clone(g.ekey)})
	}
	content, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, errors.New("the key file could not be encoded")
	}
	return append(content, '\n'), nil
}

// parseKeyFile reads what encode wrote. Its errors never show what is in the file.
func parseKeyFile(content []byte) (*KeyFile, error) {
	var f keyFileForm
	err := decode(content, maxKeyFile, &f)
	defer f.wipe()
	if err == nil && f.Version != keyFileVersion {
		err = fmt.Errorf("its version is %d, this program reads %d", f.Version, keyFileVersion)
	}
	if err == nil && len(f.Identity) != ed25519.SeedSize {
		err = errors.New("its identity has a wrong length")
	}
	if err != nil {
		return nil, err
	}
	private, err := kem.NewPrivateKey(f.Recipient)
	if err != nil {
		return nil, errors.New("its recipient key is not good")
	}
	k := &KeyFile{
		Setup: Setup{Connector: f.Connector, Tenant: f.Tenant, Workers: f.Workers, Gateway: f.Gateway, GatewayCA: []byte(f.GatewayCA), EKeySource: f.EKeySource},
		Ended: f.Ended, identity: Identity{ed25519.NewKeyFromSeed(f.Identity)}, sealed: &recipient{private},
	}
	for _, g := range f.Generations {
		k.Generations = append(k.Generations, Generation{g.Number, g.Made, g.Check, slices.Clone(g.EKey)})
	}
	if err := k.check(); err != nil {
		k.Wipe()
		return nil, err
	}
	return k, nil
}

// Identity is the connector's public identity.
func (k *KeyFile) Identity() string { return k.identity.Public() }

// Holds are the generations that the connector holds, by number.
func (k *KeyFile) Holds() []backup.HeldKey {
	held := make([]backup.HeldKey, 0, len(k.Generations))
	for _, g := range k.Generations {
		held = append(held, backup.HeldKey{Generation: g.Number, Check: g.Check})
	}
	return held
}

// Newest is the number of the current generation, or 0 when none is held.
func (k *KeyFile) Newest() int {
	if n := len(k.Generations); n > 0 {
		return k.Generations[n-1].Number
	}
	return 0
}

// find returns the generation of this number, or the current one for 0; nil when it is not held.
func (k *KeyFile) find(number int) *Generation {
	if number == 0 {
		number = k.Newest()
	}
	i := slices.IndexFunc(k.Generations, func(g Generation) bool { return g.Number == number })
	if i < 0 {
		return nil
	}
	return &k.Generations[i]
}

// ended tells how a generation was given up, if it was.
func (k *KeyFile) ended(number int) (Ended, bool) {
	i := slices.IndexFunc(k.Ended, func(e Ended) bool { return e.Number == number })
	if i < 0 {
		return Ended{}, false
	}
	return k.Ended[i], true
}

// add puts a generation in its place by number.
func (k *KeyFile) add(g Generation) {
	k.Generations = append(slices.Clone(k.Generations), g)
	slices.SortFunc(k.Generations, func(a, b Generation) int { return a.Number - b.Number })
}

// end gives a generation up, if it is held, and remembers it either way.
func (k *KeyFile) end(e Ended) {
	k.Generations = slices.DeleteFunc(slices.Clone(k.Generations), func(g Generation) bool { return g.Number == e.Number })
	k.Ended = slices.DeleteFunc(slices.Clone(k.Ended), func(old Ended) bool { return old.Number == e.Number })
	k.Ended = append(k.Ended, e)
	slices.SortFunc(k.Ended, func(a, b Ended) int { return a.Number - b.Number })
	k.Ended = k.Ended[max(0, len(k.Ended)-maxEnded):]
}

func (k *KeyFile) String() string {
	return fmt.Sprintf("key file of connector %q of tenant %q", k.Connector, k.Tenant)
}

// GoString keeps %#v from printing the ekey.
func (k *KeyFile) GoString() string { return k.String() }

// String keeps an ekey from being printed with its generation.
func (g Generation) String() string { return fmt.Sprintf("generation %d", g.Number) }

// GoString does the same for %#v.
func (g Generation) GoString() string { return g.String() }

// Wipe overwrites the ekeys and the identity; the key file is of no use afterwards.
func (k *KeyFile) Wipe() {
	for _, g := range k.Generations {
		clear(g.ekey)
	}
	clear(k.identity.private)
	k.sealed = nil
}

func (k *KeyFile) check() error {
	if len(k.Generations) > maxHeld || len(k.Ended) > maxEnded {
		return badSetup("there are too many generations of the ekey")
	}
	last := 0
	for _, g := range k.Generations {
		if _, gone := k.ended(g.Number); gone || g.Number <= last || !isCounter(g.Number) || !g.good(k.Tenant) {
			return badSetup("an ekey or its generation is not good")
		}
		last = g.Number
	}
	last = 0
	for _, e := range k.Ended {
		if e.Number <= last || !isCounter(e.Number) {
			return badSetup("what is remembered of old generations is not good")
		}
		last = e.Number
	}
	return k.Setup.check()
}

// good tells whether the check key is the ekey's, so that a file with a flipped bit never serves a wrong key.
func (g Generation) good(tenant string) bool {
	if g.ekey == nil {
		return isIdentity(g.Check)
	}
	check, err := checkOf(g.ekey, tenant, g.Number)
	return err == nil && len(g.ekey) == backup.EKeySize && check == g.Check
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
	if s.EKeySource != "" {
		return checkSource(s.EKeySource)
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
