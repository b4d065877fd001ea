package ldap

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// guidText writes an objectGUID as every tool of Microsoft's does. The first three of its parts are stored with the least
// significant byte first, the rest as it reads ([MS-DTYP] 2.3.4.2).
func guidText(b []byte) (string, bool) {
	if len(b) != 16 {
		return "", false
	}
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:]), true
}

// uuidText takes a UUID in its text form (RFC 4530) and gives it in lower case, which is how it is compared.
func uuidText(text string) (string, bool) {
	parts := strings.Split(text, "-")
	if len(text) != 36 || len(parts) != 5 {
		return "", false
	}
	for i, digits := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != digits {
			return "", false
		}
	}
	if _, err := hex.DecodeString(strings.Join(parts, "")); err != nil {
		return "", false
	}
	return strings.ToLower(text), true
}
