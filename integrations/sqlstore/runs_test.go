package sqlstore

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// crew imports people whose mails are a@ to the given letter@, and x- who is disabled.
func crew(t *testing.T, s *Store, last byte) {
	t.Helper()
	var short []string
	for c := byte('a'); c <= last; c++ {
		// Entry ids run against the mails, so that an order by the wrong one shows.
		short = append(short, fmt.Sprintf("e%02d %c", 'z'-c, c))
	}
	newImporter(t, s).run(people(t, append(short, "x- xavier")...))
}

func startRun(t *testing.T, s *Store, runID string, shardSize int) (backup.Run, int) {
	t.Helper()
	r, shards, err := s.StartRun(t.Context(), backup.Run{Tenant: acme, App: backup.Microsoft365, WorkflowID: "backup/acme", RunID: runID, Started: noon},
		backup.ServicePlan{Default: []backup.Service{backup.Mail, backup.Drive, backup.Mail}}, shardSize)
	must(t, err)
	return r, shards
}

func partNames(parts []backup.RunPart) []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.Account.Mail[:1]+" "+string(p.Service))
	}
	return names
}

func TestRunIsCutIntoShardsInOrderOfMail(t *testing.T) {
	s := newStore(t)
	crew(t, s, 'e')
	run, shards := startRun(t, s, "first", 2)
	want := backup.Run{Tenant: acme, Number: 1, App: backup.Microsoft365, WorkflowID: "backup/acme", RunID: "first", Started: noon, Outcome: backup.RunRunning, Parts: 10}
	if run != want || shards != 3 {
		t.Errorf("the run is %+v in %d shards, want %+v in 3", run, shards, want)
	}
	for shard, want := range [][]string{{"a drive", "a mail", "b drive", "b mail"}, {"c drive", "c mail", "d drive", "d mail"}, {"e drive", "e mail"}, nil} {
		parts := got[[]backup.RunPart](t)(s.OpenParts(t.Context(), acme, 1, shard))
		if have := partNames(parts); !slices.Equal(have, want) {
			t.Errorf("shard %d has %q, want %q", shard, have, want)
		}
	}
	parts := got[[]backup.RunPart](t)(s.OpenParts(t.Context(), acme, 1, 0))
	account := got[backup.Account](t)(s.FindAccount(t.Context(), acme, "a@acme.example"))
	if wantPart := (backup.RunPart{Account: account, Service: backup.Drive, State: backup.PartOpen}); !reflect.DeepEqual(parts[0], wantPart) {
		t.Errorf("a part is %+v, want %+v", parts[0], wantPart)
	}
}

func TestStartingARunAgainReturnsIt(t *testing.T) {
	s := newStore(t)
	crew(t, s, 'c')
	first, shards := startRun(t, s, "first", 2)
	finish(t, s, 1, "a", backup.Mail, backup.RunPart{State: backup.PartDone})
	crew(t, s, 'd') // who joined meanwhile is in the next run
	again, shardsAgain := startRun(t, s, "first", 1)
	first.Done = 1
	if again != first || shardsAgain != shards {
		t.Errorf("again it is %+v in %d shards, want %+v in %d", again, shardsAgain, first, shards)
	}
	if second, _ := startRun(t, s, "second", 2); second.Number != 2 || second.Parts != 8 {
		t.Errorf("the next run is %+v", second)
	}
}

func TestRunOfNobody(t *testing.T) {
	s := newStore(t)
	run, shards := startRun(t, s, "first", 2)
	if run.Number != 1 || run.Parts != 0 || shards != 0 {
		t.Errorf("the run is %+v in %d shards", run, shards)
	}
	_, _, err := s.StartRun(t.Context(), backup.Run{Tenant: acme, RunID: "second"}, backup.ServicePlan{}, 0)
	wantCode(t, err, backup.CodeBadConfig)
}

func finish(t *testing.T, s *Store, number int64, mail string, service backup.Service, p backup.RunPart) {
	t.Helper()
	p.Account = got[backup.Account](t)(s.FindAccount(t.Context(), acme, mail+"@acme.example"))
	p.Service = service
	must(t, s.FinishPart(t.Context(), acme, number, p))
}

func TestRunIsTotalledFromItsParts(t *testing.T) {
	s := newStore(t)
	crew(t, s, 'b')
	startRun(t, s, "first", 10)
	counts := backup.Counts{Listed: 10, Stored: 4, Unchanged: 3, Skipped: 2, Gone: 1, Dropped: 5, Bytes: 1 << 40, APICalls: 7, Resyncs: 1, Items: 9}
	skips := map[backup.SkipReason]int64{backup.SkipMalware: 1, backup.SkipLocked: 1}
	for range 2 { // twice is the same as once
		finish(t, s, 1, "a", backup.Mail, backup.RunPart{State: backup.PartDone, Snapshot: "k1", Counts: counts, Skips: skips})
		finish(t, s, 1, "a", backup.Drive, backup.RunPart{State: backup.PartDone, Counts: counts})
		finish(t, s, 1, "b", backup.Mail, backup.RunPart{State: backup.PartFailed, Code: backup.CodeFenced, Detail: "closed to us", Counts: backup.Counts{APICalls: 1}})
	}
	finish(t, s, 1, "b", backup.Drive, backup.RunPart{State: backup.PartNoService, Code: backup.CodeNoService})

	want := counts
	want.Add(counts)
	want.APICalls++
	run := got[backup.Run](t)(s.TotalRun(t.Context(), acme, 1))
	if run.Parts != 4 || run.Done != 2 || run.Failed != 1 || run.NoService != 1 || run.Counts != want {
		t.Errorf("the run is %+v, want counts %+v", run, want)
	}
	if open := got[[]backup.RunPart](t)(s.OpenParts(t.Context(), acme, 1, 0)); open != nil {
		t.Errorf("parts are still open: %q", partNames(open))
	}
	_, parts, err := s.Run(t.Context(), acme, 1, 0)
	must(t, err)
	if have := partNames(parts); !slices.Equal(have, []string{"b mail", "a drive", "a mail", "b drive"}) {
		t.Errorf("the parts are %q, want failed ones first", have)
	}
	if p := parts[0]; p.Code != backup.CodeFenced || p.Detail != "closed to us" {
		t.Errorf("the failed part is %+v", p)
	}
	if p := parts[2]; p.Snapshot != "k1" || p.Counts != counts || !maps.Equal(p.Skips, skips) {
		t.Errorf("a part is %+v", p)
	}
}

// An attempt that was given up for lost may report after the next one.
func TestPartThatIsDoneStaysDone(t *testing.T) {
	s := newStore(t)
	crew(t, s, 'a')
	startRun(t, s, "first", 10)
	finish(t, s, 1, "a", backup.Mail, backup.RunPart{State: backup.PartFailed, Code: backup.CodeUnreachable})
	finish(t, s, 1, "a", backup.Mail, backup.RunPart{State: backup.PartDone, Snapshot: "k1"})
	finish(t, s, 1, "a", backup.Mail, backup.RunPart{State: backup.PartFailed, Code: backup.CodeUnreachable})
	if run := got[backup.Run](t)(s.TotalRun(t.Context(), acme, 1)); run.Done != 1 || run.Failed != 0 {
		t.Errorf("the run is %+v", run)
	}
	_, parts, err := s.Run(t.Context(), acme, 1, 2)
	must(t, err)
	if p := parts[1]; p.State != backup.PartDone || p.Snapshot != "k1" || p.Code != "" {
		t.Errorf("the part is %+v", p)
	}
}

func TestRunsAreListedNewestFirst(t *testing.T) {
	s := newStore(t)
	if last := got[*backup.Run](t)(s.LastRun(t.Context(), acme)); last != nil {
		t.Errorf("the last run of none is %+v", last)
	}
	crew(t, s, 'a')
	run, _ := startRun(t, s, "first", 10)
	run.Outcome, run.Code, run.Detail, run.Ended = backup.RunPartial, backup.CodeFenced, "closed", noon.Add(time.Hour)
	run.Done, run.Failed, run.Counts = 1, 1, backup.Counts{Listed: 5, Stored: 5, Items: 5}
	must(t, s.FinishRun(t.Context(), run))
	startRun(t, s, "second", 10)
	finish(t, s, 2, "a", backup.Mail, backup.RunPart{State: backup.PartDone, Counts: backup.Counts{Stored: 3}})

	runs := got[[]backup.Run](t)(s.ListRuns(t.Context(), acme, 0))
	if len(runs) != 2 || runs[1] != run {
		t.Fatalf("the runs are %+v, want %+v last", runs, run)
	}
	if runs[0].Number != 2 || runs[0].Done != 1 || runs[0].Counts.Stored != 3 {
		t.Errorf("the run under way is %+v", runs[0])
	}
	if last := got[*backup.Run](t)(s.LastRun(t.Context(), acme)); last.Number != 2 {
		t.Errorf("the last run is %+v", last)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	s := newStore(t)
	_, err := s.TotalRun(t.Context(), acme, 9)
	wantCode(t, err, backup.CodeNotFound)
	_, _, err = s.Run(t.Context(), acme, 9, 1)
	wantCode(t, err, backup.CodeNotFound)
	wantCode(t, s.FinishRun(t.Context(), backup.Run{Tenant: acme, Number: 9}), backup.CodeNotFound)
	wantCode(t, s.FinishPart(t.Context(), acme, 9, backup.RunPart{Service: backup.Mail, State: backup.PartDone}), backup.CodeNotFound)
	_, err = s.KeyStatus(t.Context(), acme)
	wantCode(t, err, backup.CodeNotFound)
}

func TestAlertIsOpenOnceAtATime(t *testing.T) {
	s := newStore(t)
	raise := func(subject, message string, at time.Time) (backup.Alert, bool) {
		a, first, err := s.RaiseAlert(t.Context(), backup.Alert{Tenant: acme, Kind: backup.AlertTaskWaiting, Subject: subject, Message: message, Hint: "act"}, at)
		must(t, err)
		return a, first
	}
	opened, first := raise("key", "waits", noon)
	want := backup.Alert{ID: 1, Tenant: acme, Kind: backup.AlertTaskWaiting, Subject: "key", Message: "waits", Hint: "act", Times: 1, Raised: noon, Last: noon}
	if !first || opened != want {
		t.Errorf("first %t, the alert is %+v, want %+v", first, opened, want)
	}
	again, first := raise("key", "still waits", noon.Add(time.Hour))
	want.Times, want.Last, want.Message = 2, noon.Add(time.Hour), "still waits"
	if first || again != want {
		t.Errorf("first %t, again it is %+v, want %+v", first, again, want)
	}
	if _, first := raise("directory", "waits", noon.Add(time.Minute)); !first {
		t.Error("another subject is another alert")
	}
	resolve := func() bool {
		return got[bool](t)(s.ResolveAlert(t.Context(), acme, backup.AlertTaskWaiting, "key", noon.Add(2*time.Hour)))
	}
	if !resolve() || resolve() {
		t.Error("an alert is resolved once")
	}
	if n := got[int](t)(s.CountOpenAlerts(t.Context(), acme)); n != 1 {
		t.Errorf("%d alerts are open", n)
	}
	if a, first := raise("key", "waits", noon.Add(3*time.Hour)); !first || a.Times != 1 {
		t.Errorf("after it was resolved, first is %t and the alert %+v", first, a)
	}
	subjects := func(all bool, limit int) (names []string) {
		for _, a := range got[[]backup.Alert](t)(s.ListAlerts(t.Context(), acme, all, limit)) {
			names = append(names, fmt.Sprint(a.Subject, " ", a.Times))
		}
		return names
	}
	if have := subjects(false, 0); !slices.Equal(have, []string{"key 1", "directory 1"}) {
		t.Errorf("open are %q", have)
	}
	if have := subjects(true, 2); !slices.Equal(have, []string{"key 1", "directory 1"}) {
		t.Errorf("the newest two are %q", have)
	}
	if have := subjects(true, 0); !slices.Equal(have, []string{"key 1", "directory 1", "key 2"}) {
		t.Errorf("all are %q", have)
	}
}
