package graph

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// Ids look like the real ones (long, opaque, case-sensitive) and hold the thing's number in its mailbox or drive, so that no
// index of ids is kept. A check value over the owner makes an id of one mailbox unknown in every other.
//
// Mail has two forms of id. The immutable one stays when a message moves; the default one holds the folder and so changes.
const (
	immutablePrefix = "AAkALgAA"
	mutablePrefix   = "AAMkADQx"
	itemPrefix      = "01"
	checkLen        = 16
)

var (
	mailCoding = base64.RawURLEncoding
	itemCoding = base32.StdEncoding.WithPadding(base32.NoPadding)
)

// idSpace makes the ids of one owner's mailbox or drive.
type idSpace struct{ key []byte }

func newIDSpace(seed uint64, owner string) idSpace {
	sum := sha256.Sum256(fmt.Appendf(nil, "id space %d %s", seed, owner))
	return idSpace{sum[:]}
}

// raw is kind, number and folder with their check value; folder is 0 in immutable ids.
func (s idSpace) raw(kind byte, n, folder int) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(n))
	b = binary.BigEndian.AppendUint32(b, uint32(folder))
	mac := hmac.New(sha256.New, s.key)
	mac.Write(b)
	return mac.Sum(b)[:len(b)+checkLen]
}

// parse checks raw bytes and gives the number and folder.
func (s idSpace) parse(kind byte, b []byte) (n, folder int, ok bool) {
	if len(b) != 9+checkLen || b[0] != kind {
		return 0, 0, false
	}
	n, folder = int(binary.BigEndian.Uint32(b[1:])), int(binary.BigEndian.Uint32(b[5:]))
	return n, folder, hmac.Equal(b, s.raw(kind, n, folder))
}

// messageID is a message's id; folder 0 gives the immutable form.
func (s idSpace) messageID(n, folder int) string {
	prefix := immutablePrefix
	if folder != 0 {
		prefix = mutablePrefix
	}
	return prefix + mailCoding.EncodeToString(s.raw('m', n, folder))
}

func (s idSpace) parseMessageID(id string) (n, folder int, ok bool) {
	rest, immutable := strings.CutPrefix(id, immutablePrefix)
	if !immutable {
		if rest, ok = strings.CutPrefix(id, mutablePrefix); !ok {
			return 0, 0, false
		}
	}
	b, err := mailCoding.Strict().DecodeString(rest)
	if err != nil {
		return 0, 0, false
	}
	n, folder, ok = s.parse('m', b)
	return n, folder, ok && immutable == (folder == 0)
}

// folderID is a mail folder's id; it has one form only.
func (s idSpace) folderID(n int) string {
	return mutablePrefix + mailCoding.EncodeToString(s.raw('f', n, 0))
}

func (s idSpace) parseFolderID(id string) (int, bool) {
	rest, ok := strings.CutPrefix(id, mutablePrefix)
	b, err := mailCoding.Strict().DecodeString(rest)
	if !ok || err != nil {
		return 0, false
	}
	n, _, ok := s.parse('f', b)
	return n, ok
}

// itemID is a drive item's id.
func (s idSpace) itemID(n int) string {
	return itemPrefix + itemCoding.EncodeToString(s.raw('i', n, 0))
}

func (s idSpace) parseItemID(id string) (int, bool) {
	rest, ok := strings.CutPrefix(id, itemPrefix)
	b, err := itemCoding.DecodeString(rest)
	if !ok || err != nil {
		return 0, false
	}
	n, _, ok := s.parse('i', b)
	return n, ok && s.itemID(n) == id
}

// driveID is the id of the owner's drive.
func (s idSpace) driveID() string {
	sum := sha256.Sum256(append([]byte("drive "), s.key...))
	return "b!" + mailCoding.EncodeToString(append(sum[:], s.key[:16]...))
}

// guid makes a GUID from the seed and a name.
func guid(seed uint64, name string) string {
	h := sha256.Sum256(fmt.Appendf(nil, "guid %d %s", seed, name))
	h[6], h[8] = h[6]&0x0f|0x40, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
