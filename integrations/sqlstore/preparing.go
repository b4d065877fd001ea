package sqlstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// unidentified begins the id under which an entry is staged that has none of its own.
const unidentified = "?"

// staged is an entry that is ready to be staged.
type staged struct {
	id, hash string
	row      []any // in the order of stagedColumns
	aliases  []string
}

// kindColumn is where in a row the kind stands.
const kindColumn = 3

// prepare makes rows of entries, one per id, because a statement may not upsert one row twice (PostgreSQL).
func prepare(p backup.Pass, page []backup.DirectoryEntry) []staged {
	of := preparer{tenant: p.Tenant, directory: string(p.Directory), account: digested("account", p.Tenant, string(p.Directory), "")}
	at := make(map[string]int, len(page))
	all := make([]staged, 0, len(page))
	for i := range page {
		one := of.prepare(page[i])
		if i, again := at[one.id]; again {
			all[i] = one
			continue
		}
		at[one.id] = len(all)
		all = append(all, one)
	}
	return all
}

// preparer makes the rows of one page. What they share is made once, because there may be millions of them.
type preparer struct {
	tenant, directory any
	account           []byte // what is digested for an account's id, but for the entry's
	text              []byte // room that is used again
}

func (of *preparer) prepare(e backup.DirectoryEntry) staged {
	clearOut(&e)
	id := entryID(e)
	address := e.Mail
	if address == "" {
		address = e.UPN
	}
	own := ownProblem(e, address)
	mailKey, upnKey := strings.ToLower(address), strings.ToLower(e.UPN)
	if upnKey == mailKey {
		upnKey = ""
	}
	more := of.more(&e)
	hash := of.hash(&e, own, more)
	return staged{id: id, hash: hash, aliases: aliasKeys(&e), row: []any{of.tenant, of.directory, id, stagedNew, hash, e.Disabled, string(own), e.DN, e.Mail, e.UPN, e.DisplayName,
		e.EmployeeID, e.Department, string(e.Kind), more, e.Profile, mailKey, upnKey, strings.ToLower(strings.TrimSpace(e.EmployeeID)), of.accountID(id)}}
}

// clearOut takes out of an entry what a text column cannot hold (PostgreSQL refuses NUL and broken UTF-8), and what surrounds addresses.
func clearOut(e *backup.DirectoryEntry) {
	for _, s := range [...]*string{&e.ID, &e.DN, &e.Mail, &e.UPN, &e.DisplayName, &e.EmployeeID, &e.Department, &e.Profile, (*string)(&e.Kind)} {
		*s = clean(*s)
	}
	e.Mail, e.UPN = strings.TrimSpace(e.Mail), strings.TrimSpace(e.UPN)
}

// ownProblem is the entry's own problem. Whether a mail is a duplicate is not for one entry to say.
func ownProblem(e backup.DirectoryEntry, address string) backup.EntryProblem {
	switch {
	case e.Problem == backup.BadEntry || e.ID == "":
		return backup.BadEntry
	case e.Problem == backup.NoMail || address == "":
		return backup.NoMail
	}
	return ""
}

// further is what an entry says beside what has a column of its own.
type further struct {
	Aliases    []string                `json:"aliases,omitempty"`
	Groups     []string                `json:"groups,omitempty"`
	Attributes []backup.EntryAttribute `json:"attributes,omitempty"`
}

// more is further as JSON; empty when there is nothing. encoding/json would do it, at several times the cost.
func (of *preparer) more(e *backup.DirectoryEntry) string {
	if len(e.Aliases) == 0 && len(e.Groups) == 0 && len(e.Attributes) == 0 {
		return ""
	}
	b := append(of.text[:0], '{')
	b = appendTexts(b, `"aliases":`, e.Aliases)
	b = appendTexts(b, `"groups":`, e.Groups)
	if len(e.Attributes) > 0 {
		b = append(afterComma(b), `"attributes":[`...)
		for _, a := range e.Attributes {
			b = append(appendText(append(afterComma(b), `{"name":`...), a.Name), `,"value":`...)
			b = append(appendText(b, a.Value), '}')
		}
		b = append(b, ']')
	}
	of.text = append(b, '}')
	return string(of.text)
}

func appendTexts(b []byte, name string, texts []string) []byte {
	if len(texts) == 0 {
		return b
	}
	b = append(append(afterComma(b), name...), '[')
	for _, t := range texts {
		b = appendText(afterComma(b), t)
	}
	return append(b, ']')
}

// afterComma puts a comma behind whatever is not the first.
func afterComma(b []byte) []byte {
	if last := b[len(b)-1]; last == '{' || last == '[' {
		return b
	}
	return append(b, ',')
}

// appendText appends a text as JSON that a text column can hold.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			quoted, err := json.Marshal(clean(text))
			if err != nil {
				panic(err) // a text can always be written
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// aliasKeys are the entry's further addresses as they are matched, each once.
func aliasKeys(e *backup.DirectoryEntry) []string {
	var keys []string
	for _, a := range e.Aliases {
		if key := strings.ToLower(strings.TrimSpace(clean(a))); key != "" && !strings.EqualFold(key, e.Mail) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// hash tells whether an entry says something else than before: 128 bits of a SHA-256 over all that it says.
func (of *preparer) hash(e *backup.DirectoryEntry, own backup.EntryProblem, more string) string {
	state := "enabled"
	if e.Disabled {
		state = "disabled"
	}
	of.text = of.text[:0]
	for _, s := range [...]string{e.ID, e.DN, e.Mail, e.UPN, e.DisplayName, e.EmployeeID, e.Department, string(e.Kind), e.Profile, string(own), state, more} {
		of.text = append(append(of.text, s...), 0)
	}
	sum := sha256.Sum256(of.text)
	return base64.RawStdEncoding.EncodeToString(sum[:16])
}

// entryID is the id under which an entry is known. An entry without an id gets one of its content, so that it is
// counted and shown, and never becomes an account.
func entryID(e backup.DirectoryEntry) string {
	if e.ID == "" {
		return unidentified + digest(e.DN, e.Mail, e.UPN, e.DisplayName, e.EmployeeID)[:32]
	}
	return e.ID
}

// accountID derives an account's id from its directory entry, so that a store that had to be made anew gives everybody the
// id under which the repository keeps his snapshots.
func accountID(tenant string, dir backup.DirectoryName, entry string) string {
	of := preparer{account: digested("account", tenant, string(dir), "")}
	return of.accountID(entry)
}

func (of *preparer) accountID(entry string) string {
	of.text = append(append(of.text[:0], of.account...), entry...)
	sum := sha256.Sum256(of.text)
	var id [17]byte
	id[0] = 'a'
	hex.Encode(id[1:], sum[:8])
	return string(id[:])
}

// digested is what digest takes the sum of.
func digested(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }

func digest(parts ...string) string {
	sum := sha256.Sum256(digested(parts...))
	return hex.EncodeToString(sum[:])
}

// clean takes out what a text column cannot hold (PostgreSQL refuses NUL and broken UTF-8).
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
