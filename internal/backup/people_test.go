package backup

import (
	"slices"
	"testing"
)

func TestRuleFor(t *testing.T) {
	tenant := Tenant{Profiles: []ProfileRule{
		{Name: "sales", Priority: 20, When: ProfileCondition{Attributes: map[string][]string{"Department": {"sales", "marketing"}}}},
		{Name: "board", Priority: 10, When: ProfileCondition{Groups: []string{"CN=Board"}}},
		{Name: "also-board", Priority: 10, When: ProfileCondition{Groups: []string{"cn=board"}}},
		{Name: "guests", Priority: 5, When: ProfileCondition{Kinds: []EntryKind{Guest}, Directories: []DirectoryName{"entra"}}},
		{Name: "berlin", Priority: 30, When: ProfileCondition{Attributes: map[string][]string{"l": {"Berlin"}, "department": {"IT"}}}},
	}}
	berlin := []EntryAttribute{{Name: "l", Value: "Paris"}, {Name: "l", Value: "berlin"}}
	for name, c := range map[string]struct {
		dir   DirectoryName
		entry DirectoryEntry
		want  string
	}{
		"nobody":                      {"ldap", DirectoryEntry{}, ""},
		"letters' case":               {"ldap", DirectoryEntry{Department: "SALES"}, "sales"},
		"lowest priority, then first": {"ldap", DirectoryEntry{Department: "Sales", Groups: []string{"cn=board"}}, "board"},
		"kind in another directory":   {"ldap", DirectoryEntry{Kind: Guest}, ""},
		"kind":                        {"entra", DirectoryEntry{Kind: Guest, Groups: []string{"cn=board"}}, "guests"},
		"one attribute of two":        {"ldap", DirectoryEntry{Attributes: berlin}, ""},
		"both, one with two values":   {"ldap", DirectoryEntry{Attributes: berlin, Department: "it"}, "berlin"},
	} {
		entries := []DirectoryEntry{c.entry}
		if tenant.Assign(c.dir, entries); entries[0].Profile != c.want {
			t.Errorf("%s: %q, want %q", name, entries[0].Profile, c.want)
		}
	}
	if got := tenant.RuleGroups("ldap"); !slices.Equal(got, []string{"CN=Board", "cn=board"}) {
		t.Errorf("groups %v", got)
	}
	if got := tenant.RuleAttributes("ldap"); !slices.Equal(got, []string{"l"}) {
		t.Errorf("attributes %v", got)
	}
}

func TestOldDescriptionsHaveOneDirectory(t *testing.T) {
	var tenant Tenant
	if err := tenant.UnmarshalJSON([]byte(`{"id":"acme","directory":{"kind":"ldap","ldap":{"url":"ldaps://l"},"removals":{"percent":7}}}`)); err != nil {
		t.Fatal(err)
	}
	if d, err := tenant.Directory("ldap"); err != nil || d.LDAP.URL != "ldaps://l" || d.Removals.Percent != 7 || tenant.ID != "acme" {
		t.Errorf("%+v, %v", tenant, err)
	}
	if _, err := tenant.Directory("hr"); !HasCode(err, CodeNotFound) {
		t.Error(err)
	}
}

func TestPrecedence(t *testing.T) {
	tenant := Tenant{Directories: []DirectoryConfig{{Name: "a"}, {Name: "b"}, {Name: "c"}},
		People: PeopleConfig{Precedence: map[PersonField][]DirectoryName{FieldMail: {"c"}}}}
	if got := tenant.PrecedenceOf(FieldMail); !slices.Equal(got, []DirectoryName{"c", "a", "b"}) {
		t.Error(got)
	}
	if got := tenant.PrecedenceOf(FieldUPN); !slices.Equal(got, []DirectoryName{"a", "b", "c"}) {
		t.Error(got)
	}
}
