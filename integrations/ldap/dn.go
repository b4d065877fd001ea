package ldap

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// maxDN is the longest DN that is taken apart, in bytes.
const maxDN = 8 << 10

// canonicalDN makes DNs of one entry equal: the names of attributes and the values regardless of case and of the spaces that do
// not count (RFC 4517 caseIgnoreMatch, RFC 4518 section 2.6.1), the parts of a multi-valued RDN in order. A text that is not a
// DN is compared as it stands, without case.
func canonicalDN(dn string) string {
	if len(dn) > maxDN {
		return strings.ToLower(dn)
	}
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return strings.ToLower(dn)
	}
	parts := make([]string, len(parsed.RDNs))
	for i, rdn := range parsed.RDNs {
		var pairs []string
		for _, a := range rdn.Attributes {
			value := strings.Join(strings.Fields(strings.ToLower(a.Value)), " ")
			pairs = append(pairs, ldap.EscapeDN(strings.ToLower(a.Type))+"="+ldap.EscapeDN(value))
		}
		slices.Sort(pairs)
		parts[i] = strings.Join(pairs, "+")
	}
	return strings.Join(parts, ",")
}

// dnKey stands for a DN in sets: 16 bytes, however long the DN is. Nobody can make two DNs with one key.
type dnKey [16]byte

func keyOf(dn string) dnKey {
	sum := sha256.Sum256([]byte(canonicalDN(dn)))
	return dnKey(sum[:16])
}

// idFromDN is the stand-in for an immutable id that cannot be read: "dn-" and 32 hex digits of the canonical DN's SHA-256. It
// changes when the entry is renamed, so it identifies a problem in a report and nothing else.
func idFromDN(dn string) string {
	key := keyOf(dn)
	return "dn-" + hex.EncodeToString(key[:])
}
