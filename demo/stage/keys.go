package stage

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // the store's driver

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// generation is one of the customer's ekeys, as only the customer has it.
type generation struct {
	number int
	ekey   []byte
}

// Secrets are everything secret on this stage: every ekey and what derives from it, the connector's identity, the Vault's keys, the
// passwords.
func (s *Stage) Secrets() ([]Secret, error) {
	generations, err := s.generations()
	if err != nil {
		return nil, err
	}
	var secrets []Secret
	for _, g := range generations {
		derived, err := derive(g)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, Secret{fmt.Sprintf("ekey %d", g.number), g.ekey}, Secret{fmt.Sprintf("the repository's password %d", g.number), derived})
	}
	key, err := s.readKeyFile(s.ConnectorKey())
	switch {
	case err == nil:
		secrets = append(secrets, Secret{"the connector's identity", key.Identity}, Secret{"the connector's recipient key", key.Recipient})
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	if s.Vault != nil {
		secrets = append(secrets, Secret{"the Vault's root token", []byte(s.Vault.RootToken)}, Secret{"the Vault's unseal key", []byte(s.Vault.UnsealKey)})
	}
	for _, name := range []string{"ldap-password", "client-secret", workerSecret, provisioningSecret} {
		if v, err := os.ReadFile(s.Path("sandbox", name)); err == nil {
			secrets = append(secrets, Secret{"the " + name, v})
		}
	}
	return secrets, nil
}

func derive(g generation) ([]byte, error) {
	lease, err := backup.NewLease(slices.Clone(g.ekey), g.number, 0)
	if err != nil {
		return nil, err
	}
	defer lease.Close()
	password, err := lease.RepositoryPassword(Tenant, Tenant)
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(password)
}

// EKey is the customer's newest ekey.
func (s *Stage) EKey() (*backup.Lease, error) {
	generations, err := s.generations()
	if err != nil {
		return nil, err
	}
	if len(generations) == 0 {
		return nil, errors.New("the customer has no ekey yet")
	}
	g := generations[len(generations)-1]
	return backup.NewLease(g.ekey, g.number, 0)
}

// EKeys are all that the customer still has, by generation.
func (s *Stage) EKeys() (map[int]*backup.Lease, error) {
	generations, err := s.generations()
	leases := map[int]*backup.Lease{}
	for _, g := range generations {
		lease, made := backup.NewLease(g.ekey, g.number, 0)
		leases[g.number], err = lease, errors.Join(err, made)
	}
	return leases, err
}

// generations reads the key file and asks the Vault, in order of their numbers.
func (s *Stage) generations() ([]generation, error) {
	var all []generation
	key, err := s.readKeyFile(s.ConnectorKey())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, g := range key.Generations {
		all = append(all, generation{g.Number, g.EKey})
	}
	if s.Vault != nil {
		wrapped, err := s.unwrapped(context.Background())
		if err != nil {
			return nil, err
		}
		all = append(all, wrapped...)
	}
	slices.SortFunc(all, func(a, b generation) int { return cmp.Compare(a.number, b.number) })
	return all, nil
}

// connectorKey is what is secret in a connector's key file.
type connectorKey struct {
	Identity, Recipient []byte
	Generations         []struct {
		Number int
		EKey   []byte
	}
}

func (s *Stage) readKeyFile(file string) (key connectorKey, err error) {
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &key)
	}
	return key, err
}

// unwrapped are the ekeys that the store keeps wrapped, as the customer's own Vault opens them for its root.
func (s *Stage) unwrapped(ctx context.Context) ([]generation, error) {
	store, err := sql.Open("sqlite", "file:"+s.Path("holdfast", "holdfast.db")+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer store.Close()
	rows, err := store.QueryContext(ctx, `SELECT generation, wrapped FROM ekey WHERE tenant = ? AND wrapped <> '' ORDER BY generation`, Tenant)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []generation
	for rows.Next() {
		var number int
		var wrapped string
		if err := rows.Scan(&number, &wrapped); err != nil {
			return nil, err
		}
		ekey, err := s.unwrap(ctx, number, wrapped)
		if err != nil && strings.Contains(err.Error(), "disallowed by policy (too old)") {
			continue // it is being retired: not even the customer has it any more
		}
		if err != nil {
			return nil, err
		}
		all = append(all, generation{number, ekey})
	}
	return all, rows.Err()
}

func (s *Stage) unwrap(ctx context.Context, number int, wrapped string) ([]byte, error) {
	bound := fmt.Sprintf("holdfast ekey v1\x00%s\x00%s\x00%d", Tenant, Tenant, number)
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	in := map[string]string{"ciphertext": wrapped, "context": base64.StdEncoding.EncodeToString([]byte(bound))}
	err := s.Vault.Put(ctx, "transit/decrypt/t-"+Tenant, in, &out)
	return out.Plaintext, err
}
