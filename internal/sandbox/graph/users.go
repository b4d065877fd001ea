package graph

import (
	"net/http"
	"strconv"
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
	"mailNickname", "usageLocation", "businessPhones", "mobilePhone", "officeLocation", "preferredLanguage"}

// userDefaults are what Graph gives when nothing is selected.
var userDefaults = []string{"businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation", "preferredLanguage",
	"surname", "userPrincipalName"}

func userObject(u *user) object {
	plans := []object{}
	if !u.NoMailbox {
		for _, service := range []string{"exchange", "SharePoint"} {
			plans = append(plans, object{"assignedDateTime": "2020-03-02T09:00:00Z", "capabilityStatus": "Enabled", "service": service, "servicePlanId": guid(0, "plan "+service)})
		}
	}
	return object{
		"id": u.GraphID, "displayName": u.DisplayName(), "userPrincipalName": u.UPN, "mail": u.Mail, "proxyAddresses": []string{"SMTP:" + u.Mail},
		"givenName": u.GivenName, "surname": u.Surname, "accountEnabled": !u.Disabled, "userType": "Member", "department": u.Department,
		"jobTitle": nil, "employeeId": u.EmployeeID, "createdDateTime": "2020-03-02T09:00:00Z", "deletedDateTime": nil,
		"assignedPlans": plans, "assignedLicenses": []object{}, "onPremisesImmutableId": nil, "mailNickname": u.UID, "usageLocation": "DE",
		"businessPhones": []string{}, "mobilePhone": nil, "officeLocation": nil, "preferredLanguage": nil,
	}
}

func (s *Server) listUsers(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, userProperties)
	if e != nil {
		return e
	}
	if o.Top > usersMax {
		return badRequest("Request_UnsupportedQuery", "Invalid page size specified: '"+strconv.Itoa(o.Top)+"'. Must be between 1 and 999 inclusive.")
	}
	if o.Filter != "" {
		return badRequest("Request_UnsupportedQuery", "Unsupported or invalid query filter clause.")
	}
	l := listing{feed: "users", context: "#users", size: o.size(usersDefault, usersMax)}
	if e := s.resume(&l, &o); e != nil {
		return e
	}
	if len(o.Select) == 0 {
		o.Select = userDefaults
	}
	return writeList(s, c, l, o, s.company.users, userObject)
}

func (s *Server) getUser(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, userProperties)
	if e != nil {
		return e
	}
	if len(o.Select) == 0 {
		o.Select = userDefaults
	}
	out := pick(userObject(c.user), o.Select)
	out["@odata.context"] = s.GraphURL() + "/$metadata#users/$entity"
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

func (s *Server) mailboxSettings(c *call) error {
	writeJSON(c.w, http.StatusOK, object{
		"@odata.context": s.GraphURL() + "/$metadata#users('" + c.user.GraphID + "')/mailboxSettings",
		"userPurpose":    "user", "timeZone": "W. Europe Standard Time", "dateFormat": "dd.MM.yyyy", "timeFormat": "HH:mm",
		"archiveFolder": c.user.ids.folderID(archiveNumber), "language": object{"locale": "de-DE", "displayName": "German (Germany)"},
	})
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
