package graph

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// people of the 25: 0 has everything, 22 is disabled, 23 has no mail, 24 no mailbox.
const noMail, noMailbox = 23, 24

func TestAnswersByRequest(t *testing.T) {
	c := start(t, 25)
	p := c.opt.People
	u := c.company.users[0]
	anna, drive := "/users/"+p[0].UPN, "/drives/"+u.ids.driveID()
	item := func(name string) string {
		it := must(u.drive().resolve(name))
		return drive + "/items/" + u.ids.itemID(it.n)
	}
	message := anna + "/messages/" + u.ids.messageID(1, 0)
	tests := []struct {
		path   string
		status int
		code   string
	}{
		{"/organization", 200, ""},
		{"/users", 200, ""},
		{"/users?$top=999", 200, ""},
		{"/users?$top=1000", 400, "Request_UnsupportedQuery"},
		{"/users?$top=x", 400, "BadRequest"},
		{"/users?$select=displayNam", 400, "BadRequest"},
		{"/users?$expand=manager", 400, "BadRequest"},
		{"/users?$skiptoken=forged", 400, "Directory_ExpiredPageToken"},
		{anna, 200, ""},
		{"/users/" + p[0].GraphID, 200, ""},
		{"/users/" + strings.ToUpper(p[0].UPN), 200, ""},
		{"/users/nobody@acme.example", 404, "Request_ResourceNotFound"},
		{"/users/" + p[noMail].UPN, 404, "Request_ResourceNotFound"},
		{"/users/" + p[noMailbox].UPN, 200, ""},
		{"/users/" + p[noMailbox].UPN + "/mailFolders", 404, "MailboxNotEnabledForRESTAPI"},
		{"/users/" + p[noMailbox].UPN + "/mailboxSettings", 404, "MailboxNotEnabledForRESTAPI"},
		{"/users/" + p[noMailbox].UPN + "/drive", 404, "ResourceNotFound"},
		{anna + "/mailboxSettings", 200, ""},
		{anna + "/mailFolders", 200, ""},
		{anna + "/mailFolders/inbox", 200, ""},
		{anna + "/mailFolders/Inbox/childFolders", 200, ""},
		{anna + "/mailFolders/AAMkgarbage", 400, "ErrorInvalidIdMalformed"},
		{anna + "/mailFolders/" + u.ids.folderID(999), 404, "ErrorItemNotFound"},
		{anna + "/mailFolders/" + c.company.users[1].ids.folderID(2), 400, "ErrorInvalidIdMalformed"},
		{anna + "/mailFolders/delta", 200, ""},
		{anna + "/mailFolders/delta()", 200, ""},
		{anna + "/mailFolders/microsoft.graph.delta()", 200, ""},
		{anna + "/mailFolders/inbox/messages/delta?$select=subject", 200, ""},
		{anna + "/mailFolders/inbox/messages/delta?$filter=receivedDateTime+ge+2026-02-01T00:00:00Z", 200, ""},
		{anna + "/mailFolders/inbox/messages/delta?$filter=isRead+eq+true", 400, "ErrorInvalidUrlQuery"},
		{anna + "/mailFolders/inbox/messages/delta?$deltatoken=forged", 400, "SyncStateInvalid"},
		{anna + "/mailFolders/inbox/messages/delta?changeType=created", 400, "BadRequest"},
		{anna + "/mailFolders/inbox/messages?$top=1", 200, ""},
		{anna + "/messages?$top=1", 200, ""},
		{message, 200, ""},
		{message + "/$value", 200, ""},
		{message + "/attachments", 200, ""},
		{anna + "/messages/" + strings.ToLower(u.ids.messageID(1, 0)), 400, "ErrorInvalidIdMalformed"},
		{anna + "/messages/" + u.ids.messageID(999, 0), 404, "ErrorItemNotFound"},
		{anna + "/messages/" + c.company.users[1].ids.messageID(1, 0), 400, "ErrorInvalidIdMalformed"},
		{anna + "/drive", 200, ""},
		{drive, 200, ""},
		{drive + "/root", 200, ""},
		{drive + "/root/children", 200, ""},
		{drive + "/root/delta", 200, ""},
		{drive + "/root/delta(token='latest')", 200, ""},
		{drive + "/root/delta?token=latest", 200, ""},
		{drive + "/root/delta?token=forged", 400, "invalidRequest"},
		{"/drives/b!unknown/root/delta", 404, "itemNotFound"},
		{item("Documents"), 200, ""},
		{item("Documents") + "/content", 400, "invalidRequest"},
		{item("Documents/Notebook") + "/content", 400, "invalidRequest"},
		{item("Team folder") + "/content", 404, "itemNotFound"},
		{item("Documents/invoice.exe.pdf") + "/content", 403, "malwareDetected"},
		{drive + "/items/01GARBAGE", 404, "itemNotFound"},
		{"/users/" + p[0].UPN + "/calendar", 400, "BadRequest"},
		{"/me", 400, "BadRequest"},
	}
	for _, tt := range tests {
		a := c.get(tt.path)
		if a.status != tt.status || a.code() != tt.code {
			t.Errorf("GET %s: got %d %q, want %d %q", tt.path, a.status, a.code(), tt.status, tt.code)
		}
		if a.header.Get("request-id") == "" {
			t.Errorf("GET %s: no request-id", tt.path)
		}
	}
	post := c.request("/users")
	post.Method = http.MethodPost
	if a := c.do(post); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST /users: %d", a.status)
	}
	bare := c.request("/users")
	bare.Header.Del("Authorization")
	if a := c.do(bare); a.status != 401 || a.code() != "InvalidAuthenticationToken" || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a token: %d %s", a.status, a.body)
	}
}

func TestPermissionsByFeature(t *testing.T) {
	c := start(t, 1)
	u := c.company.users[0]
	anna, message := "/users/"+u.UPN, "/users/"+u.UPN+"/messages/"+u.ids.messageID(1, 0)
	tests := []struct {
		path   string
		opened []string // any one of them opens it
		code   string
	}{
		{"/organization", []string{"Organization.Read.All", "Directory.Read.All"}, "Authorization_RequestDenied"},
		{"/users", []string{"User.Read.All", "User.ReadWrite.All"}, "Authorization_RequestDenied"},
		{anna, []string{"User.Read.All", "Directory.Read.All"}, "Authorization_RequestDenied"},
		{anna + "/mailboxSettings", []string{"MailboxSettings.Read"}, "ErrorAccessDenied"},
		{anna + "/mailFolders", []string{"Mail.Read", "Mail.ReadWrite", "Mail.ReadBasic.All"}, "ErrorAccessDenied"},
		{anna + "/mailFolders/inbox/messages/delta", []string{"Mail.Read", "Mail.ReadBasic.All"}, "ErrorAccessDenied"},
		{message + "/$value", []string{"Mail.Read", "Mail.ReadWrite"}, "ErrorAccessDenied"},
		{anna + "/drive", []string{"Files.Read.All", "Sites.Read.All"}, "accessDenied"},
	}
	every := []string{"Organization.Read.All", "Directory.Read.All", "User.Read.All", "User.ReadWrite.All", "MailboxSettings.Read", "Mail.Read", "Mail.ReadWrite", "Mail.ReadBasic.All", "Files.Read.All", "Sites.Read.All"}
	opened := func(path, role string) bool {
		c.SetRoles(role)
		c.token = ""
		a := c.get(path)
		if a.status != 200 && a.status != 403 {
			t.Fatalf("GET %s with %s: %d %s", path, role, a.status, a.body)
		}
		return a.status == 200
	}
	for _, tt := range tests {
		for _, role := range tt.opened {
			if !opened(tt.path, role) {
				t.Errorf("%s does not open %s", role, tt.path)
			}
		}
		c.SetRoles()
		c.token = ""
		if a := c.get(tt.path); a.status != 403 || a.code() != tt.code {
			t.Errorf("GET %s without any permission: %d %q, want 403 %q", tt.path, a.status, a.code(), tt.code)
		}
	}
	for _, role := range every {
		if wants := role == "Mail.Read" || role == "Mail.ReadWrite"; opened(message+"/$value", role) != wants {
			t.Errorf("%s and the bytes of a message: want open = %v", role, wants)
		}
	}
}

func TestUsersPaging(t *testing.T) {
	c := start(t, 130)
	var all []map[string]any
	pages := 0
	for link := "/users?$select=id,mail"; link != ""; pages++ {
		a := c.want(link)
		all = append(all, values(a)...)
		link, _ = a.json["@odata.nextLink"].(string)
		if link != "" && len(values(a)) != usersDefault {
			t.Errorf("a page of %d people", len(values(a)))
		}
	}
	if ids := slices.Compact(names(all, "id")); len(ids) != 125 || pages != 2 { // of every 25 one is unknown here
		t.Errorf("%d people on %d pages, want 125 on 2", len(ids), pages)
	}
	for _, u := range all {
		if len(u) != 2 {
			t.Fatalf("$select=id,mail gave %v", u)
		}
	}
}

func TestDisabledAndUnlicensedPeople(t *testing.T) {
	c := start(t, 25)
	a := c.want("/users/" + c.opt.People[22].UPN + "?$select=accountEnabled,assignedPlans")
	if a.json["accountEnabled"] != false || len(a.json["assignedPlans"].([]any)) == 0 {
		t.Errorf("the disabled person: %s", a.body)
	}
	a = c.want("/users/" + c.opt.People[noMailbox].UPN + "?$select=accountEnabled,assignedPlans")
	if a.json["accountEnabled"] != true || len(a.json["assignedPlans"].([]any)) != 0 {
		t.Errorf("the person without mailbox: %s", a.body)
	}
}

func TestMailboxTakesFourAtOnce(t *testing.T) {
	c := start(t, 2)
	if err := c.Inject(Fault{Kind: FaultSlow, User: c.opt.People[0].UPN, DelayMillis: 1}); err != nil {
		t.Fatal(err)
	}
	u := c.company.users[0]
	for range mailboxConcurrency { // as four requests under way do
		u.busy <- struct{}{}
	}
	a := c.get("/users/" + u.UPN + "/mailFolders")
	if a.status != 429 || a.code() != "ApplicationThrottled" || a.header.Get("Retry-After") == "" {
		t.Errorf("the fifth: %d %s", a.status, a.body)
	}
	c.want("/users/" + c.opt.People[1].UPN + "/mailFolders")
	c.want("/users/" + u.UPN + "/drive")
	for range mailboxConcurrency {
		<-u.busy
	}
	var wg sync.WaitGroup
	statuses := make([]int, 4)
	requests := make([]*http.Request, len(statuses))
	for i := range statuses {
		requests[i] = c.request(fmt.Sprintf("/users/%s/mailFolders?$skip=%d", u.UPN, i))
	}
	for i := range statuses {
		wg.Go(func() {
			resp, err := c.http.Do(requests[i])
			if err != nil {
				return
			}
			statuses[i] = resp.StatusCode
			resp.Body.Close()
		})
	}
	wg.Wait()
	if slices.ContainsFunc(statuses, func(s int) bool { return s != 200 }) {
		t.Errorf("four at once: %v", statuses)
	}
}
