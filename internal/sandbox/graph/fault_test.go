package graph

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	c := start(t, 3)
	u := c.company.users[0]
	anna, bela := "/users/"+u.UPN, "/users/"+c.company.users[1].UPN
	message := anna + "/messages/" + u.ids.messageID(1, 0)
	file := anna + "/drive/items/" + must(c.AddFile(u.UPN, "root", "f.bin", []byte("content")))
	tests := []struct {
		name   string
		fault  Fault
		path   string
		status []int // of calls one after the other
		code   string
	}{
		{"throttle the next two", Fault{Kind: FaultThrottle, Next: 2, RetryAfter: 7}, anna + "/mailFolders", []int{429, 429, 200, 200}, "ApplicationThrottled"},
		{"throttle every third", Fault{Kind: FaultThrottle, Every: 3}, anna + "/drive", []int{200, 200, 429, 200, 200, 429}, "activityLimitReached"},
		{"throttle every second, twice", Fault{Kind: FaultThrottle, Every: 2, Next: 2}, "/users", []int{200, 429, 200, 429, 200, 200}, "TooManyRequests"},
		{"unavailable", Fault{Kind: FaultUnavailable, Next: 1}, anna, []int{503, 200}, "serviceNotAvailable"},
		{"unauthorized", Fault{Kind: FaultUnauthorized, Next: 1}, anna, []int{401, 200}, "InvalidAuthenticationToken"},
		{"another call", Fault{Kind: FaultThrottle, On: CallUsers}, anna, []int{200}, ""},
		{"another person", Fault{Kind: FaultThrottle, User: c.company.users[1].UPN}, anna + "/mailFolders", []int{200}, ""},
		{"this person by id", Fault{Kind: FaultFence, User: c.company.users[1].GraphID}, bela + "/mailFolders", []int{403, 403}, "ErrorAccessDenied"},
		{"the fence is the mailbox's", Fault{Kind: FaultFence, User: c.company.users[1].GraphID}, bela + "/drive", []int{200}, ""},
		{"corrupt message", Fault{Kind: FaultCorrupt, Item: u.ids.messageID(1, 0)}, message + "/$value", []int{500, 500}, "ErrorCorruptData"},
		{"corrupt other message", Fault{Kind: FaultCorrupt, Item: u.ids.messageID(2, 0)}, message + "/$value", []int{200}, ""},
		{"too large message", Fault{Kind: FaultTooLarge, On: CallMessageValue}, message + "/$value", []int{413}, "ErrorMessageSizeExceeded"},
		{"locked file", Fault{Kind: FaultLocked}, file + "/content", []int{423}, "resourceLocked"},
		{"file behind a label", Fault{Kind: FaultDenied}, file + "/content", []int{403}, "accessDenied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := c.Inject(tt.fault); err != nil {
				t.Fatal(err)
			}
			defer c.ClearFaults()
			for i, want := range tt.status {
				a := c.get(tt.path)
				if a.status != want || want >= 400 && a.code() != tt.code {
					t.Errorf("call %d: %d %q, want %d %q", i+1, a.status, a.code(), want, tt.code)
				}
				if (want == 429 || want == 503) && a.header.Get("Retry-After") == "" {
					t.Errorf("call %d: no Retry-After", i+1)
				}
				if tt.fault.RetryAfter == 7 && want == 429 && a.header.Get("Retry-After") != "7" {
					t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
				}
			}
			c.ClearFaults()
			if a := c.get(tt.path); a.status >= 400 {
				t.Errorf("after clearing: %d", a.status)
			}
		})
	}
}

func TestFaultsThatAreRefused(t *testing.T) {
	c := start(t, 1)
	for _, f := range []Fault{{}, {Kind: "boredom"}, {Kind: FaultThrottle, On: "everything"}, {Kind: FaultFence, User: "nobody"}, {Kind: FaultSlow, DelayMillis: -1}, {Kind: FaultThrottle, Next: -1}} {
		if c.Inject(f) == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

func TestTokenEndpointThrottles(t *testing.T) {
	c := start(t, 1)
	if err := c.Inject(Fault{Kind: FaultThrottle, On: CallToken, Next: 1, RetryAfter: 3}); err != nil {
		t.Fatal(err)
	}
	if a := c.login(nil); a.status != 429 || a.header.Get("Retry-After") != "3" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := c.login(nil); a.status != 200 {
		t.Errorf("afterwards %d", a.status)
	}
}

// A body that breaks off must reach the client as an error, never as a short body, over HTTP/1.1 and HTTP/2.
func TestCutBodies(t *testing.T) {
	for _, plain := range []bool{false, true} {
		c := start(t, 1, func(o *Options) { o.PlainHTTP = plain })
		u := c.company.users[0]
		file := must(c.AddFile(u.UPN, "root", "f.bin", make([]byte, 300_000)))
		location := c.content("/users/" + u.UPN + "/drive/items/" + file)
		value := c.request("/users/" + u.UPN + "/messages/" + u.ids.messageID(1, 0) + "/$value")
		for name, req := range map[string]*http.Request{"$value": value, "download": must(http.NewRequest(http.MethodGet, location, nil))} {
			if err := c.Inject(Fault{Kind: FaultCut, Next: 1}); err != nil {
				t.Fatal(err)
			}
			resp, err := c.http.Do(req)
			if err != nil {
				t.Fatalf("%s: %v before the body", name, err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil || len(b) == 0 {
				t.Errorf("plain=%v %s %s: %d bytes and error %v; want some bytes and an error", plain, resp.Proto, name, len(b), err)
			}
			if a := c.do(req); a.status != 200 {
				t.Errorf("%s once more: %d", name, a.status)
			}
		}
	}
}

func TestSlowAnswersEndWithTheCaller(t *testing.T) {
	c := start(t, 1)
	if err := c.Inject(Fault{Kind: FaultSlow, DelayMillis: 60_000}); err != nil {
		t.Fatal(err)
	}
	req := c.request("/users")
	client := *c.http
	client.Timeout = 200 * time.Millisecond
	began := time.Now()
	if _, err := client.Do(req); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestExpiredDeltas(t *testing.T) {
	c := start(t, 2)
	anna := "/users/" + c.opt.People[0].UPN
	_, mail, _ := c.round(anna + "/mailFolders/inbox/messages/delta?$select=subject,isRead")
	_, folders, _ := c.round(anna + "/mailFolders/delta")
	_, drive, _ := c.round(anna + "/drive/root/delta")
	if err := c.ExpireDeltas(Mail); err != nil {
		t.Fatal(err)
	}
	c.want(drive)
	for _, link := range []string{mail, folders} {
		a := c.get(link)
		if a.status != http.StatusGone || !strings.EqualFold(a.code(), "SyncStateNotFound") || a.header.Get("Location") == "" {
			t.Fatalf("%d %s, Location %q", a.status, a.body, a.header.Get("Location"))
		}
		if items, fresh, _ := c.round(a.header.Get("Location")); len(items) == 0 {
			t.Error("the new round is empty")
		} else {
			c.want(fresh)
		}
	}
	if err := c.ExpireDeltas(Drive); err != nil {
		t.Fatal(err)
	}
	a := c.get(drive)
	inner, _ := a.json["error"].(map[string]any)["innerError"].(map[string]any)
	if a.status != http.StatusGone || text(inner, "code") != "resyncChangesApplyDifferences" || a.header.Get("Location") == "" {
		t.Errorf("%d %s, Location %q", a.status, a.body, a.header.Get("Location"))
	}
	c.round(a.header.Get("Location"))
	if err := c.ExpireDeltas("calendar"); err == nil {
		t.Error("an unknown service expired")
	}
}

// Shuffling must really reorder, repeat, and give an empty page, or what is built on it proves nothing.
func TestShuffleShuffles(t *testing.T) {
	c := start(t, 1)
	path := "/users/" + c.opt.People[0].UPN + "/mailFolders/inbox/messages/delta?$select=subject"
	straight, _, straightPages := c.round(path, "Prefer", immutable+", odata.maxpagesize=4")
	if err := c.Inject(Fault{Kind: FaultShuffle}); err != nil {
		t.Fatal(err)
	}
	shuffled, _, pages := c.round(path, "Prefer", immutable+", odata.maxpagesize=4")
	empty := 0
	for link := path; link != ""; {
		a := c.want(link, "Prefer", immutable+", odata.maxpagesize=4")
		if link, _ = a.json["@odata.nextLink"].(string); len(values(a)) == 0 {
			empty++
		}
	}
	if len(shuffled) <= len(straight) || pages <= straightPages || empty == 0 || text(shuffled[0], "id") == text(straight[0], "id") {
		t.Errorf("%d items on %d pages (%d empty) instead of %d on %d", len(shuffled), pages, empty, len(straight), straightPages)
	}
	if len(state(shuffled)) != len(state(straight)) {
		t.Errorf("%d different messages instead of %d", len(state(shuffled)), len(state(straight)))
	}
}

func TestCallsAreCounted(t *testing.T) {
	c := start(t, 1)
	c.want("/users")
	c.want("/users?$top=1")
	c.get("/me")
	byCall, total := c.Calls()
	if byCall[CallToken] != 1 || byCall[CallUsers] != 2 || byCall[CallUnknown] != 1 || total != 4 {
		t.Errorf("%v, %d", byCall, total)
	}
	c.ResetCalls()
	if byCall, total = c.Calls(); len(byCall) != 0 || total != 0 {
		t.Errorf("after the reset %v, %d", byCall, total)
	}
}

func TestEndOfContextStopsTheServer(t *testing.T) {
	c := start(t, 1)
	c.want("/users")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.http.Do(c.request("/users")); err == nil {
		t.Error("a closed server answers")
	}
	if err := c.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
