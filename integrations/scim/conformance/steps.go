package conformance

import (
	"net/url"
	"strings"
)

const (
	user  = `"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]`
	group = `"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group","http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"]`
	ent   = `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User`
)

func ops(list string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + list + `]}`
}

// where leaves the braces of names alone.
func where(path, filter string) string {
	return path + "?filter=" + strings.NewReplacer("%7B", "{", "%7D", "}").Replace(url.QueryEscape(filter))
}

// Steps are the exchanges, in order.
func Steps() []Step {
	var all []Step
	for _, part := range [][]Step{discovery(), users(), filters(), entra(), okta(), groups(), refusals(), ends()} {
		all = append(all, part...)
	}
	return all
}

func get(name, path string, status int, has ...string) Step {
	return Step{Name: name, Method: "GET", Path: path, Status: status, Has: has}
}

func patch(name, path, list string, status int, has ...string) Step {
	return Step{Name: name, Method: "PATCH", Path: path, Body: ops(list), Status: status, Has: has}
}

func discovery() []Step {
	return []Step{
		get("service provider config", "/ServiceProviderConfig", 200, `"patch":{"supported":true}`, `"etag":{"supported":true}`, `"bulk":{"maxOperations":0`),
		{Name: "schemas", Method: "GET", Path: "/Schemas", Status: 200, Has: []string{`"userName"`, ent}, Lacks: []string{"null"}},
		get("one schema", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User", 200, `"multiValued"`),
		get("resource types", "/ResourceTypes", 200, `"endpoint":"/Groups"`),
		get("one resource type", "/ResourceTypes/User", 200, `/ResourceTypes/User"`),
		{Name: "405 has Allow", Method: "POST", Path: "/Schemas", Status: 405, Has: []string{"Allow: GET"}},
		{Name: "405 of a list", Method: "DELETE", Path: "/Users", Status: 405},
		{Name: "bulk", Method: "POST", Path: "/Bulk", Body: `{}`, Status: 501},
		get("me", "/Me", 501),
		get("sort", "/Users?sortBy=userName", 501),
		get("unknown endpoint", "/Devices", 404),
		{Name: "no token", Method: "GET", Path: "/Users", Header: map[string]string{"Authorization": ""}, Status: 401, Has: []string{"Www-Authenticate: Bearer"}},
		{Name: "wrong token", Method: "GET", Path: "/Users", Header: map[string]string{"Authorization": "Bearer nobody"}, Status: 401},
	}
}

func users() []Step {
	return []Step{
		{Name: "create", Method: "POST", Path: "/Users", Keep: "ada", Status: 201, Has: []string{"Location: ", `/Users/{ada}`, `"version":"W/\"1\""`, `"active":true`, "Etag: W/\"1\""}, Lacks: []string{"password", "s3cret"},
			Body: `{` + user + `,"USERNAME":"Ada.{run}@example.com","externalId":"Ext-{run}","password":"s3cret","id":"mine","meta":{"x":1},"roles":[],"nonsense":1,"name":{"givenName":"Ada","familyName":"L"},"emails":[{"type":"work","value":"ada.{run}@work.example","primary":"True"},{"type":"home","value":"ada.{run}@home.example"}],"` + ent + `":{"department":"Maths"}}`},
		{Name: "duplicate userName in another case", Method: "POST", Path: "/Users", Status: 409, Has: []string{`"scimType":"uniqueness"`}, Body: `{` + user + `,"userName":"ADA.{run}@EXAMPLE.com"}`},
		{Name: "missing userName", Method: "POST", Path: "/Users", Status: 400, Has: []string{`"scimType":"invalidValue"`}, Body: `{` + user + `}`},
		get("read", "/Users/{ada}", 200, `"department":"Maths"`, `"id":"{ada}"`),
		{Name: "projection", Method: "GET", Path: "/Users/{ada}?attributes=username,emails.value," + ent + ":department", Status: 200, Has: []string{`"schemas"`, `"id"`, `"Maths"`}, Lacks: []string{`"name"`, `"type"`, `"meta"`}},
		{Name: "exclusion", Method: "GET", Path: "/Users/{ada}?excludedAttributes=emails,id", Status: 200, Has: []string{`"id"`, `"name"`}, Lacks: []string{`"emails"`}},
		{Name: "not modified", Method: "GET", Path: "/Users/{ada}", Header: map[string]string{"If-None-Match": `W/"1"`}, Status: 304},
		{Name: "If-Match of another version", Method: "PATCH", Path: "/Users/{ada}", Header: map[string]string{"If-Match": `W/"77"`}, Body: ops(`{"op":"add","path":"title","value":"x"}`), Status: 412},
		get("404", "/Users/no-such-id", 404),
	}
}

func filters() []Step {
	one := func(name, f string) Step {
		return get(name, where("/Users", f), 200, `"totalResults":1`, `"id":"{ada}"`)
	}
	none := func(name, f string) Step {
		return get(name, where("/Users", f), 200, `"totalResults":0`, `"Resources":[]`)
	}
	bad := func(name, f string) Step { return get(name, where("/Users", f), 400, `"scimType":"invalidFilter"`) }
	return []Step{
		one("userName in any case", `USERNAME Eq "ADA.{run}@example.com"`), none("test connection", `userName eq "nobody-{run}"`),
		one("externalId", `externalId eq "Ext-{run}"`), none("externalId is case-exact", `externalId eq "ext-{run}"`),
		one("mail by brackets", `emails[type eq "work" and value eq "ada.{run}@work.example"]`), none("type and value of one element", `emails[type eq "home" and value eq "ada.{run}@work.example"]`),
		one("mail, Entra's form", `emails[type eq "work"].value eq "ada.{run}@work.example"`), one("emails.value", `emails.value eq "ADA.{run}@home.example"`),
		one("emails itself", `emails co "ada.{run}@"`), one("emails eq", `emails eq "ada.{run}@home.example"`),
		one("primary", `emails[primary eq "True" and value sw "ada.{run}"]`),
		one("extension and core", `userName eq "ada.{run}@example.com" and `+ent+`:department eq "maths"`),
		one("without quotes", `userName eq ada.{run}@example.com`), one("id and not", `id eq "{ada}" and not (active eq "False")`),
		none("id and manager", `id eq "{ada}" and manager eq "x"`), one("time", `id eq "{ada}" and meta.lastModified ge "2020-01-01T00:00:00Z"`),
		bad("broken filter", `userName eq`), bad("unknown attribute", `shoeSize eq 3`), bad("deep", "((((((((((((userName pr))))))))))))"),
		get("count 0", "/Users?count=0", 200, `"itemsPerPage":0`, `"Resources":[]`), get("bounds", "/Users?startIndex=-4&count=-1", 200, `"startIndex":1`, `"itemsPerPage":0`),
		{Name: "search", Method: "POST", Path: "/Users/.search", Body: `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"id eq \"{ada}\"","attributes":["userName"]}`, Status: 200, Has: []string{`"totalResults":1`}, Lacks: []string{`"emails"`}},
		{Name: "search of all", Method: "POST", Path: "/.search", Body: `{"filter":"id eq \"{ada}\""}`, Status: 200, Has: []string{`"totalResults":1`}},
	}
}

func entra() []Step {
	const at = "/Users/{ada}"
	return []Step{
		patch("active as a string", at, `{"op":"Replace","path":"active","value":"False"}`, 200, `"active":false`),
		get("inactive users are returned", at, 200, `"active":false`),
		patch("active again", at, `{"op":"Replace","value":{"active":"True"}}`, 200, `"active":true`),
		patch("create on replace", at, `{"op":"Replace","path":"phoneNumbers[type eq \"mobile\"].value","value":"+1"}`, 200, `"phoneNumbers":[{"type":"mobile","value":"+1"}]`),
		patch("one address of several adds", at, `{"op":"Add","path":"addresses[type eq \"work\"].locality","value":"Bern"},{"op":"Add","path":"addresses[type eq \"work\"].country","value":"CH"}`, 200, `"addresses":[{"country":"CH","locality":"Bern","type":"work"}]`),
		patch("manager as text", at, `{"op":"Add","path":"`+ent+`:manager","value":"m1"}`, 200, `"manager":{"value":"m1"}`),
		patch("manager as a list", at, `{"op":"Replace","path":"`+ent+`:manager","value":[{"$ref":null,"value":"m2"}]}`, 200, `"manager":{"value":"m2"}`),
		patch("manager by brackets", at, `{"op":"Remove","path":"`+ent+`:manager[value eq \"m2\"]"}`, 200, `"department":"Maths"`),
		patch("role of a boolean text", at, `{"op":"Add","path":"roles[primary eq \"True\"].value","value":"admin"}`, 200, `"roles":[{"primary":true,"value":"admin"}]`),
		patch("dotted and full keys", at, `{"op":"replace","value":{"name.givenName":"Augusta","`+ent+`:employeeNumber":7}}`, 200, `"givenName":"Augusta"`, `"familyName":"L"`, `"employeeNumber":"7"`),
		patch("extension as a path", at, `{"op":"add","path":"`+ent+`","value":{"division":"D"}}`, 200, `"division":"D"`),
		patch("atomic", at, `{"op":"replace","path":"title","value":"lost"},{"op":"replace","path":"nonsense","value":1}`, 400, `"scimType":"invalidPath"`),
		{Name: "nothing of it happened", Method: "GET", Path: at, Status: 200, Lacks: []string{"lost"}},
	}
}

func okta() []Step {
	const at = "/Users/{ada}"
	return []Step{
		patch("deactivate without a path", at, `{"op":"replace","value":{"active":false,"id":"{ada}"}}`, 200, `"active":false`),
		{Name: "put replaces", Method: "PUT", Path: at, Status: 200, Has: []string{`"active":true`, `"id":"{ada}"`}, Lacks: []string{"emails", "Maths"}, Body: `{` + user + `,"userName":"ada.{run}@example.com","active":true}`},
		patch("read-only", at, `{"op":"replace","path":"groups","value":[]}`, 400, `"scimType":"mutability"`),
		patch("required stays", at, `{"op":"remove","path":"userName"}`, 400),
		patch("remove needs a path", at, `{"op":"remove"}`, 400, `"scimType":"noTarget"`),
		patch("no target", at, `{"op":"replace","path":"emails[value eq \"x\"].display","value":"y"}`, 400, `"scimType":"noTarget"`),
	}
}

func groups() []Step {
	const at = "/Groups/{staff}"
	return []Step{
		{Name: "create a group", Method: "POST", Path: "/Groups", Keep: "staff", Status: 201, Has: []string{`"displayName":"Staff {run}"`}, Lacks: []string{"microsoft"}, Body: `{` + group + `,"displayName":"Staff {run}"}`},
		{Name: "add members", Method: "PATCH", Path: at, Status: 204, Body: ops(`{"op":"Add","path":"members","value":[{"$ref":null,"value":"{ada}"},{"value":"later"}]}`)},
		{Name: "again is the same", Method: "PATCH", Path: at, Status: 204, Has: []string{`Etag: W/"2"`}, Body: ops(`{"op":"Add","path":"members","value":[{"value":"{ada}"}]}`)},
		get("members", at, 200, `"value":"{ada}"`, `"value":"later"`), get("groups of a user", "/Users/{ada}", 200, `"groups":[`, `"{staff}"`),
		{Name: "without members", Method: "GET", Path: at + "?excludedAttributes=members", Status: 200, Lacks: []string{"members"}},
		get("by member", where("/Groups", `id eq "{staff}" and members[value eq "{ada}"]`), 200, `"totalResults":1`),
		{Name: "removal by value", Method: "PATCH", Path: at, Status: 204, Body: ops(`{"op":"Remove","path":"members","value":[{"value":"later"}]}`)},
		{Name: "only that one", Method: "GET", Path: at, Status: 200, Has: []string{"{ada}"}, Lacks: []string{"later"}},
		{Name: "removal by brackets", Method: "PATCH", Path: at, Status: 204, Body: ops(`{"op":"remove","path":"members[value eq \"{ada}\"]"}`)},
		{Name: "nobody is left", Method: "GET", Path: at, Status: 200, Lacks: []string{"{ada}"}},
		{Name: "id in the value", Method: "PATCH", Path: at, Status: 204, Body: ops(`{"op":"replace","value":{"id":"{staff}","displayName":"Team {run}"}}`)},
		{Name: "replace members", Method: "PATCH", Path: at, Status: 204, Body: ops(`{"op":"replace","path":"members","value":[{"value":"x1"},{"value":"x1"}]}`)},
		get("renamed, replaced", at, 200, `"Team {run}"`, `"members":[{"value":"x1"}]`),
		{Name: "remove all", Method: "PATCH", Path: at, Status: 204, Body: ops(`{"op":"remove","path":"members"}`)},
		{Name: "empty", Method: "GET", Path: at, Status: 200, Lacks: []string{"members"}},
	}
}

func refusals() []Step {
	return []Step{
		{Name: "trailing garbage", Method: "POST", Path: "/Users", Body: `{` + user + `,"userName":"g"} x`, Status: 400, Has: []string{"invalidSyntax"}},
		{Name: "another content type", Method: "POST", Path: "/Users", Body: `{}`, Header: map[string]string{"Content-Type": "text/plain"}, Status: 415},
		{Name: "wrong type", Method: "POST", Path: "/Users", Body: `{` + user + `,"userName":"t{run}","active":"maybe"}`, Status: 400, Has: []string{"invalidValue"}},
	}
}

func ends() []Step {
	return []Step{
		{Name: "delete the group", Method: "DELETE", Path: "/Groups/{staff}", Status: 204}, get("it is gone", "/Groups/{staff}", 404),
		{Name: "delete", Method: "DELETE", Path: "/Users/{ada}", Status: 204}, get("gone", "/Users/{ada}", 404),
		get("not found any more", where("/Users", `id eq "{ada}"`), 200, `"totalResults":0`),
	}
}
