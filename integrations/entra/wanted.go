package entra

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// wanted is what is read of whom.
type wanted struct {
	Config backup.EntraConfig
	// Groups are those of the filter and of the profile rules, each once.
	Groups []string
	// Attributes are the properties that a filter or a rule names, in lower case, sorted.
	Attributes []string
	// Select are the tracked properties.
	Select []string
}

// identity is selected of everybody.
var identity = []string{"id", "displayName", "userPrincipalName", "mail", "proxyAddresses", "accountEnabled", "userType", "department", "employeeId"}

// properties are those that a filter or a rule may name besides, by their names in lower case: the ones that are texts or lists of texts and
// that users/delta tracks. See https://learn.microsoft.com/graph/api/resources/user.
var properties = func() map[string]string {
	names := map[string]string{}
	for _, n := range strings.Fields(`ageGroup businessPhones city companyName country creationType employeeType faxNumber givenName jobTitle mailNickname
		mobilePhone officeLocation onPremisesDistinguishedName onPremisesDomainName onPremisesImmutableId onPremisesSamAccountName
		onPremisesSecurityIdentifier onPremisesUserPrincipalName postalCode preferredLanguage state streetAddress surname usageLocation userType
		displayName userPrincipalName mail department employeeId`) {
		names[strings.ToLower(n)] = n
	}
	names["upn"] = "userPrincipalName"
	return names
}()

const extensions = "onPremisesExtensionAttributes"

var extension = regexp.MustCompile(`^extensionattribute([1-9]|1[0-5])$`)

// kindAttribute is our own word for the kind of an entry.
const kindAttribute = "kind"

// wantedOf reads the description. What cannot be selected is refused here: asked for at Graph it would end every import.
func wantedOf(t backup.Tenant, dir backup.DirectoryConfig) (wanted, error) {
	w := wanted{Config: *dir.Entra, Groups: append(slices.Clone(dir.Entra.Groups), t.RuleGroups(dir.Name)...), Attributes: t.RuleAttributes(dir.Name),
		Select: slices.Clone(identity)}
	for name := range dir.Entra.Attributes {
		if strings.EqualFold(name, kindAttribute) {
			return w, msgraph.BadConfig("entra.attributes cannot tell people by their kind", "use guests and sharedMailboxes")
		}
		w.Attributes = append(w.Attributes, strings.ToLower(name))
	}
	slices.Sort(w.Groups)
	slices.Sort(w.Attributes)
	w.Groups, w.Attributes = slices.Compact(w.Groups), slices.Compact(w.Attributes)
	for _, g := range w.Groups {
		if !guid.MatchString(g) {
			return w, msgraph.BadConfig("the group "+msgraph.Plain(g, 80)+" is not an Entra group id", "write the group's object id, a GUID")
		}
	}
	for _, a := range w.Attributes {
		property, known := properties[a]
		switch {
		case extension.MatchString(a):
			property = extensions
		case a == kindAttribute:
			continue
		case !known:
			return w, msgraph.BadConfig("Entra has no property "+msgraph.Plain(a, 80)+" that people can be told by",
				"write a text property of Graph's user such as jobTitle, or extensionAttribute1 to extensionAttribute15")
		}
		if !slices.Contains(w.Select, property) {
			w.Select = append(w.Select, property)
		}
	}
	if w.Config.Licensed {
		w.Select = append(w.Select, "assignedLicenses")
	}
	return w, nil
}

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$`)

// digest tells one way of reading from another: a cursor is of no use to one that selects other people or properties.
func digest(tenant, host string, w wanted) string {
	c := w.Config
	// The key to the door changes nothing of what is behind it.
	c.ClientID, c.ClientSecret, c.ClientCertificate, c.CAFile, c.LoginURL, c.GraphURL, c.Cloud = "", "", "", "", "", "", ""
	w.Config = c
	b, err := json.Marshal([]any{strings.ToLower(tenant), strings.ToLower(host), w})
	if err != nil {
		panic(err) // texts, lists and maps of texts
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
