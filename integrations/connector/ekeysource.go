package connector

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// generationMark stands in a reference for the number of the generation.
const generationMark = "{generation}"

var sourcePattern = regexp.MustCompile(`^vault:[A-Za-z0-9._/{}-]{1,200}#[A-Za-z0-9._{}-]{1,64}$`)

// Vault is what a SecretSource needs of the customer's own Vault. Put and Remove may be nil: then an administrator puts the ekey there, and
// removes it, by hand.
type Vault struct {
	// Get reads a secret; CodeNotFound when there is none.
	Get func(ctx context.Context, ref backup.SecretRef) ([]byte, error)
	// Put stores a secret where none is.
	Put func(ctx context.Context, ref backup.SecretRef, value []byte) error
	// Remove destroys a secret and every old version of it.
	Remove func(ctx context.Context, ref backup.SecretRef) error
}

// secretSource keeps ekeys as secrets of a Vault: a generation is a secret whose text is the ekey in base64 (RFC 4648, section 4).
type secretSource struct {
	pattern string
	vault   Vault
}

// NewEKeySource keeps ekeys where pattern says, for example vault:kv/holdfast/ekey-{generation}#ekey. Each generation has a path of its
// own, so that one can be destroyed without the others.
func NewEKeySource(pattern string, v Vault) (EKeySource, error) {
	if err := checkSource(pattern); err != nil {
		return nil, err
	}
	return &secretSource{pattern, v}, nil
}

func checkSource(pattern string) error {
	path, _, _ := strings.Cut(pattern, "#")
	if !sourcePattern.MatchString(pattern) || strings.Count(path, generationMark) != 1 {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "where the ekey is kept is not well said",
			Hint: "it reads vault:PATH#FIELD, with {generation} once in PATH: vault:kv/holdfast/ekey-{generation}#ekey"}
	}
	return nil
}

func (s *secretSource) ref(generation int) backup.SecretRef {
	return backup.SecretRef(strings.ReplaceAll(s.pattern, generationMark, strconv.Itoa(generation)))
}

// EKey reads the ekey of a generation.
func (s *secretSource) EKey(ctx context.Context, generation int) ([]byte, error) {
	text, err := s.vault.Get(ctx, s.ref(generation))
	if err != nil {
		return nil, err
	}
	defer clear(text)
	ekey := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(ekey, bytes.TrimSpace(text))
	if err != nil || n != backup.EKeySize {
		clear(ekey)
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: fmt.Sprintf("%s is not an ekey", s.ref(generation)),
			Hint: fmt.Sprintf("an ekey is %d bytes in base64: head -c %d /dev/urandom | base64", backup.EKeySize, backup.EKeySize)}
	}
	return ekey[:n], nil
}

// Keep stores the ekey, or finds it there. Another one in its place stays.
func (s *secretSource) Keep(ctx context.Context, generation int, ekey []byte) error {
	there, err := s.EKey(ctx, generation)
	defer clear(there)
	switch {
	case err == nil && bytes.Equal(there, ekey):
		return nil
	case err == nil:
		return &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer, Message: fmt.Sprintf("%s holds another ekey, which is not replaced", s.ref(generation)),
			Hint: "find out whose it is; then move it away"}
	case !backup.HasCode(err, backup.CodeNotFound):
		return err
	case s.vault.Put == nil:
		return s.byHand(generation, "cannot be stored")
	}
	text := []byte(base64.StdEncoding.EncodeToString(ekey))
	defer clear(text)
	return s.vault.Put(ctx, s.ref(generation), text)
}

// Forget destroys the ekey.
func (s *secretSource) Forget(ctx context.Context, generation int) error {
	if s.vault.Remove == nil {
		there, err := s.EKey(ctx, generation)
		clear(there)
		if backup.HasCode(err, backup.CodeNotFound) {
			return nil // somebody did it
		}
		return s.byHand(generation, "cannot be destroyed")
	}
	err := s.vault.Remove(ctx, s.ref(generation))
	if backup.HasCode(err, backup.CodeNotFound) {
		return nil
	}
	return err
}

func (s *secretSource) byHand(generation int, what string) error {
	return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Message: fmt.Sprintf("the ekey %s %s by the connector", s.ref(generation), what),
		Hint: "do it by hand in the Vault, and ask again"}
}
