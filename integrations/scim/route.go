package scim

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

type methods map[string]endpoint

var (
	userList = methods{http.MethodGet: listOf(userType), http.MethodPost: (*request).createUser}
	userOne  = methods{http.MethodGet: (*request).getUser, http.MethodPut: (*request).putUser, http.MethodPatch: (*request).patchUser,
		http.MethodDelete: (*request).deleteUser}
	groupList = methods{http.MethodGet: listOf(groupType), http.MethodPost: (*request).createGroup}
	groupOne  = methods{http.MethodGet: (*request).getGroup, http.MethodPut: (*request).putGroup, http.MethodPatch: (*request).patchGroup,
		http.MethodDelete: (*request).deleteGroup}
)

// route finds what answers below BasePath; nil: nothing does.
func route(path string) (methods, string) {
	first, id, deeper := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if strings.Contains(id, "/") || deeper && id == "" {
		return nil, ""
	}
	switch first {
	case "Users":
		return ofResource(id, userType, userList, userOne), id
	case "Groups":
		return ofResource(id, groupType, groupList, groupOne), id
	case ".search":
		return ifNone(id, methods{http.MethodPost: (*request).searchAll}), ""
	case "Schemas", "ResourceTypes":
		return methods{http.MethodGet: (*request).discover}, path
	case "ServiceProviderConfig":
		return ifNone(id, methods{http.MethodGet: (*request).discover}), path
	case "Bulk":
		return ifNone(id, notOffered("Bulk is not supported; send the requests one by one.")), ""
	case "Me":
		return notOffered("/Me is not supported: a token stands for a directory, not for a person."), ""
	}
	return nil, ""
}

func ofResource(id string, t *resourceType, list, one methods) methods {
	switch id {
	case "":
		return list
	case ".search":
		return methods{http.MethodPost: searchOf(t)}
	}
	return one
}

func ifNone(id string, m methods) methods {
	if id != "" {
		return nil
	}
	return m
}

func notOffered(why string) methods {
	m := methods{}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		m[method] = func(*request, string) error { return refuse(http.StatusNotImplemented, "", "%s", why) }
	}
	return m
}

func notAllowed(method string, m methods) error {
	r := refuse(http.StatusMethodNotAllowed, "", "%s is not possible here.", excerpt(method))
	r.allow = strings.Join(slices.Sorted(maps.Keys(m)), ", ")
	return r
}
