package connector

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/corvus-ch/shamir"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	shareBlock = "HOLDFAST KEY SHARE"
	// MaxShares bounds the shares of one split.
	MaxShares = 64
	maxShare  = 2 * maxKeyFile // bytes of text

	shareDomain = "holdfast/key-share/v1"
)

// Share is one of n parts of a recovery copy, by Shamir's scheme (https://doi.org/10.1145/359168.359176) over GF(2⁸): any Needs of them give the copy
// back, and fewer tell nothing about it but its length. Its text is a PEM block with headers.
type Share struct {
	Tenant, Connector string
	Generation        int    // the newest in the copy
	Set               string // tells the shares of one split from those of another
	Number, Of, Needs int

	index byte // the x coordinate
	data  []byte
}

// splitShares splits content. Its SHA-256 is split with it, so that whoever joins shares knows whether what came out is what went in.
func splitShares(content []byte, about Share, needs, of int) ([]Share, error) {
	if needs < 2 || of < needs || of > MaxShares {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: fmt.Sprintf("a copy cannot be split into %d shares of which %d are needed", of, needs),
			Hint: fmt.Sprintf("at least 2 are needed, and at most %d are made: --shares 2/3", MaxShares)}
	}
	secret := withDigest(content)
	defer clear(secret)
	parts, err := shamir.Split(secret, of, needs)
	if err != nil {
		return nil, err
	}
	about.Set, about.Of, about.Needs = newNonce(), of, needs
	var shares []Share
	for _, index := range slices.Sorted(maps.Keys(parts)) {
		s := about
		s.Number, s.index, s.data = len(shares)+1, index, parts[index]
		shares = append(shares, s)
	}
	return shares, nil
}

func withDigest(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(sum[:len(sum):len(sum)], content...)
}

// Text is the share as a file: what it is a share of, and a checksum over all of it.
func (s Share) Text() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: shareBlock, Bytes: s.data, Headers: map[string]string{
		"Tenant": s.Tenant, "Connector": s.Connector, "Generation": strconv.Itoa(s.Generation), "Set": s.Set,
		"Share": fmt.Sprintf("%d of %d", s.Number, s.Of), "Needs": strconv.Itoa(s.Needs), "Index": strconv.Itoa(int(s.index)),
		"Checksum": s.checksum(),
	}})
}

func (s Share) String() string {
	return fmt.Sprintf("share %d of %d of the key of connector %q of tenant %q", s.Number, s.Of, s.Connector, s.Tenant)
}

// GoString keeps %#v from printing the share.
func (s Share) GoString() string { return s.String() }

// Name is a file name for the share.
func (s Share) Name() string {
	return fmt.Sprintf("%s-%s-share-%d-of-%d.txt", s.Tenant, s.Connector, s.Number, s.Of)
}

// Wipe overwrites the share.
func (s Share) Wipe() { clear(s.data) }

func (s Share) checksum() string {
	sum := sha256.Sum256(newStatement(shareDomain).text(s.Tenant).text(s.Connector).number(int64(s.Generation)).text(s.Set).
		number(int64(s.Number)).number(int64(s.Of)).number(int64(s.Needs)).number(int64(s.index)).bytes(s.data))
	return hex.EncodeToString(sum[:16])
}

var shareNumber = regexp.MustCompile(`^([1-9][0-9]?) of ([1-9][0-9]?)$`)

// ParseShare reads a share's text. Its error names the share by name and quotes nothing of it.
func ParseShare(name string, text []byte) (Share, error) {
	damaged := &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: name + " is damaged: its checksum is not that of its content",
		Hint: "take another share, or a better copy of this one"}
	block, rest := pem.Decode(text)
	if block == nil && bytes.Contains(text, []byte("-----BEGIN "+shareBlock)) {
		return Share{}, damaged
	}
	if len(text) > maxShare || block == nil || block.Type != shareBlock || len(bytes.TrimSpace(rest)) > 0 {
		return Share{}, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: name + " is not a share of a key",
			Hint: "a share is a file that `connector export --shares` wrote, whole and with nothing else in it"}
	}
	s := Share{Tenant: block.Headers["Tenant"], Connector: block.Headers["Connector"], Set: block.Headers["Set"], data: block.Bytes}
	number := shareNumber.FindStringSubmatch(block.Headers["Share"])
	if number == nil || len(block.Headers) != 8 {
		return Share{}, damaged
	}
	var index int
	for into, text := range map[*int]string{&s.Generation: block.Headers["Generation"], &s.Number: number[1], &s.Of: number[2], &s.Needs: block.Headers["Needs"], &index: block.Headers["Index"]} {
		n, err := strconv.Atoi(text)
		if err != nil {
			return Share{}, damaged
		}
		*into = n
	}
	s.index = byte(index)
	if index != int(s.index) || !s.plausible() || subtle.ConstantTimeCompare([]byte(s.checksum()), []byte(block.Headers["Checksum"])) != 1 {
		return Share{}, damaged
	}
	return s, nil
}

func (s Share) plausible() bool {
	return tenantName.MatchString(s.Tenant) && connectorName.MatchString(s.Connector) && nonceText.MatchString(s.Set) && s.Generation >= 0 && isCounter(s.Generation) &&
		s.index > 0 && s.Needs >= 2 && s.Needs <= s.Of && s.Of <= MaxShares && s.Number <= s.Of &&
		len(s.data) > sha256.Size && len(s.data) <= sha256.Size+maxKeyFile
}

// joinShares gives back what was split. It says which share does not belong to the first, which is there twice, and how many are missing.
// The caller wipes the content.
func joinShares(shares []Share, names []string) ([]byte, error) {
	parts := map[byte][]byte{}
	for i, s := range shares {
		first := shares[0]
		switch {
		case s.Set != first.Set:
			return nil, badShare(fmt.Sprintf("%s (%v) and %s (%v) are of different splits", names[0], first, names[i], s), "take shares that were made together")
		case s.Needs != first.Needs || s.Of != first.Of || s.Tenant != first.Tenant || s.Connector != first.Connector || len(s.data) != len(first.data):
			return nil, badShare(names[i]+" does not fit to "+names[0], "take another share")
		case parts[s.index] != nil:
			return nil, badShare(fmt.Sprintf("%s is share %d once more", names[i], s.Number), "give different shares")
		}
		parts[s.index] = s.data
	}
	if len(shares) == 0 || len(shares) < shares[0].Needs {
		return nil, badShare(fmt.Sprintf("shares are missing: there are %d", len(shares)), needsHint(shares))
	}
	secret, err := shamir.Combine(parts)
	if err != nil {
		return nil, err
	}
	content := secret[sha256.Size:]
	if sum := sha256.Sum256(content); subtle.ConstantTimeCompare(sum[:], secret[:sha256.Size]) != 1 {
		clear(secret)
		return nil, badShare("the shares do not give what was split: one of them was made to look right", "try other shares, and find out who had these")
	}
	return content, nil
}

func needsHint(shares []Share) string {
	if len(shares) == 0 {
		return "give the files of the shares"
	}
	return fmt.Sprintf("%d of the %d are needed", shares[0].Needs, shares[0].Of)
}

func badShare(message, hint string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message, Hint: hint}
}
