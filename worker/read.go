package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

const (
	pageLimit  = 200
	partsLimit = 10_000
)

// reader serves the read API: what a person may see of a tenant, from the store.
type reader struct {
	store    *sqlstore.Store
	identity *connector.Identity // nil where no worker runs
	token    string
}

// query answers one request with what is encoded as JSON.
type query func(ctx context.Context, r *http.Request) (any, error)

func (s *reader) routes(mux *http.ServeMux) {
	for path, q := range map[string]query{
		readapi.TenantPath: s.tenant, readapi.UsersPath: s.users, readapi.ProblemsPath: s.problems, readapi.UserPath: s.user, readapi.EntriesPath: s.entries,
		readapi.ConflictsPath: s.conflicts, readapi.ImportsPath: s.imports, readapi.ImportPath: s.importReport, readapi.ChangesPath: s.changes,
		readapi.RunsPath: s.runs, readapi.RunPath: s.run, readapi.AlertsPath: s.alerts, readapi.KeyPath: s.key, readapi.ReceiptsPath: s.receipts,
		readapi.SCIMTokensPath: s.scimTokens, readapi.IdentityPath: s.workerIdentity,
	} {
		mux.Handle("GET "+path, s.authenticated(q))
	}
	mux.Handle("POST "+readapi.MutePath, s.authenticated(s.mute))
	mux.Handle("GET "+readapi.HealthPath, answer(func(ctx context.Context, _ *http.Request) (any, error) {
		return struct{}{}, s.store.Ping(ctx)
	}))
}

// authenticated lets a request through that carries the token.
func (s *reader) authenticated(q query) http.Handler {
	want := sha256.Sum256([]byte(s.token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given)) // of equal length, so that the comparison tells nothing by its time
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			write(w, http.StatusUnauthorized, readapi.Failure{Code: backup.CodeBadCredential, Message: "the read token is missing or wrong", Hint: "give the file that holdfastd keeps it in as HOLDFAST_TOKEN_FILE"})
			return
		}
		answer(q).ServeHTTP(w, r)
	})
}

func answer(q query) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := q(r.Context(), r)
		if err != nil {
			e := backup.AsError(err)
			write(w, statusOf(e.Code), readapi.Failure{Code: e.Code, Message: e.Error(), Hint: e.Hint})
			return
		}
		write(w, http.StatusOK, v)
	})
}

func statusOf(c backup.Code) int {
	switch c {
	case backup.CodeNotFound:
		return http.StatusNotFound
	case backup.CodeBadConfig:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the connection is gone when this fails: nobody is there to be told
}

func (s *reader) tenant(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("tenant")
	t, err := s.store.Tenant(ctx, id)
	if err != nil {
		return nil, err
	}
	report := readapi.TenantReport{Tenant: t}
	if report.Accounts, err = s.store.CountAccounts(ctx, id); err != nil {
		return nil, err
	}
	if report.LastRun, err = s.store.LastRun(ctx, id); err != nil {
		return nil, err
	}
	if report.Key, err = s.store.KeyStatus(ctx, id); err != nil {
		return nil, err
	}
	report.Alerts, err = s.store.CountOpenAlerts(ctx, id)
	return report, err
}

func (s *reader) users(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	state := backup.AccountState(r.URL.Query().Get("state"))
	page, next, err := s.store.ListAccounts(ctx, r.PathValue("tenant"), state, r.URL.Query().Get("after"), limit)
	return readapi.UserPage{Accounts: page, Next: next}, err
}

func (s *reader) runs(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	runs, err := s.store.ListRuns(ctx, r.PathValue("tenant"), limit)
	return readapi.RunPage{Runs: runs}, err
}

func (s *reader) run(ctx context.Context, r *http.Request) (any, error) {
	number, err := numberOf(r)
	if err != nil {
		return nil, err
	}
	run, parts, err := s.store.Run(ctx, r.PathValue("tenant"), number, partsLimit)
	return readapi.RunReport{Run: run, Parts: parts}, err
}

func (s *reader) alerts(ctx context.Context, r *http.Request) (any, error) {
	alerts, err := s.store.ListAlerts(ctx, r.PathValue("tenant"), r.URL.Query().Get("all") == "true", pageLimit)
	return readapi.AlertPage{Alerts: alerts}, err
}

func (s *reader) key(ctx context.Context, r *http.Request) (any, error) {
	return s.store.KeyStatus(ctx, r.PathValue("tenant"))
}

func (s *reader) receipts(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	after, err := afterNumber(r)
	if err != nil {
		return nil, err
	}
	t, err := s.store.Tenant(ctx, r.PathValue("tenant"))
	if err != nil {
		return nil, err
	}
	// The head comes first: the log may grow meanwhile, and is then longer than its head and not shorter.
	var page readapi.ReceiptPage
	if page.Head, err = s.store.ReceiptHead(ctx, t.ID); err != nil {
		return nil, err
	}
	rows, next, err := s.store.ListReceipts(ctx, t.ID, r.URL.Query().Get("run"), after, limit)
	page.Receipts = make([]readapi.ReceiptEntry, len(rows))
	if next > 0 {
		page.Next = strconv.FormatInt(next, 10)
	}
	for i, row := range rows {
		page.Receipts[i] = readapi.ReceiptEntry{Receipt: row.Receipt, Run: row.Run, Head: row.Head}
	}
	return page, err
}

// afterNumber reads ?after= as a number.
func afterNumber(r *http.Request) (int64, error) {
	text := r.URL.Query().Get("after")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, badQuery("after is a number from 0")
	}
	return n, nil
}

func (s *reader) workerIdentity(context.Context, *http.Request) (any, error) {
	if s.identity == nil {
		return nil, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "this gateway does not know the workers' identity", Hint: "on a worker's machine, holdfastd identity prints it; give it here (holdfast connector enroll ... --worker ed25519:...)"}
	}
	return readapi.WorkerIdentity{Identity: s.identity.Public()}, nil
}

// limitOf reads ?limit=, at most pageLimit.
func limitOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return pageLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, badQuery("limit is a number from 1")
	}
	return min(n, pageLimit), nil
}

func badQuery(what string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: what}
}
