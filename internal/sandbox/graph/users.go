package graph

import (
	"net/http"
	"strconv"
	"strings"
)

// Page sizes of Graph: what a call gives when nothing is said, and at most.
const (
	usersDefault, usersMax     = 100, 999
	outlookDefault, outlookMax = 10, 1000
	drivesDefault, drivesMax   = 200, 999
)

func (s *Server) organization(c *call) error {
	writeJSON(c.w, http.StatusOK, object{
		"@odata.context": s.GraphURL() + "/$metadata#organization",
		"value": []object{{
			"id": s.opt.TenantID, "displayName": "Sandbox " + s.opt.Domain, "createdDateTime": "2020-03-02T09:00:00Z",
			"countryLetterCode": "DE", "tenantType": "AAD",
			"verifiedDomains": []object{{"name": s.opt.Domain, "isDefault": true, "isInitial": true, "type": "Managed", "capabilities": "Email, OfficeCommunicationsOnline"}},
		}},
	})
	return nil
}

// userProperties may be selected. Others of the real service are refused like misspelt ones.
var userProperties = []string{"id", "displayName", "userPrincipalName", "mail", "proxyAddresses", "givenName", "surname", "accountEnabled", "userType",
	"department", "jobTitle", "employeeId", "createdDateTime", "deletedDateTime", "assignedPlans", "assignedLicenses", "onPremisesImmutableId",
	"mailNickname", "usageLocation", "businessPhones", "mobilePhone", "officeLocation", "preferredLanguage", "onPremisesExtensionAttributes"}

// userDefaults are what Graph gives when nothing is selected.
var userDefaults = []string{"businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation", "preferredLanguage",
	"surname", "userPrincipalName"}

// skuID is the licence that there is.
var skuID = guid(0, "sku E3")

// object is the user as Graph shows it.
func (e *entry) object() object {
	plans, licences := []object{}, []object{}
	if e.Licensed {
		for _, service := range []string{"exchange", "SharePoint"} {
			plans = append(plans, object{"assignedDateTime": "2020-03-02T09:00:00Z", "capabilityStatus": "Enabled", "service": service, "servicePlanId": planIDs[service]})
		}
		licences = append(licences, object{"disabledPlans": []string{}, "skuId": skuID})
	}
	kind, nickname := "Member", e.UPN
	if e.Guest {
		kind = "Guest"
	}
	if at := strings.IndexByte(nickname, '@'); at > 0 {
		nickname = nickname[:at]
	}
	return object{
		"id": e.id, "displayName": e.DisplayName, "userPrincipalName": e.UPN, "mail": orNull(e.Mail), "proxyAddresses": e.proxies(),
		"givenName": orNull(e.GivenName), "surname": orNull(e.Surname), "accountEnabled": !e.Disabled, "userType": kind, "department": orNull(e.Department),
		"jobTitle": orNull(e.JobTitle), "employeeId": orNull(e.EmployeeID), "createdDateTime": "2020-03-02T09:00:00Z", "deletedDateTime": e.deletedAt(),
		"assignedPlans": plans, "assignedLicenses": licences, "onPremisesImmutableId": nil, "mailNickname": nickname, "usageLocation": "DE",
		"businessPhones": []string{}, "mobilePhone": nil, "officeLocation": nil, "preferredLanguage": nil, "onPremisesExtensionAttributes": e.extensions(),
	}
}

var planIDs = map[string]string{"exchange": guid(0, "plan exchange"), "SharePoint": guid(0, "plan SharePoint")}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// proxies are the addresses, the primary one in capitals.
func (e *entry) proxies() []string {
	list := make([]string, 0, 1+len(e.Aliases))
	if e.Mail != "" {
		list = append(list, "SMTP:"+e.Mail)
	}
	for _, a := range e.Aliases {
		list = append(list, "smtp:"+a)
	}
	return list
}

func (e *entry) deletedAt() any {
	if e.where == present {
		return nil
	}
	return stamp(e.deleted)
}

// extensions are always there, all fifteen of them.
func (e *entry) extensions() object {
	o := make(object, 15)
	for n := range 15 {
		name := "extensionAttribute" + strconv.Itoa(n+1)
		o[name] = orNull(e.ExtensionAttributes[name])
	}
	return o
}

func (s *Server) listUsers(c *call) error {
	return s.writeUsers(c, present, listing{feed: "users", context: "#users"})
}

func (s *Server) getUser(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, userProperties)
	if e != nil {
		return e
	}
	if len(o.Select) == 0 {
		o.Select = userDefaults
	}
	out := pick(c.account.object(), o.Select)
	out["@odata.context"] = s.GraphURL() + "/$metadata#users/$entity"
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

func (s *Server) mailboxSettings(c *call) error {
	archive := any(nil)
	if c.user != nil {
		archive = c.user.ids.folderID(archiveNumber)
	}
	writeJSON(c.w, http.StatusOK, object{
		"@odata.context": s.GraphURL() + "/$metadata#users('" + c.account.id + "')/mailboxSettings",
		"userPurpose":    c.account.Purpose, "timeZone": "W. Europe Standard Time", "dateFormat": "dd.MM.yyyy", "timeFormat": "HH:mm",
		"archiveFolder": archive, "language": object{"locale": "de-DE", "displayName": "German (Germany)"},
	})
	return nil
}

// userPurpose is a property of the settings by its own address.
func (s *Server) userPurpose(c *call) error {
	writeJSON(c.w, http.StatusOK, object{"@odata.context": s.GraphURL() + "/$metadata#users('" + c.account.id + "')/mailboxSettings/userPurpose", "value": c.account.Purpose})
	return nil
}

// listing is one page of a plain list: what is listed, from where, how many.
type listing struct {
	feed, context  string
	position, size int
}

// resume reads the position: a next link's token, whose options then hold, or $skip.
func (s *Server) resume(l *listing, o *options) *apiError {
	l.position = o.Skip
	if o.Token == "" {
		return nil
	}
	cur, ok := parseCursor(s.company.signKey, l.feed, o.Token)
	if !ok {
		return badRequest("Directory_ExpiredPageToken", "Property $skiptoken in the link is not valid.")
	}
	l.position, l.size, o.Select, o.Hidden = int(cur.Since), cur.Size, cur.Select, cur.Hidden
	return nil
}

// writeList writes the page and the link to the next.
func writeList[T any](s *Server, c *call, l listing, o options, all []T, render func(T) object) error {
	position := min(l.position, len(all))
	end := min(position+l.size, len(all))
	page := make([]object, 0, end-position)
	for _, x := range all[position:end] {
		page = append(page, pick(render(x), o.Select))
	}
	body := object{"@odata.context": s.GraphURL() + "/$metadata" + l.context, "value": page}
	if end < len(all) {
		body["@odata.nextLink"] = s.link(c, "$skiptoken", cursor{Feed: l.feed, Since: uint64(end), Size: l.size, Select: o.Select, Hidden: o.Hidden})
	}
	writeJSON(c.w, http.StatusOK, body)
	return nil
}

// link is an absolute URL of the same call with nothing but a token.
func (s *Server) link(c *call, parameter string, cur cursor) string {
	return s.graphURL + c.r.URL.EscapedPath() + "?" + parameter + "=" + cur.sign(s.company.signKey)
}
