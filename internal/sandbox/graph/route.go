package graph

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// area is the part of Graph behind a route. Each has its own permissions and its own words for a refusal.
type area int

const (
	areaOrganization area = iota
	areaUsers
	areaGroups
	areaBatch // each request in it has its own area
	areaSettings
	areaMailMeta // folders and properties of messages
	areaMailBody // bytes of messages
	areaFiles
)

// allowedBy are the application permissions of which one is needed.
// Source: the permission tables of each call on learn.microsoft.com/graph/api.
var allowedBy = map[area][]string{
	areaOrganization: {"Organization.Read.All", "Organization.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"},
	areaUsers:        {"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"},
	areaGroups: {"GroupMember.Read.All", "GroupMember.ReadWrite.All", "Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All",
		"Directory.ReadWrite.All"},
	areaSettings: {"MailboxSettings.Read", "MailboxSettings.ReadWrite"},
	areaMailMeta: {"Mail.Read", "Mail.ReadWrite", "Mail.ReadBasic", "Mail.ReadBasic.All"},
	areaMailBody: {"Mail.Read", "Mail.ReadWrite"},
	areaFiles:    {"Files.Read.All", "Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All"},
}

// refusal is how the area says that the permission is missing.
func (a area) refusal() *apiError {
	switch a {
	case areaOrganization, areaUsers, areaGroups:
		return &apiError{Status: 403, Code: "Authorization_RequestDenied", Message: "Insufficient privileges to complete the operation."}
	case areaFiles:
		return &apiError{Status: 403, Code: "accessDenied", Message: "Access denied"}
	}
	return &apiError{Status: 403, Code: "ErrorAccessDenied", Message: "Access is denied. Check credentials and try again."}
}

// outlook tells whether the area belongs to a mailbox and so falls under its limits.
func (a area) outlook() bool { return a == areaSettings || a == areaMailMeta || a == areaMailBody }

// directory tells whether the area is that of users and groups.
func (a area) directory() bool { return a == areaUsers || a == areaGroups || a == areaBatch }

// call is one request on its way through the server.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	kind Call
	// user is that of the {user} or {drive} in the path, as far as it has a mailbox and a drive, and account the one of the directory; nil
	// when there is none.
	user    *user
	account *entry
}

// route is one operation.
type route struct {
	kind    Call
	area    area
	pattern string
	serve   func(*Server, *call) error
}

// routes is the whole of Graph that is served. Whatever else is asked for is answered with 400, as the real service does.
var routes = []route{
	{CallOrganization, areaOrganization, "/organization", (*Server).organization},
	{CallUsers, areaUsers, "/users", (*Server).listUsers},
	{CallUserDelta, areaUsers, "/users/delta", (*Server).userDelta},
	{CallUser, areaUsers, "/users/{user}", (*Server).getUser},
	{CallDeletedUsers, areaUsers, "/directory/deletedItems/microsoft.graph.user", (*Server).deletedUsers},
	{CallGroupDelta, areaGroups, "/groups/delta", (*Server).groupDelta},
	{CallGroup, areaGroups, "/groups/{group}", (*Server).getGroup},
	{CallMembers, areaGroups, "/groups/{group}/transitiveMembers", (*Server).transitiveMembers},
	{CallMailboxSettings, areaSettings, "/users/{user}/mailboxSettings", (*Server).mailboxSettings},
	{CallMailboxSettings, areaSettings, "/users/{user}/mailboxSettings/userPurpose", (*Server).userPurpose},
	{CallFolders, areaMailMeta, "/users/{user}/mailFolders", (*Server).listFolders},
	{CallFolderDelta, areaMailMeta, "/users/{user}/mailFolders/delta", (*Server).folderDelta},
	{CallFolder, areaMailMeta, "/users/{user}/mailFolders/{folder}", (*Server).getFolder},
	{CallFolders, areaMailMeta, "/users/{user}/mailFolders/{folder}/childFolders", (*Server).listFolders},
	{CallMessages, areaMailMeta, "/users/{user}/messages", (*Server).listMessages},
	{CallMessages, areaMailMeta, "/users/{user}/mailFolders/{folder}/messages", (*Server).listMessages},
	{CallMessageDelta, areaMailMeta, "/users/{user}/mailFolders/{folder}/messages/delta", (*Server).messageDelta},
	{CallMessage, areaMailMeta, "/users/{user}/messages/{message}", (*Server).getMessage},
	{CallMessageValue, areaMailBody, "/users/{user}/messages/{message}/$value", (*Server).messageValue},
	{CallAttachments, areaMailBody, "/users/{user}/messages/{message}/attachments", (*Server).listAttachments},
	{CallAttachmentValue, areaMailBody, "/users/{user}/messages/{message}/attachments/{attachment}/$value", (*Server).attachmentValue},
	{CallDrive, areaFiles, "/users/{user}/drive", (*Server).getDrive},
	{CallDrive, areaFiles, "/drives/{drive}", (*Server).getDrive},
	{CallItem, areaFiles, "/drives/{drive}/root", (*Server).getItem},
	{CallItem, areaFiles, "/users/{user}/drive/root", (*Server).getItem},
	{CallDriveDelta, areaFiles, "/drives/{drive}/root/delta", (*Server).driveDelta},
	{CallDriveDelta, areaFiles, "/users/{user}/drive/root/delta", (*Server).driveDelta},
	{CallItem, areaFiles, "/drives/{drive}/items/{item}", (*Server).getItem},
	{CallItem, areaFiles, "/users/{user}/drive/items/{item}", (*Server).getItem},
	{CallChildren, areaFiles, "/drives/{drive}/items/{item}/children", (*Server).listChildren},
	{CallChildren, areaFiles, "/drives/{drive}/root/children", (*Server).listChildren},
	{CallContent, areaFiles, "/drives/{drive}/items/{item}/content", (*Server).itemContent},
	{CallContent, areaFiles, "/users/{user}/drive/items/{item}/content", (*Server).itemContent},
}

// graphHandler serves the token endpoint and Graph on one host.
func (s *Server) graphHandler() http.Handler {
	login, api := http.NewServeMux(), http.NewServeMux()
	s.api = api
	login.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.serveToken)
	login.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.serveDiscovery)
	login.HandleFunc("GET /common/discovery/instance", s.serveInstances)
	for _, rt := range routes {
		api.HandleFunc("GET /v1.0"+rt.pattern, func(w http.ResponseWriter, r *http.Request) { s.serveRoute(w, r, rt) })
	}
	for _, rt := range posts {
		api.HandleFunc("POST /v1.0"+rt.pattern, func(w http.ResponseWriter, r *http.Request) { s.serveRoute(w, r, rt) })
	}
	api.HandleFunc("/v1.0/", func(w http.ResponseWriter, r *http.Request) { s.serveRoute(w, r, unknownRoute) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1.0/") {
			login.ServeHTTP(w, r)
			return
		}
		plain := *r
		plain.URL = plainDelta(r.URL)
		api.ServeHTTP(w, &plain)
	})
}

// posts are the operations that are posted to. None of them changes anything.
var posts = []route{
	{CallCheckGroups, areaGroups, "/users/{user}/checkMemberGroups", (*Server).checkMemberGroups},
	{CallBatch, areaBatch, "/$batch", func(s *Server, c *call) error { return s.batch(c) }},
}

// unknownRoute answers what is not served.
var unknownRoute = route{kind: CallUnknown, area: areaUsers, serve: func(_ *Server, c *call) error {
	if c.r.Method != http.MethodGet {
		return &apiError{Status: http.StatusMethodNotAllowed, Code: "Request_BadRequest", Message: "Specified HTTP method is not allowed for the request target."}
	}
	return badRequest("BadRequest", "Resource not found for the segment.")
}}

// serveRoute takes a request through the checks in the order of the real service and renders the outcome.
func (s *Server) serveRoute(w http.ResponseWriter, r *http.Request, rt route) {
	s.calls.add(rt.kind)
	requestID, clientID := newGUID(), r.Header.Get("client-request-id")
	if clientID == "" || len(clientID) > 100 {
		clientID = requestID
	}
	w.Header().Set("request-id", requestID)
	w.Header().Set("client-request-id", clientID)
	out := &answerWriter{ResponseWriter: w, streams: rt.kind == CallMessageValue || rt.kind == CallAttachmentValue}
	if err := s.handle(&call{w: out, r: r, kind: rt.kind}, rt); err != nil {
		e, ok := err.(*apiError)
		if !ok {
			e = &apiError{Status: http.StatusInternalServerError, Code: "generalException", Message: err.Error()}
		}
		e.write(out, requestID, clientID)
	}
	if rt.area.directory() {
		if _, hit := s.faults.strike(rt.kind, "", FaultCut); hit {
			out.cut()
		}
	}
	out.send(r)
}

func (s *Server) handle(c *call, rt route) error {
	claims, ok := s.readAccessToken(bearer(c.r), time.Now())
	if !ok {
		return invalidToken
	}
	upn := s.resolveUser(c)
	s.delay(c.r, rt.kind, upn)
	if _, hit := s.faults.strike(rt.kind, upn, FaultUnauthorized); hit {
		return invalidToken
	}
	if f, hit := s.faults.strike(rt.kind, upn, FaultThrottle, FaultUnavailable); hit {
		return f.answer(rt.area)
	}
	if rt.kind != CallUnknown && rt.kind != CallBatch && !slices.ContainsFunc(allowedBy[rt.area], func(role string) bool { return slices.Contains(claims.Roles, role) }) {
		return rt.area.refusal()
	}
	if c.user == nil && c.account == nil && (c.r.PathValue("user") != "" || c.r.PathValue("drive") != "") {
		return unknownOwner(c.r)
	}
	if rt.area.outlook() {
		return s.handleOutlook(c, rt)
	}
	return rt.serve(s, c)
}

// resolveUser finds whose things are asked for and gives the UPN, or an empty string.
func (s *Server) resolveUser(c *call) string {
	if name := c.r.PathValue("user"); name != "" {
		c.user, c.account = s.company.lookUp(name)
	} else if id := c.r.PathValue("drive"); id != "" {
		c.user = s.company.drives[id]
	}
	switch {
	case c.user != nil:
		return c.user.UPN
	case c.account != nil:
		return c.account.UPN
	}
	return ""
}

var invalidToken = &apiError{Status: http.StatusUnauthorized, Code: "InvalidAuthenticationToken", Message: "Access token has expired or is not yet valid.",
	Header: [2]string{"WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`}}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

func unknownOwner(r *http.Request) *apiError {
	if id := r.PathValue("drive"); id != "" {
		return notFound("itemNotFound", "The resource could not be found.")
	}
	return missing(r.PathValue("user"))
}

// missing is the directory's word for an object that it does not have.
func missing(name string) *apiError {
	return notFound("Request_ResourceNotFound", fmt.Sprintf("Resource '%.100s' does not exist or one of its queried reference-property objects are not present.", name))
}

// answer is the fault in the area's words.
func (f Fault) answer(a area) *apiError {
	e := &apiError{Status: f.status(), RetryAfter: f.RetryAfter}
	switch {
	case f.Kind == FaultUnavailable:
		e.Code, e.Message = "serviceNotAvailable", "The service is temporarily unavailable."
	case a.outlook():
		e.Code, e.Message = "ApplicationThrottled", "Application is over its request limit."
	case a == areaFiles:
		e.Code, e.Message = "activityLimitReached", "The request has been throttled."
	default:
		e.Code, e.Message = "TooManyRequests", "Too many requests."
	}
	return e
}

// handleOutlook keeps to a mailbox's rules: it must exist, be open to applications, and take at most four requests at once
// (learn.microsoft.com/graph/throttling-limits, Outlook service limits).
func (s *Server) handleOutlook(c *call, rt route) error {
	if rt.area == areaSettings && c.user == nil && c.account.Purpose != "" {
		return rt.serve(s, c)
	}
	if c.user == nil || c.user.NoMailbox {
		return notFound("MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise.")
	}
	if _, hit := s.faults.strike(rt.kind, c.user.UPN, FaultFence); hit {
		return &apiError{Status: 403, Code: "ErrorAccessDenied", Message: "Access to OData is disabled."}
	}
	select {
	case c.user.busy <- struct{}{}:
		defer func() { <-c.user.busy }()
		return rt.serve(s, c)
	default:
		return &apiError{Status: http.StatusTooManyRequests, Code: "ApplicationThrottled", RetryAfter: 1,
			Message: "Application is over its MailboxConcurrency limit."}
	}
}
