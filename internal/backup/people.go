package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// PersonField is a field of an account that directories state.
type PersonField string

const (
	FieldMail        PersonField = "mail"
	FieldUPN         PersonField = "upn"
	FieldDisplayName PersonField = "displayName"
	FieldEmployeeID  PersonField = "employeeID"
	FieldDepartment  PersonField = "department"
	// FieldState, FieldProfile and the others below are derived; they appear in changes.
	FieldState   PersonField = "state"
	FieldProfile PersonField = "profile"
	FieldAliases PersonField = "aliases"
	FieldGroups  PersonField = "groups"
	FieldKind    PersonField = "kind"
	FieldDN      PersonField = "dn"
	FieldEntry   PersonField = "entry" // an entry of a further directory was joined to, or left, the account
)

// PeopleConfig says how the entries of a tenant's directories become accounts.
type PeopleConfig struct {
	// ApproveFirstImport: the first import of each directory waits for the approval of its preview.
	ApproveFirstImport bool `json:"approveFirstImport,omitempty"`
	// MatchBy is by what an entry of one directory is found to be a person whom another directory knows, in this order;
	// default mail, upn, employeeID. Entries of one directory are never one person.
	MatchBy []PersonField `json:"matchBy,omitempty"`
	// Precedence names, for a field, whose word counts first; default: the order of the directories. A directory that says nothing of a field
	// leaves it to the next one.
	Precedence map[PersonField][]DirectoryName `json:"precedence,omitempty"`
}

// DefaultMatchBy is the order of PeopleConfig.MatchBy when it is empty.
func DefaultMatchBy() []PersonField { return []PersonField{FieldMail, FieldUPN, FieldEmployeeID} }

// PrecedenceOf is the full order of the tenant's directories for a field.
func (t Tenant) PrecedenceOf(f PersonField) []DirectoryName {
	order := slices.Clone(t.People.Precedence[f])
	for _, d := range t.Directories {
		if !slices.Contains(order, d.Name) {
			order = append(order, d.Name)
		}
	}
	return order
}

// PeopleRules is a digest of what makes accounts and profiles of the same entries: rules, matching and precedence. A change feed does not
// tell of those whom a changed rule fits.
func (t Tenant) PeopleRules() string {
	var directories []DirectoryName
	for _, d := range t.Directories {
		directories = append(directories, d.Name)
	}
	b, err := json.Marshal(struct {
		Directories []DirectoryName
		MatchBy     []PersonField
		Precedence  map[PersonField][]DirectoryName
		Profiles    []ProfileRule
	}{directories, t.People.MatchBy, t.People.Precedence, t.Profiles})
	if err != nil {
		panic(err) // texts and numbers can always be written
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// ProfileRule gives a profile to the people that it fits. Of several that fit the one of the lowest Priority counts, of equal ones the first.
type ProfileRule struct {
	// Name is the profile's, ^[a-z0-9][a-z0-9-]{0,40}$.
	Name     string           `json:"name"`
	Priority int              `json:"priority"`
	When     ProfileCondition `json:"when"`
	// Services are what is backed up; none at all is allowed, and means that the person is known and not backed up.
	Services []Service `json:"services"`
	// PreserveDays is how long the data of a vanished person is kept; default: the tenant's profile.
	PreserveDays int `json:"preserveDays,omitempty"`
}

// ProfileCondition fits an entry when every part that is set does.
type ProfileCondition struct {
	Directories []DirectoryName `json:"directories,omitempty"`
	// Groups: it is in one of them, directly or nested. Written as the directory names groups: a DN, an Entra id, a SCIM display name.
	Groups []string `json:"groups,omitempty"`
	// Attributes: each has one of the values; letters' case means nothing. mail, upn, displayName, employeeID and department are always
	// known, other names are the directory's own attributes.
	Attributes map[string][]string `json:"attributes,omitempty"`
	Kinds      []EntryKind         `json:"kinds,omitempty"`
}

// RuleFor returns the rule that fits an entry best, and nil when none does.
func (t Tenant) RuleFor(dir DirectoryName, e DirectoryEntry) *ProfileRule {
	var best *ProfileRule
	for i := range t.Profiles {
		r := &t.Profiles[i]
		if (best == nil || r.Priority < best.Priority) && r.When.fits(dir, e) {
			best = r
		}
	}
	return best
}

// Assign sets the profile of entries by the tenant's rules.
func (t Tenant) Assign(dir DirectoryName, entries []DirectoryEntry) {
	if len(t.Profiles) == 0 {
		return
	}
	for i := range entries {
		if r := t.RuleFor(dir, entries[i]); r != nil {
			entries[i].Profile = r.Name
		}
	}
}

func (c ProfileCondition) fits(dir DirectoryName, e DirectoryEntry) bool {
	if len(c.Directories) > 0 && !slices.Contains(c.Directories, dir) {
		return false
	}
	if len(c.Kinds) > 0 && !slices.Contains(c.Kinds, e.Kind) {
		return false
	}
	if len(c.Groups) > 0 && !slices.ContainsFunc(c.Groups, func(g string) bool {
		return slices.ContainsFunc(e.Groups, func(has string) bool { return strings.EqualFold(g, has) })
	}) {
		return false
	}
	for name, values := range c.Attributes {
		has := e.attribute(name)
		if !slices.ContainsFunc(values, func(v string) bool {
			return slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(v, h) })
		}) {
			return false
		}
	}
	return true
}

// attribute returns the values of an attribute by its name in a rule.
func (e DirectoryEntry) attribute(name string) (values []string) {
	switch {
	case strings.EqualFold(name, string(FieldMail)):
		return []string{e.Mail}
	case strings.EqualFold(name, string(FieldUPN)):
		return []string{e.UPN}
	case strings.EqualFold(name, string(FieldDisplayName)):
		return []string{e.DisplayName}
	case strings.EqualFold(name, string(FieldEmployeeID)):
		return []string{e.EmployeeID}
	case strings.EqualFold(name, string(FieldDepartment)):
		return []string{e.Department}
	}
	for _, a := range e.Attributes {
		if strings.EqualFold(name, a.Name) {
			values = append(values, a.Value)
		}
	}
	return values
}

// RuleGroups are the groups that the profile rules name for a directory, sorted, each once.
func (t Tenant) RuleGroups(dir DirectoryName) []string {
	var groups []string
	for _, r := range t.Profiles {
		if len(r.When.Directories) == 0 || slices.Contains(r.When.Directories, dir) {
			groups = append(groups, r.When.Groups...)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// RuleAttributes are the directory's own attributes that the profile rules name, in lower case, sorted, each once.
func (t Tenant) RuleAttributes(dir DirectoryName) []string {
	var names []string
	for _, r := range t.Profiles {
		if len(r.When.Directories) > 0 && !slices.Contains(r.When.Directories, dir) {
			continue
		}
		for name := range r.When.Attributes {
			switch name := strings.ToLower(name); name {
			case "mail", "upn", "displayname", "employeeid", "department":
			default:
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ServicePlan is which services each profile backs up.
type ServicePlan struct {
	Default   []Service            `json:"default"`
	ByProfile map[string][]Service `json:"byProfile,omitempty"`
}

// ServicePlan is that of the tenant's profile and of its rules. Of two rules of one name the first counts.
func (t Tenant) ServicePlan() ServicePlan {
	p := ServicePlan{Default: t.Profile.Services}
	for _, r := range t.Profiles {
		if p.ByProfile == nil {
			p.ByProfile = map[string][]Service{}
		}
		if _, known := p.ByProfile[r.Name]; !known {
			p.ByProfile[r.Name] = r.Services
		}
	}
	return p
}

// PreserveDaysOf is how long data of the people of a profile is kept after they are gone, in days.
func (t Tenant) PreserveDaysOf(profile string) int {
	for _, r := range t.Profiles {
		if r.Name == profile && r.PreserveDays > 0 {
			return r.PreserveDays
		}
	}
	return t.Profile.PreserveDays
}

// Link is an entry behind an account.
type Link struct {
	Directory DirectoryName  `json:"directory"`
	Entry     DirectoryEntry `json:"entry"`
	// Present: the directory lists it now.
	Present bool `json:"present"`
	// By is how it came to the account: "first", a PersonField it was matched by, or "decision".
	By string `json:"by"`
}

// KnownEntry is an entry as the store has it; Account is empty when it is behind none.
type KnownEntry struct {
	Link
	Account string `json:"account,omitempty"`
}

// AccountReport is all that is known of one account.
type AccountReport struct {
	Account Account `json:"account"`
	// Provenance says of each field which directory's word it is.
	Provenance map[PersonField]DirectoryName `json:"provenance,omitempty"`
	Links      []Link                        `json:"links"`
	// Events are the newest, newest first.
	Events []AccountEvent `json:"events,omitempty"`
}

// AccountEvent is a line of the audit trail: who changed what of an account, why and when.
type AccountEvent struct {
	Account string    `json:"account"`
	At      time.Time `json:"at"`
	// Report is the number of the import that did it; 0 for a decision of a person.
	Report    int64         `json:"report,omitempty"`
	Directory DirectoryName `json:"directory,omitempty"`
	By        string        `json:"by,omitempty"`
	Kind      ChangeKind    `json:"kind"`
	Fields    []FieldChange `json:"fields,omitempty"`
	Reason    string        `json:"reason,omitempty"`
}

// FieldChange is one field before and after.
type FieldChange struct {
	Field PersonField `json:"field"`
	From  string      `json:"from,omitempty"`
	To    string      `json:"to,omitempty"`
}

// MergeConflict is an entry that fits more than one person, or one person whom another entry of its directory is already. It becomes no
// account, and changes none, until a person decides.
type MergeConflict struct {
	Directory DirectoryName  `json:"directory"`
	Entry     DirectoryEntry `json:"entry"`
	// Candidates are the accounts it fits, with the field that each was found by.
	Candidates []ConflictCandidate `json:"candidates"`
	Since      time.Time           `json:"since"`
}

// ConflictCandidate is an account that an entry in conflict may belong to.
type ConflictCandidate struct {
	Account Account     `json:"account"`
	By      PersonField `json:"by"`
}

// MergeVerdict is what a person decides of an entry in conflict. It is remembered, and counts in every later import.
type MergeVerdict string

const (
	MergeSame     MergeVerdict = "same"     // it is the named account
	MergeSeparate MergeVerdict = "separate" // it is a person of its own
	MergeIgnore   MergeVerdict = "ignore"   // it is nobody to protect
)

// MergeDecision is a remembered decision.
type MergeDecision struct {
	Directory DirectoryName `json:"directory"`
	EntryID   string        `json:"entryID"`
	Verdict   MergeVerdict  `json:"verdict"`
	Account   string        `json:"account,omitempty"` // for MergeSame
	By        string        `json:"by"`
	Reason    string        `json:"reason,omitempty"`
	At        time.Time     `json:"at,omitzero"`
}
