package microsoft365

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// mostPages bounds one delta round. At the page sizes asked for it is beyond any mailbox or drive.
const mostPages = 1 << 20

// page is one answer of a delta call. Its entries stay as they came until they are looked at one by one.
type page struct {
	Value []json.RawMessage `json:"value"`
	Next  string            `json:"@odata.nextLink"`
	Delta string            `json:"@odata.deltaLink"`
}

// check proves that the page leads on or ends the round, and not both: a page with neither link would end a listing in the
// middle without anybody noticing.
func (p *page) check() error {
	if (p.Next == "") == (p.Delta == "") {
		return errors.New("a page of changes must carry either a nextLink or a deltaLink")
	}
	return nil
}

// deltaRound follows the pages from link to the end of the round, gives every entry to yield, and returns the deltaLink. Links are
// opaque; they are only checked to stay at the configured Graph host.
func (c *client) deltaRound(ctx context.Context, link string, prefer []string, yield func(json.RawMessage) error) (string, error) {
	for range mostPages {
		var p page
		if err := c.readJSON(ctx, call{url: link, prefer: prefer}, &p); err != nil {
			return "", err
		}
		if err := p.check(); err != nil {
			return "", badResponse(err.Error(), nil)
		}
		for _, raw := range p.Value {
			if err := yield(raw); err != nil {
				return "", err
			}
		}
		next := p.Next + p.Delta // one of them is empty
		if err := c.endpoints.checkGraph(next); err != nil {
			return "", badResponse(err.Error(), nil)
		}
		if p.Delta != "" {
			return p.Delta, nil
		}
		if next == link {
			return "", badResponse("a page of changes leads to itself", nil)
		}
		link = next
	}
	return "", badResponse(fmt.Sprintf("a round of changes has more than %d pages", mostPages), nil)
}

// entry decodes one entry of a page; an entry without an id would be lost silently, so it is an error.
func entry[T interface{ key() string }](raw json.RawMessage, v T) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return badResponse("an entry of Microsoft Graph is not what it should be", nil)
	}
	if v.key() == "" {
		return badResponse("an entry of Microsoft Graph has no id", nil)
	}
	return nil
}

// removedMark is the sign of an entry that left what is listed.
type removedMark struct {
	Reason string `json:"reason"` // deleted or changed
}
