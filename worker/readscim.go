package main

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// scimTokens tells which tokens let identity providers in, without what they are recognised by.
func (s *reader) scimTokens(ctx context.Context, r *http.Request) (any, error) {
	t, err := s.store.Tenant(ctx, r.PathValue("tenant"))
	if err != nil {
		return nil, err
	}
	good, err := s.store.SCIMTokens(ctx, t.ID, time.Now())
	page := readapi.SCIMTokenPage{Tokens: make([]readapi.SCIMToken, len(good))}
	for i, g := range good {
		page.Tokens[i] = readapi.SCIMToken{Directory: g.Directory, Label: g.Label, By: g.By, Created: g.Created, Expires: g.Expires, LastUsed: g.LastUsed}
	}
	return page, err
}
