package msgraph

import (
	"strings"
	"testing"
)

func TestLinksStayAtGraph(t *testing.T) {
	e, err := NewEndpoints("", "")
	if err != nil {
		t.Fatal(err)
	}
	for link, good := range map[string]bool{
		"https://graph.microsoft.com/v1.0/users/x/mailFolders/delta?$deltatoken=a%2Fb": true,
		"https://GRAPH.microsoft.com:443/v1.0/x":                                       true,
		"http://graph.microsoft.com/v1.0/x":                                            false,
		"https://graph.microsoft.com:8443/v1.0/x":                                      false,
		"https://graph.microsoft.com.evil.test/v1.0/x":                                 false,
		"https://graph.microsoft.com@evil.test/v1.0/x":                                 false,
		"https://evil.test/v1.0/x?graph.microsoft.com":                                 false,
		"https://graph.microsoft.com/beta/x":                                           false,
		"https://graph.microsoft.com/v1.0/../beta/x":                                   false,
		"//graph.microsoft.com/v1.0/x":                                                 false,
		"/v1.0/x":                                                                      false,
		"":                                                                             false,
		"https://graph.microsoft.com/v1.0":                                             false,
		"https://[::1/v1.0/x":                                                          false,
	} {
		err := e.CheckGraph(link)
		if (err == nil) != good {
			t.Errorf("%s: %v", link, err)
		}
		if err == nil {
			short, err := e.Shorten(link)
			if err != nil {
				t.Fatal(err)
			}
			if long, err := e.Restore(short); err != nil || !strings.EqualFold(strings.Replace(link, ":443", "", 1), long) {
				t.Errorf("%s became %s: %v", link, long, err)
			}
		}
	}
}
