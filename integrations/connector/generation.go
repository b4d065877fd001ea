package connector

import (
	"crypto/ed25519"
	"crypto/rand"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Generation is one generation of the tenant's ekey as a connector keeps it. What is secret in it has no exported field.
type Generation struct {
	Number int // from 1
	Made   time.Time
	// Check is the public check key (backup.CheckKey), by which the connector and everybody else recognise the ekey.
	Check string

	ekey []byte // nil when an EKeySource keeps it
}

// Ended remembers a generation that the connector gave up, so that it is neither made nor taken again.
type Ended struct {
	Number    int       `json:"number"`
	At        time.Time `json:"at"`
	Destroyed bool      `json:"destroyed,omitempty"` // and not just retired
}

// newGeneration takes ownership of ekey.
func newGeneration(tenant string, number int, ekey []byte, made time.Time) (Generation, error) {
	check, err := checkOf(ekey, tenant, number)
	return Generation{Number: number, Made: made.UTC().Truncate(time.Second), Check: check, ekey: ekey}, err
}

// newEKey draws an ekey; crypto/rand.Read cannot fail.
func newEKey() []byte {
	ekey := make([]byte, backup.EKeySize)
	rand.Read(ekey)
	return ekey
}

// checkOf is the public check key of an ekey.
func checkOf(ekey []byte, tenant string, generation int) (string, error) {
	private, err := backup.CheckKey(ekey, tenant, generation)
	if err != nil {
		return "", err
	}
	defer clear(private)
	return backup.CheckText(private.Public().(ed25519.PublicKey)), nil
}
