package scim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// importPage is how many users one page of an import holds.
const importPage = 500

// Directory is what was pushed, as the import of people reads it.
type Directory struct {
	store  ImportStore
	scope  backup.SCIMScope
	config backup.SCIMConfig
	// asked are the groups that the tenant's file names; attributes those of its rules, in lower case.
	asked, attributes []string
}

// OpenDirectory opens the pushed people of a scope for the import.
func OpenDirectory(store ImportStore, scope backup.SCIMScope, config backup.SCIMConfig, t backup.Tenant) *Directory {
	asked := append(slices.Clone(config.Groups), t.RuleGroups(scope.Directory)...)
	slices.Sort(asked)
	return &Directory{store, scope, config, slices.Compact(asked), t.RuleAttributes(scope.Directory)}
}

// Probe tells what was pushed so far.
func (d *Directory) Probe(ctx context.Context) (string, error) {
	_, users, err := d.store.LastChange(ctx, d.scope)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("SCIM: %d people were pushed", users), nil
}

// Close does nothing: the store is its owner's.
func (d *Directory) Close() error { return nil }

// cursor is where an import was read up to. View is over what the tenant's file asks of the directory; entries read with another are not the same.
type cursor struct {
	Sequence int64  `json:"sequence"`
	View     string `json:"view"`
}

func (d *Directory) view() string {
	b, err := json.Marshal([][]string{d.config.Groups, d.asked, d.attributes})
	if err != nil {
		panic(err) // strings only
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}

// Read yields who changed since the cursor, or everybody. What is pushed while it reads is read too, or by the next import.
func (d *Directory) Read(ctx context.Context, from backup.ReadFrom, yield func(backup.EntryPage) error) (backup.ReadEnd, error) {
	end := backup.ReadEnd{Mode: backup.FullRead, Note: "full: everybody who was pushed"}
	at := cursor{View: d.view()}
	if len(from.Since) > 0 {
		since, err := d.parseCursor(from.Since)
		if err != nil {
			return end, err
		}
		at, end.Mode, end.Note = since, backup.ChangesRead, "changes: who was pushed since the last import"
	}
	if len(from.Resume) > 0 {
		resumed, err := d.parseCursor(from.Resume)
		if err != nil {
			return end, err
		}
		at = resumed
	}
	for {
		changes, err := d.store.ChangedUsers(ctx, d.scope, d.asked, at.Sequence, importPage)
		if err != nil {
			return end, err
		}
		end.Calls++
		if len(changes) == 0 {
			end.Cursor, err = json.Marshal(at)
			return end, err
		}
		at.Sequence = changes[len(changes)-1].Sequence
		page, err := d.page(changes, at)
		if err != nil {
			return end, err
		}
		if err := yield(page); err != nil {
			return end, err
		}
	}
}

func (d *Directory) parseCursor(raw json.RawMessage) (cursor, error) {
	var c cursor
	if err := json.Unmarshal(raw, &c); err != nil || c.View != d.view() || c.Sequence < 0 {
		return c, &backup.Error{Code: backup.CodeCursorExpired, Fault: backup.FaultOurs, Message: "the cursor of the last import is for other groups or attributes"}
	}
	return c, nil
}

func (d *Directory) page(changes []backup.SCIMChange, at cursor) (backup.EntryPage, error) {
	var page backup.EntryPage
	for _, c := range changes {
		if c.Gone || !d.selects(c.Groups) {
			page.Gone = append(page.Gone, c.User.ID)
			continue
		}
		e, err := d.entry(c)
		if err != nil {
			return page, err
		}
		page.Entries = append(page.Entries, e)
	}
	var err error
	page.Resume, err = json.Marshal(at)
	return page, err
}

// selects tells whether a member of these groups is among the people that the configuration limits the directory to.
func (d *Directory) selects(groups []string) bool {
	return len(d.config.Groups) == 0 || slices.ContainsFunc(d.config.Groups, func(g string) bool {
		return slices.ContainsFunc(groups, func(has string) bool { return strings.EqualFold(g, has) })
	})
}

func (d *Directory) entry(c backup.SCIMChange) (backup.DirectoryEntry, error) {
	doc, err := decode(c.User.Doc)
	if err != nil {
		return backup.DirectoryEntry{}, err
	}
	enterprise := doc.container(enterpriseURN, false)
	e := backup.DirectoryEntry{ID: c.User.ID, UPN: c.User.UserName, Disabled: !c.User.Active, DisplayName: displayName(doc), Groups: c.Groups}
	e.EmployeeID, _ = enterprise["employeeNumber"].(string)
	e.Department, _ = enterprise["department"].(string)
	e.Mail, e.Aliases = mails(doc)
	e.Attributes = d.ruleAttributes(doc)
	if e.Mail == "" && !strings.Contains(e.UPN, "@") {
		e.Problem = backup.NoMail
	}
	return e, nil
}

func displayName(doc document) string {
	if s, _ := doc["displayName"].(string); s != "" {
		return s
	}
	name, _ := doc["name"].(map[string]any)
	if s, _ := name["formatted"].(string); s != "" {
		return s
	}
	given, _ := name["givenName"].(string)
	family, _ := name["familyName"].(string)
	return strings.TrimSpace(given + " " + family)
}

// mails are the primary address, else that of type work, else the first, and all others.
func mails(doc document) (mail string, aliases []string) {
	list, _ := doc["emails"].([]any)
	best := 0
	for _, element := range list {
		m, _ := element.(map[string]any)
		value, _ := m["value"].(string)
		kind, _ := m["type"].(string)
		if value == "" {
			continue
		}
		rank := 1
		if strings.EqualFold(kind, "work") {
			rank = 2
		}
		if m["primary"] == true {
			rank = 3
		}
		if rank > best {
			mail, best = value, rank
		}
		aliases = append(aliases, value)
	}
	return mail, slices.DeleteFunc(aliases, func(a string) bool { return strings.EqualFold(a, mail) })
}

// ruleAttributes are the values of the attributes that rules name: as filters call them, or by an enterprise attribute's bare name.
func (d *Directory) ruleAttributes(doc document) []backup.EntryAttribute {
	if len(d.attributes) == 0 {
		return nil
	}
	var out []backup.EntryAttribute
	prefix := strings.ToLower(enterpriseURN) + ":"
	for _, v := range userType.index(doc) {
		for _, name := range []string{v.Path, strings.TrimPrefix(v.Path, prefix)} {
			if a := (backup.EntryAttribute{Name: name, Value: v.Text}); slices.Contains(d.attributes, name) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b backup.EntryAttribute) int { return strings.Compare(a.Name, b.Name) })
	return out
}
