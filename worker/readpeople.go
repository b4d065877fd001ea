package main

import (
	"context"
	"net/http"
	"strconv"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// eventsShown is how many events of a person are shown, and entriesFound how many entries one reference may find.
const (
	eventsShown  = 100
	entriesFound = 100
)

// user is all that is known of one account.
func (s *reader) user(ctx context.Context, r *http.Request) (any, error) {
	t, err := s.store.Tenant(ctx, r.PathValue("tenant"))
	if err != nil {
		return nil, err
	}
	return s.store.AccountReport(ctx, t, r.PathValue("ref"), eventsShown)
}

// entries are what directories say: of one person, or page by page.
func (s *reader) entries(ctx context.Context, r *http.Request) (any, error) {
	q := r.URL.Query()
	if ref := q.Get("ref"); ref != "" {
		found, err := s.store.FindEntries(ctx, r.PathValue("tenant"), ref, entriesFound)
		return readapi.EntryPage{Entries: found}, err
	}
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	page, next, err := s.store.ListEntries(ctx, r.PathValue("tenant"), backup.DirectoryName(q.Get("directory")), q.Get("after"), limit)
	return readapi.EntryPage{Entries: page, Next: next}, err
}

func (s *reader) problems(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	page, next, err := s.store.ListProblems(ctx, r.PathValue("tenant"), backup.DirectoryName(q.Get("directory")), q.Get("after"), limit)
	return readapi.ProblemPage{Entries: page, Next: next}, err
}

func (s *reader) conflicts(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	page, next, err := s.store.ListConflicts(ctx, r.PathValue("tenant"), r.URL.Query().Get("after"), limit)
	return readapi.ConflictPage{Conflicts: page, Next: next}, err
}

func (s *reader) imports(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	reports, err := s.store.ListImports(ctx, r.PathValue("tenant"), backup.DirectoryName(r.URL.Query().Get("directory")), limit)
	return readapi.ImportPage{Imports: reports}, err
}

func (s *reader) importReport(ctx context.Context, r *http.Request) (any, error) {
	number, err := numberOf(r)
	if err != nil {
		return nil, err
	}
	return s.store.Import(ctx, r.PathValue("tenant"), number)
}

func (s *reader) changes(ctx context.Context, r *http.Request) (any, error) {
	number, err := numberOf(r)
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	page, next, err := s.store.ListChanges(ctx, r.PathValue("tenant"), number, r.URL.Query().Get("after"), limit)
	return readapi.ChangePage{Changes: page, Next: next}, err
}

// numberOf reads the number in the path of a run or an import.
func numberOf(r *http.Request) (int64, error) {
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
	if err != nil || number < 1 {
		return 0, badQuery("a number in a path is a number from 1")
	}
	return number, nil
}
