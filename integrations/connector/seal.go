package connector

import (
	"crypto/ed25519"
	"crypto/hpke"
	"errors"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The HPKE suite of version 1 (RFC 9180, base mode): the hybrid of ML-KEM-768 and X25519, so that what is recorded today stays
// closed to a quantum computer tomorrow. Base mode does not authenticate the sender; the connector's signature does.
var (
	kem  = hpke.MLKEM768X25519()
	kdf  = hpke.HKDFSHA256()
	aead = hpke.AES256GCM()
)

// Sizes in bytes that the suite gives.
const (
	recipientSize  = 1184 + 32            // ML-KEM-768 encapsulation key, X25519 public key
	encSize        = 1088 + 32            // ML-KEM-768 ciphertext, X25519 ephemeral key
	ciphertextSize = backup.EKeySize + 16 // ekey and AES-GCM tag
	signatureSize  = ed25519.SignatureSize
)

var errNotOpened = errors.New("the sealed key did not open")

// recipient is the private half of a key made for one request. It never leaves the process and is dropped after use.
type recipient struct{ private hpke.PrivateKey }

func newRecipient() (*recipient, error) {
	private, err := kem.GenerateKey()
	return &recipient{private}, err
}

func (to *recipient) public() []byte { return to.private.PublicKey().Bytes() }

// open gives the ekey of a release that was sealed for r. The caller owns and wipes the bytes.
func (to *recipient) open(r Request, release Release) ([]byte, error) {
	context := r.statement()
	box, err := hpke.NewRecipient(release.Enc, to.private, kdf, aead, context)
	if err != nil {
		return nil, errNotOpened
	}
	ekey, err := box.Open(context, release.Ciphertext)
	if err != nil || len(ekey) != backup.EKeySize {
		clear(ekey)
		return nil, errNotOpened
	}
	return ekey, nil
}

// sealFor seals the ekey to the recipient that r names, with the whole of r as both info and associated data.
func sealFor(r Request, ekey []byte, generation int) (*Release, error) {
	public, err := kem.NewPublicKey(r.Recipient)
	if err != nil {
		return nil, errMalformed
	}
	context := r.statement()
	enc, box, err := hpke.NewSender(public, kdf, aead, context)
	if err != nil {
		return nil, errMalformed
	}
	ciphertext, err := box.Seal(context, ekey)
	if err != nil {
		return nil, err
	}
	return &Release{Generation: generation, Enc: enc, Ciphertext: ciphertext}, nil
}
