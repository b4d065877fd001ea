package payload

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

const (
	// Encoding is the metadata value by which a sealed payload is known.
	Encoding = "binary/encrypted"
	// MetadataKeyID is the metadata field with the key's id.
	MetadataKeyID = "encryption-key-id"

	label      = "holdfast payload v1\x00"
	saltSize   = 16
	nonceSize  = 12
	tagSize    = 16
	headerSize = 1 + saltSize
	// Overhead is by how many bytes a sealed payload's data is longer than what it holds.
	Overhead = headerSize + nonceSize + tagSize
)

// isSealed tells a payload that this package made.
func isSealed(p *commonpb.Payload) bool {
	return string(p.GetMetadata()[converter.MetadataEncoding]) == Encoding
}

// seal encrypts a payload with its metadata.
func (k key) seal(p *commonpb.Payload) (*commonpb.Payload, error) {
	plain, err := proto.Marshal(p)
	if err != nil {
		return nil, err
	}
	data := make([]byte, headerSize, len(plain)+Overhead)
	data[0] = version
	_, _ = rand.Read(data[1:]) // never fails (crypto/rand since Go 1.24)
	aead, err := k.aead(data[1:headerSize])
	if err != nil {
		return nil, err
	}
	return &commonpb.Payload{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(Encoding), MetadataKeyID: []byte(k.ID)},
		Data:     aead.Seal(data, nil, plain, []byte(label+k.ID)),
	}, nil
}

var (
	errForm    = errors.New("it is not in the form that this version writes")
	errAltered = errors.New("it was altered, or sealed with another key of this id")
)

// open decrypts what seal made.
func (k key) open(p *commonpb.Payload) (*commonpb.Payload, error) {
	data := p.GetData()
	if len(data) < Overhead || data[0] != version {
		return nil, errForm
	}
	aead, err := k.aead(data[1:headerSize])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, data[headerSize:], []byte(label+k.ID))
	if err != nil {
		return nil, errAltered
	}
	opened := &commonpb.Payload{}
	if err := proto.Unmarshal(plain, opened); err != nil {
		return nil, errForm
	}
	return opened, nil
}

// aead is the cipher of one payload. It draws and prepends the nonce itself.
func (k key) aead(salt []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Expand(sha256.New, k.Key, label+string(salt), KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
