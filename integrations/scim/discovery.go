package scim

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"

	library "github.com/elimity-com/scim"
	"github.com/elimity-com/scim/optional"
)

// discovery are the documents that tell what this provider can do, by their path. They are the library's, put right where it cannot be told.
type discovery map[string]map[string]any

// discover asks the library once for all of them.
func discover() discovery {
	server := discoveryServer()
	d := discovery{"/ServiceProviderConfig": answerOf(server, "/ServiceProviderConfig")}
	config := d["/ServiceProviderConfig"]
	config["etag"] = map[string]any{"supported": true}
	config["bulk"] = map[string]any{"supported": false, "maxOperations": 0, "maxPayloadSize": 0}
	config["meta"] = map[string]any{"resourceType": "ServiceProviderConfig"}
	for path, kind := range map[string]string{"/Schemas": "Schema", "/ResourceTypes": "ResourceType"} {
		list := answerOf(server, path)
		resources, _ := list["Resources"].([]any)
		list["itemsPerPage"] = len(resources)
		d[path] = list
		for _, r := range resources {
			resource := r.(map[string]any)
			resource["meta"] = map[string]any{"resourceType": kind}
			d[path+"/"+resource["id"].(string)] = resource
		}
	}
	return d
}

func discoveryServer() library.Server {
	s, err := library.NewServer(&library.ServerArgs{
		ServiceProviderConfig: &library.ServiceProviderConfig{
			MaxResults: MaxPage, SupportFiltering: true, SupportPatch: true,
			AuthenticationSchemes: []library.AuthenticationScheme{{
				Type: library.AuthenticationTypeOauthBearerToken, Name: "OAuth Bearer Token", Primary: true,
				Description: "A long-lived bearer token of one directory of one tenant.",
				SpecURI:     optional.NewString("https://www.rfc-editor.org/info/rfc6750"),
			}},
		},
		ResourceTypes: []library.ResourceType{userType.described("A person."), groupType.described("A group of people.")},
	})
	if err != nil {
		panic(err) // only when an argument is missing
	}
	return s
}

// described is the resource type as the library knows it. It has no handler, because the library is asked for discovery only.
func (t *resourceType) described(what string) library.ResourceType {
	r := library.ResourceType{ID: optional.NewString(t.name), Name: t.name, Description: optional.NewString(what), Endpoint: t.endpoint, Schema: t.core}
	for _, s := range t.extensions {
		r.SchemaExtensions = append(r.SchemaExtensions, library.SchemaExtension{Schema: s})
	}
	return r
}

// answerOf is the library's answer to a GET.
func answerOf(server library.Server, path string) map[string]any {
	var w answer
	server.ServeHTTP(&w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}})
	var object map[string]any
	if err := json.Unmarshal(w.body, &object); err != nil {
		panic(err) // the library's own JSON
	}
	withoutEmpty(object)
	return object
}

// withoutEmpty takes out empty texts and nulls: Entra takes no null, and an empty URI is none.
func withoutEmpty(v any) {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, x any) bool { return x == nil || x == "" })
		for _, x := range v {
			withoutEmpty(x)
		}
	case []any:
		for _, x := range v {
			withoutEmpty(x)
		}
	}
}

// answer keeps a body.
type answer struct {
	header http.Header
	body   []byte
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}
func (a *answer) WriteHeader(int) {}
func (a *answer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// discover answers a GET of a document of discovery.
func (q *request) discover(path string) error {
	if q.query.Has("filter") {
		return refuse(http.StatusForbidden, "", "%s cannot be filtered; read it as a whole.", path)
	}
	document, ok := q.discovery[path]
	if !ok {
		return refuse(http.StatusNotFound, "", "There is no %q.", excerpt(path))
	}
	writeJSON(q.w, http.StatusOK, located(document, q.base(), path))
	return nil
}

// located is a copy of a document in which every resource tells where it is.
func located(document map[string]any, base, path string) map[string]any {
	out := maps.Clone(document)
	if meta, ok := out["meta"].(map[string]any); ok {
		meta = maps.Clone(meta)
		meta["location"] = base + path
		out["meta"] = meta
	}
	if list, ok := out["Resources"].([]any); ok {
		resources := make([]any, len(list))
		for i, r := range list {
			resource := r.(map[string]any)
			id, _ := resource["id"].(string)
			resources[i] = located(resource, base, strings.TrimSuffix(path, "/")+"/"+id)
		}
		out["Resources"] = resources
	}
	return out
}
