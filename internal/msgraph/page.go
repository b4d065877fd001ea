package msgraph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// MostPages bounds one delta round. At the page sizes asked for it is beyond any mailbox, drive or directory.
const MostPages = 1 << 20

// Page is one answer of a delta call. Its entries stay as they came until they are looked at one by one.
type Page struct {
	Value []json.RawMessage `json:"value"`
	Next  string            `json:"@odata.nextLink"`
	Delta string            `json:"@odata.deltaLink"`
}

// Link leads to the next page, or to the next round when last.
func (p *Page) Link() (link string, last bool) { return p.Next + p.Delta, p.Delta != "" } // one of them is empty

// check proves that the page leads on or ends the round, and not both: a page with neither link would end a listing in the
// middle without anybody noticing.
func (p *Page) check() error {
	if (p.Next == "") == (p.Delta == "") {
		return errors.New("a page of changes must carry either a nextLink or a deltaLink")
	}
	return nil
}

// Page gets one page of a delta round, and makes sure that it leads on, to the configured Graph host, and not to itself.
func (c *Client) Page(ctx context.Context, link string, prefer []string) (Page, error) {
	var p Page
	if err := c.ReadJSON(ctx, Call{URL: link, Prefer: prefer}, &p); err != nil {
		return Page{}, err
	}
	if err := p.check(); err != nil {
		return Page{}, BadResponse(err.Error(), nil)
	}
	if next, _ := p.Link(); next == link && p.Next != "" {
		return Page{}, BadResponse("a page of changes leads to itself", nil)
	} else if err := c.CheckGraph(next); err != nil {
		return Page{}, BadResponse(err.Error(), nil)
	}
	return p, nil
}

// DeltaRound follows the pages from link to the end of the round, gives every entry to yield, and returns the deltaLink.
func (c *Client) DeltaRound(ctx context.Context, link string, prefer []string, yield func(json.RawMessage) error) (string, error) {
	for range MostPages {
		p, err := c.Page(ctx, link, prefer)
		if err != nil {
			return "", err
		}
		for _, raw := range p.Value {
			if err := yield(raw); err != nil {
				return "", err
			}
		}
		var last bool
		if link, last = p.Link(); last {
			return link, nil
		}
	}
	return "", TooManyPages()
}

// List follows the pages of a plain list, which ends where no link leads on, and gives every entry to yield.
func (c *Client) List(ctx context.Context, link string, yield func(json.RawMessage) error) error {
	for range MostPages {
		var p Page
		if err := c.ReadJSON(ctx, Call{URL: link}, &p); err != nil {
			return err
		}
		if p.Value == nil {
			return BadResponse("a page of Microsoft Graph holds no list", nil)
		}
		for _, raw := range p.Value {
			if err := yield(raw); err != nil {
				return err
			}
		}
		switch {
		case p.Next == "":
			return nil
		case p.Next == link:
			return BadResponse("a page of a list leads to itself", nil)
		}
		if err := c.CheckGraph(p.Next); err != nil {
			return BadResponse(err.Error(), nil)
		}
		link = p.Next
	}
	return TooManyPages()
}

// TooManyPages is the error of a round that does not end.
func TooManyPages() error {
	return BadResponse(fmt.Sprintf("a round of changes has more than %d pages", MostPages), nil)
}

// Entry decodes one entry of a page; an entry without an id would be lost silently, so it is an error.
func Entry[T interface{ Key() string }](raw json.RawMessage, v T) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return BadResponse("an entry of Microsoft Graph is not what it should be", nil)
	}
	if v.Key() == "" {
		return BadResponse("an entry of Microsoft Graph has no id", nil)
	}
	return nil
}

// RemovedMark is the sign of an entry that left what is listed.
type RemovedMark struct {
	Reason string `json:"reason"` // deleted or changed
}
