package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// countColumns are backup.Counts in the order of countFields, in run and run_part alike.
const countColumns = `listed, stored, unchanged, skipped, gone, dropped, bytes, api_calls, resyncs, items`

const runColumns = `tenant, number, app, workflow_id, run_id, started, ended, outcome, code, detail, parts, done, failed, no_service, ` + countColumns

func countFields(c *backup.Counts) []any {
	return []any{&c.Listed, &c.Stored, &c.Unchanged, &c.Skipped, &c.Gone, &c.Dropped, &c.Bytes, &c.APICalls, &c.Resyncs, &c.Items}
}

func countValues(c backup.Counts) []any {
	return []any{c.Listed, c.Stored, c.Unchanged, c.Skipped, c.Gone, c.Dropped, c.Bytes, c.APICalls, c.Resyncs, c.Items}
}

// StartRun makes the run and an open part for every active account and service of its profile. The accounts, in order of mail, are cut
// into shards of at most shardSize. Called again with the same runID it returns what it made.
func (s *Store) StartRun(ctx context.Context, r backup.Run, plan backup.ServicePlan, shardSize int) (run backup.Run, shards int, err error) {
	if shardSize < 1 {
		return run, 0, badConfig("a shard of a run must hold at least one account", "", nil)
	}
	err = s.changeTenant(ctx, r.Tenant, "start a run", func(tx *sql.Tx) error {
		if _, err := lockNumber(ctx, tx, r.Tenant, "run"); err != nil {
			return err
		}
		err := tx.QueryRowContext(ctx, `SELECT number, shards FROM run WHERE tenant = $1 AND run_id = $2`, r.Tenant, r.RunID).Scan(&r.Number, &shards)
		if errors.Is(err, sql.ErrNoRows) {
			r.Number, shards, err = s.makeRun(ctx, tx, r, plan, shardSize)
		}
		if err != nil {
			return err
		}
		run, err = totalRun(ctx, tx, r.Tenant, r.Number)
		return err
	})
	return run, shards, err
}

func (s *Store) makeRun(ctx context.Context, tx *sql.Tx, r backup.Run, plan backup.ServicePlan, shardSize int) (number int64, shards int, err error) {
	if number, err = takeNumber(ctx, tx, r.Tenant, "run"); err != nil {
		return 0, 0, err
	}
	// The run comes before its parts, which refer to it; how many it has is known after them.
	_, err = tx.ExecContext(ctx, `INSERT INTO run (shards, `+runColumns+`)
		VALUES (0, $1, $2, $3, $4, $5, $6, 0, $7, '', '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)`,
		r.Tenant, number, r.App, r.WorkflowID, r.RunID, micros(r.Started), backup.RunRunning)
	if err != nil {
		return 0, 0, err
	}
	if err := s.insertRows(ctx, tx, "run_plan", `tenant, number, profile, service`, planRows(r.Tenant, number, plan), `ON CONFLICT DO NOTHING`); err != nil {
		return 0, 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO run_part (tenant, number, account, service, position, shard, state)
		SELECT a.tenant, CAST($2 AS BIGINT), a.id, p.service, a.place, a.place / CAST($3 AS BIGINT), 'open' FROM (
			SELECT c.tenant, c.id, c.plan, ROW_NUMBER() OVER (ORDER BY c.mail_key, c.id) - 1 AS place FROM (
				SELECT a.tenant, a.id, a.mail_key, CASE WHEN EXISTS (SELECT 1 FROM run_plan p WHERE p.tenant = $1 AND p.number = $2 AND p.profile = a.profile)
					THEN a.profile ELSE '' END AS plan FROM account a WHERE a.tenant = $1 AND a.state = 'active') AS c
			WHERE EXISTS (SELECT 1 FROM run_plan p WHERE p.tenant = $1 AND p.number = $2 AND p.profile = c.plan AND p.service <> '')) AS a
		JOIN run_plan p ON p.tenant = $1 AND p.number = $2 AND p.profile = a.plan AND p.service <> ''`, r.Tenant, number, shardSize)
	if err != nil {
		return 0, 0, err
	}
	err = tx.QueryRowContext(ctx, `UPDATE run SET
			parts = (SELECT COUNT(*) FROM run_part p WHERE p.tenant = $1 AND p.number = $2),
			shards = (SELECT COALESCE(MAX(p.shard) + 1, 0) FROM run_part p WHERE p.tenant = $1 AND p.number = $2)
		WHERE tenant = $1 AND number = $2 RETURNING shards`, r.Tenant, number).Scan(&shards)
	return number, shards, err
}

// planRows are the services of each profile; a profile without any has a row that says so, because it is not everybody else's.
func planRows(tenant string, number int64, plan backup.ServicePlan) (rows [][]any) {
	add := func(profile string, services []backup.Service) {
		for _, service := range slices.Compact(slices.Sorted(slices.Values(services))) {
			rows = append(rows, []any{tenant, number, profile, string(service)})
		}
		if len(services) == 0 {
			rows = append(rows, []any{tenant, number, profile, ""})
		}
	}
	add("", plan.Default)
	for _, profile := range slices.Sorted(maps.Keys(plan.ByProfile)) {
		if profile != "" {
			add(profile, plan.ByProfile[profile])
		}
	}
	return rows
}

// OpenParts lists the parts of a shard (from 0) that are still open, in order of mail and service. The accounts are as they are
// now: one that was renamed since the run began has its new names.
func (s *Store) OpenParts(ctx context.Context, tenant string, number int64, shard int) ([]backup.RunPart, error) {
	parts, err := list(ctx, s.read, scanPart, selectParts+` WHERE p.tenant = $1 AND p.number = $2 AND p.shard = $3 AND p.state = 'open'
		ORDER BY p.position, p.service`, tenant, number, shard)
	return parts, classify(ctx, "list the open parts of a run", err)
}

// FinishPart records how a part ended; recording it twice is the same as once. A part that was done, or has no such
// service, stays so: an attempt that was given up for lost may still report its end after the next one was through.
func (s *Store) FinishPart(ctx context.Context, tenant string, number int64, p backup.RunPart) error {
	skips, err := writeSkips(p.Skips)
	if err != nil {
		return classify(ctx, "record a part of a run", err)
	}
	return s.changeRows(ctx, "record a part of a run", func(tx *sql.Tx) error {
		n, err := execute(ctx, tx, `UPDATE run_part SET state = $5, code = $6, detail = $7, snapshot = $8, skips = $9,
				(`+countColumns+`) = ($10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
			WHERE tenant = $1 AND number = $2 AND account = $3 AND service = $4 AND state IN ('open', 'failed')`,
			append([]any{tenant, number, p.Account.ID, p.Service, p.State, p.Code, clean(p.Detail), p.Snapshot, skips}, countValues(p.Counts)...)...)
		if err != nil || n > 0 {
			return err
		}
		var state backup.PartState
		err = tx.QueryRowContext(ctx, `SELECT state FROM run_part WHERE tenant = $1 AND number = $2 AND account = $3 AND service = $4`,
			tenant, number, p.Account.ID, p.Service).Scan(&state)
		return orNotFound(err, notFound(backup.FaultOurs, "the run has no such part", ""))
	})
}

// TotalRun returns the run with its parts counted and its Counts summed. CodeNotFound when there is no such run.
func (s *Store) TotalRun(ctx context.Context, tenant string, number int64) (backup.Run, error) {
	run, err := totalRun(ctx, s.read, tenant, number)
	return run, classify(ctx, "sum up a run", err)
}

func totalRun(ctx context.Context, db database, tenant string, number int64) (run backup.Run, err error) {
	run, err = scanRun(db.QueryRowContext(ctx, `SELECT `+runColumns+` FROM run WHERE tenant = $1 AND number = $2`, tenant, number))
	if err != nil {
		return run, orNotFound(err, noRun(tenant))
	}
	// CAST because PostgreSQL's sum of BIGINT is a NUMERIC.
	err = db.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(CASE WHEN state = 'done' THEN 1 END), COUNT(CASE WHEN state = 'failed' THEN 1 END),
			COUNT(CASE WHEN state = 'no_service' THEN 1 END), `+sums+`
		FROM run_part WHERE tenant = $1 AND number = $2`, tenant, number).
		Scan(append([]any{&run.Parts, &run.Done, &run.Failed, &run.NoService}, countFields(&run.Counts)...)...)
	return run, err
}

const sums = `CAST(COALESCE(SUM(listed), 0) AS BIGINT), CAST(COALESCE(SUM(stored), 0) AS BIGINT), CAST(COALESCE(SUM(unchanged), 0) AS BIGINT),
	CAST(COALESCE(SUM(skipped), 0) AS BIGINT), CAST(COALESCE(SUM(gone), 0) AS BIGINT), CAST(COALESCE(SUM(dropped), 0) AS BIGINT),
	CAST(COALESCE(SUM(bytes), 0) AS BIGINT), CAST(COALESCE(SUM(api_calls), 0) AS BIGINT), CAST(COALESCE(SUM(resyncs), 0) AS BIGINT),
	CAST(COALESCE(SUM(items), 0) AS BIGINT)`

// FinishRun records outcome, code, detail, end and totals. CodeNotFound when there is no such run.
func (s *Store) FinishRun(ctx context.Context, r backup.Run) error {
	n, err := execute(ctx, s.write, `UPDATE run SET ended = $3, outcome = $4, code = $5, detail = $6, parts = $7, done = $8, failed = $9, no_service = $10,
			(`+countColumns+`) = ($11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
		WHERE tenant = $1 AND number = $2`,
		append([]any{r.Tenant, r.Number, micros(r.Ended), r.Outcome, r.Code, clean(r.Detail), r.Parts, r.Done, r.Failed, r.NoService}, countValues(r.Counts)...)...)
	if err == nil && n == 0 {
		err = noRun(r.Tenant)
	}
	return classify(ctx, "finish a run", err)
}

// ListRuns returns the tenant's newest runs, newest first; one that is under way with what it has done so far. A limit
// below 1 or over 1,000 means 1,000.
func (s *Store) ListRuns(ctx context.Context, tenant string, limit int) ([]backup.Run, error) {
	runs, err := list(ctx, s.read, scanRun, `SELECT `+runColumns+` FROM run WHERE tenant = $1 ORDER BY number DESC LIMIT $2`, tenant, pageSize(limit))
	for i := 0; i < len(runs) && err == nil; i++ {
		if runs[i].Outcome == backup.RunRunning {
			runs[i], err = totalRun(ctx, s.read, tenant, runs[i].Number)
		}
	}
	return runs, classify(ctx, "list runs", err)
}

// LastRun returns the tenant's newest run, nil when there is none.
func (s *Store) LastRun(ctx context.Context, tenant string) (*backup.Run, error) {
	runs, err := s.ListRuns(ctx, tenant, 1)
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	return &runs[0], nil
}

// Run returns one run and its parts, failed ones first, then open ones, each in order of mail. At most limit parts are
// returned; a limit below 1 or over 1,000 means 1,000. CodeNotFound when there is no such run.
func (s *Store) Run(ctx context.Context, tenant string, number int64, limit int) (backup.Run, []backup.RunPart, error) {
	run, err := totalRun(ctx, s.read, tenant, number)
	if err != nil {
		return run, nil, classify(ctx, "read a run", err)
	}
	parts, err := list(ctx, s.read, scanPart, selectParts+` WHERE p.tenant = $1 AND p.number = $2
		ORDER BY CASE p.state WHEN 'failed' THEN 0 WHEN 'open' THEN 1 ELSE 2 END, p.position, p.service LIMIT $3`, tenant, number, pageSize(limit))
	return run, parts, classify(ctx, "read a run's parts", err)
}

var selectParts = `SELECT ` + prefixed("a", accountColumns) + `, p.service, p.state, p.code, p.detail, p.snapshot, p.skips, ` + prefixed("p", countColumns) + `
	FROM run_part p JOIN account a ON a.tenant = p.tenant AND a.id = p.account`

func scanRun(r row) (v backup.Run, err error) {
	err = r.Scan(append([]any{&v.Tenant, &v.Number, &v.App, &v.WorkflowID, &v.RunID, moment{&v.Started}, moment{&v.Ended}, &v.Outcome, &v.Code, &v.Detail,
		&v.Parts, &v.Done, &v.Failed, &v.NoService}, countFields(&v.Counts)...)...)
	return v, err
}

func scanPart(r row) (p backup.RunPart, err error) {
	a := &p.Account
	var skips string
	err = r.Scan(append(append(accountFields(a),
		&p.Service, &p.State, &p.Code, &p.Detail, &p.Snapshot, &skips), countFields(&p.Counts)...)...)
	if err == nil && skips != "" {
		err = json.Unmarshal([]byte(skips), &p.Skips)
	}
	return p, err
}

// writeSkips is the skipped items by reason as JSON; empty when there are none.
func writeSkips(skips map[backup.SkipReason]int64) (string, error) {
	if len(skips) == 0 {
		return "", nil
	}
	b, err := json.Marshal(skips)
	return string(b), err
}

func noRun(tenant string) error {
	return notFound(backup.FaultCustomer, "the tenant "+tenant+" has no run of this number", "holdfast backup list "+tenant+" shows the runs")
}
