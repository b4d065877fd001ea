package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/workflows"
)

var update = flag.Bool("update", false, "write what the commands say into testdata/golden")

var (
	keyTask = backup.Task{Name: backup.TaskKey, Title: "The key can be had", State: backup.Waiting, Code: backup.CodeNotConnected,
		Detail: "no connector is connected", Hint: "holdfastd connector", Actions: []backup.Action{backup.Retry, backup.Abort},
		Since: morning.Add(-3 * time.Hour), Deadline: morning.AddDate(0, 2, 0)}
	doneTask    = backup.Task{Name: backup.TaskAdministrator, Title: "Somebody may", State: backup.Passing, Detail: "anna@acme.example is cloud-admin"}
	pendingTask = backup.Task{Name: backup.TaskApp, Title: "The app's permissions", State: backup.Pending}
	removals    = backup.Task{Name: backup.TaskRemovals, Title: "Many people would leave", State: backup.Waiting, Detail: "9 of 20 active people would be preserved",
		Actions: []backup.Action{backup.Approve, backup.Reject}, Since: morning.Add(-50 * time.Hour), Deadline: morning.AddDate(0, 1, 0)}
	firstRun = backup.Run{Tenant: "acme", Number: 1, App: app, WorkflowID: "backup/acme/microsoft365-2026-03-01T00:00:00Z", RunID: "r1",
		Started: morning.AddDate(0, 0, -1), Ended: morning.AddDate(0, 0, -1).Add(4 * time.Minute), Outcome: backup.RunComplete, Parts: 4, Done: 3, NoService: 1,
		Counts: backup.Counts{Listed: 120, Stored: 110, Unchanged: 0, Skipped: 2, Gone: 8, Bytes: 3_456_789, APICalls: 77, Items: 110}}
	secondRun = backup.Run{Tenant: "acme", Number: 2, App: app, WorkflowID: "backup/acme/microsoft365-2026-03-02T08:30:00Z", RunID: "r2",
		Started: morning, Ended: morning.Add(50 * time.Second), Outcome: backup.RunPartial, Code: backup.CodeFenced, Detail: "1 account service failed", Parts: 4, Done: 2, Failed: 1, NoService: 1,
		Counts: backup.Counts{Listed: 6, Stored: 5, Gone: 1, Bytes: 999, APICalls: 9, Resyncs: 1}}
	parts = []backup.RunPart{
		{Account: backup.Account{ID: "a01", Mail: "anna@acme.example"}, Service: backup.Mail, State: backup.PartDone, Snapshot: "k1", Counts: backup.Counts{Stored: 5, Skipped: 3, Bytes: 999}, Skips: map[backup.SkipReason]int64{backup.SkipTooLarge: 1, backup.SkipMalware: 2}},
		{Account: backup.Account{ID: "a01", Mail: "anna@acme.example"}, Service: backup.Drive, State: backup.PartNoService},
		{Account: backup.Account{ID: "a02", Mail: "bela@acme.example"}, Service: backup.Mail, State: backup.PartFailed, Code: backup.CodeFenced, Detail: "an access policy closes this mailbox"},
	}
	key = backup.KeyStatus{Tenant: "acme", Method: backup.KeyByConnector, Generation: 1, Receipts: 12,
		Connectors: []backup.ConnectorStatus{{Name: "hq", Identity: "ed25519:AAAA", Connected: true, LastSeen: morning, Session: 3}, {Name: "branch", Identity: "ed25519:BBBB"}},
		Last:       &backup.Receipt{Number: 12, Tenant: "acme", Purpose: backup.PurposeBackup, Holder: "hq", At: morning}}
	// rotated is the key after a switch: a Vault wraps it now, and what the connectors hold is about to go.
	rotated = backup.KeyStatus{Tenant: "acme", Method: backup.KeyByKMS, Generation: 2, Receipts: 31,
		Generations: []backup.EKey{
			{Tenant: "acme", Generation: 1, Method: backup.KeyByConnector, State: backup.EKeyRetiring, Check: "ed25519:one", Created: morning.AddDate(0, -3, 0), Activated: morning.AddDate(0, -3, 0), RetireAfter: morning.AddDate(0, 0, 7)},
			{Tenant: "acme", Generation: 2, Method: backup.KeyByKMS, State: backup.EKeyActive, Check: "ed25519:two", Created: morning.Add(-time.Hour), Activated: morning}},
		Connectors: []backup.ConnectorStatus{
			{Name: "hq", Identity: "ed25519:AAAA", Connected: true, LastSeen: morning, Session: 3, Enrolled: true, Holds: []backup.HeldKey{{Generation: 1, Check: "ed25519:one"}}},
			{Name: "branch", Identity: "ed25519:BBBB", Holds: []backup.HeldKey{{Generation: 1, Check: "ed25519:other"}}}},
		Last:  &backup.Receipt{Number: 31, Tenant: "acme", Purpose: backup.PurposeBackup, Holder: "vault", At: morning},
		Drill: &failedDrill}
	failedDrill = backup.KeyDrill{Tenant: "acme", Generation: 2, At: morning, Proofs: []backup.KeyProof{
		{Holder: "vault", Generation: 2, OK: true, Detail: "t-acme proved generation 2"},
		{Holder: "connector branch", Generation: 1, Code: backup.CodeWrongKey, Detail: "what it holds is another key", Hint: "holdfast connector enroll acme --name branch"}}}
	shredded = backup.KeyStatus{Tenant: "acme", Method: backup.KeyByConnector, Generation: 1, Receipts: 40,
		Generations: []backup.EKey{{Tenant: "acme", Generation: 1, Method: backup.KeyByConnector, State: backup.EKeyDestroyed, Created: morning.AddDate(-1, 0, 0), Activated: morning.AddDate(-1, 0, 0), Ended: morning}},
		Shred: &backup.ShredReport{Tenant: "acme", RequestedBy: "anna@acme.example", ApprovedBy: []string{"bela@acme.example", "chen@acme.example"}, Reason: "the contract has ended",
			Requested: morning.AddDate(0, 0, -4), Destroyed: morning, Generations: []int{1}, Signer: "ed25519:SSSS", Signature: []byte("signed"),
			Holders: []backup.KeyProof{{Holder: "connector hq", Generation: 1, OK: true, Detail: "destroyed"}},
			Proof:   []backup.KeyProof{{Holder: "repository", Generation: 1, OK: true, Detail: "it does not open"}}}}
	changeTask = backup.Task{Name: backup.TaskKeyChange, Title: "A second person agrees", State: backup.Waiting, Code: backup.CodeNotAllowed,
		Detail: "anna@acme.example asks for a new key of acme, by connector as before; generation 1 is replaced", Hint: "a second person decides",
		Actions: []backup.Action{backup.Approve, backup.Reject}, RequestedBy: "anna@acme.example", Since: morning}
	changing = orchestrator.KeyFlow{WorkflowID: "key/acme", RunID: "r1", Kind: workflows.ChangeKeyName, Running: true, Started: morning.Add(-time.Minute),
		Tasks: []backup.Task{changeTask, {Name: backup.TaskNewKey, Title: "The next key is made", State: backup.Pending}}}
	changeDone   = orchestrator.KeyFlow{WorkflowID: "key/acme", RunID: "r1", Kind: workflows.ChangeKeyName, Outcome: "Completed", Started: morning.Add(-time.Minute), Ended: morning}
	changeFailed = orchestrator.KeyFlow{WorkflowID: "key/acme", RunID: "r1", Kind: workflows.ChangeKeyName, Outcome: "Failed", Started: morning, Ended: morning,
		Err: &backup.Error{Code: backup.CodeMissingRole, Message: "bela@acme.example is approver, which may not ask for this", Hint: "let a cloud-admin do it"}}
	admission = func(name string) orchestrator.Waiting {
		return orchestrator.Waiting{Tenant: "acme", WorkflowID: "enroll/acme/" + name, RunID: "r", Task: backup.Task{Name: backup.TaskConnector, Title: "A connector is admitted", State: backup.Waiting,
			Detail: "the token for " + name + " was used by ed25519:CCCC", Actions: []backup.Action{backup.Approve, backup.Reject}, Since: morning.Add(-time.Minute)}}
	}
	shredAsked = orchestrator.KeyFlow{WorkflowID: "key/acme", RunID: "r1", Kind: workflows.ShredKeyName, Running: true, Started: morning,
		Tasks: []backup.Task{{Name: backup.TaskShred, Title: "A first person agrees", State: backup.Waiting, Detail: "anna@acme.example asks to destroy the key of acme",
			Hint: "two people who did not ask for it must approve", Actions: []backup.Action{backup.Approve, backup.Reject}, Since: morning}}}
	notConnected = backup.Alert{ID: 2, Tenant: "acme", Kind: backup.AlertNotConnected, Subject: "key", Message: "no connector is connected", Hint: "holdfastd connector", Times: 3, Raised: morning.Add(-time.Hour), Last: morning}
	scimTokens   = []readapi.SCIMToken{
		{Directory: "okta", Label: "okta", By: "anna@acme.example", Created: morning.AddDate(0, -11, 0), Expires: morning.AddDate(0, 1, 0), LastUsed: morning.Add(-time.Hour)},
		{Directory: "okta", Label: "okta-2", By: "bela@acme.example", Created: morning}}
	underWay   = fmt.Errorf("%w: %w", orchestrator.ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Message: "the shredding of the key of acme is under way", Hint: "holdfast key status acme shows how far it is; it must end, or be given up, first"})
	lastHolder = fmt.Errorf("%w: %w", orchestrator.ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Message: "no other connector of acme is known to hold generation 2 of its key, without which no backup opens", Hint: "admit another one first (holdfast connector enroll acme --name NAME)"})
	acme       = backup.Tenant{ID: "acme", Name: "Acme Corporation", Directories: []backup.DirectoryConfig{{Name: "ldap", Kind: backup.LDAP}}, Profile: backup.Profile{Services: []backup.Service{backup.Mail, backup.Drive}, PreserveDays: 365}}
)

var (
	anna    = backup.DirectoryEntry{ID: "e1", DN: "uid=anna,dc=acme", Mail: "anna@acme.example", DisplayName: "Anna Berg", Profile: "board"}
	xaver   = backup.DirectoryEntry{ID: "e2", DN: "uid=x,dc=acme", Mail: "x@acme.example", DisplayName: "Xaver", Problem: backup.Conflict}
	account = backup.Account{ID: "a1", Tenant: "acme", Mail: "anna@acme.example", DisplayName: "Anna Berg", State: backup.Active, Since: morning.Add(-48 * time.Hour), Directory: "ldap", EntryID: "e1"}
	person  = backup.AccountReport{Account: account, Provenance: map[backup.PersonField]backup.DirectoryName{backup.FieldMail: "ldap", backup.FieldDisplayName: "okta"},
		Links: []backup.Link{{Directory: "ldap", Entry: anna, Present: true, By: "first"}, {Directory: "okta", Entry: backup.DirectoryEntry{ID: "s1"}, Present: true, By: "mail"}},
		Events: []backup.AccountEvent{{Account: "a1", At: morning, Report: 6, Directory: "ldap", Kind: backup.ChangeChanged, Fields: []backup.FieldChange{{Field: backup.FieldMail, From: "anna.b@acme.example", To: "anna@acme.example"}}},
			{Account: "a1", At: morning.Add(-48 * time.Hour), Report: 1, Directory: "ldap", Kind: backup.ChangeAdded}}}
	gone    = backup.AccountReport{Account: backup.Account{ID: "a1", Mail: "anna@acme.example", State: backup.Preserved, Reason: backup.PreservedVanished, Since: morning}, Links: []backup.Link{{Directory: "ldap", Entry: anna}}}
	known   = []backup.KnownEntry{{Link: backup.Link{Directory: "ldap", Entry: anna, Present: true}, Account: "a1"}, {Link: backup.Link{Directory: "okta", Entry: xaver, Present: true}}}
	changes = []backup.ImportChange{{Kind: backup.ChangeAdded, Entry: backup.DirectoryEntry{ID: "e9", Mail: "new@acme.example", DisplayName: "New"}},
		{Kind: backup.ChangeChanged, Account: "a1", Entry: anna, Fields: []backup.FieldChange{{Field: backup.FieldMail, From: "anna.b@acme.example", To: "anna@acme.example"}, {Field: backup.FieldDepartment, To: "Sales"}}},
		{Kind: backup.ChangeRemoved, Account: "a2", Entry: backup.DirectoryEntry{ID: "e3", Mail: "left@acme.example"}},
		{Kind: backup.ChangeSkipped, Entry: backup.DirectoryEntry{ID: "e4", DN: "uid=y", Problem: backup.NoMail}}}
	imports = []backup.ImportReport{
		{Number: 6, Directory: "ldap", Outcome: backup.ImportPreviewed, Preview: true, Mode: backup.ChangesRead, By: "bela@acme.example", Started: morning, Ended: morning.Add(1200 * time.Millisecond), Calls: 3, Pages: 2, Resumed: 1,
			Counts: backup.ImportCounts{Listed: 4, Added: 2, Changed: 1, Vanished: 1, NoMail: 1, Leaving: 1, KnownActive: 24}},
		{Number: 5, Directory: "ldap", Outcome: backup.ImportRefused, Code: backup.CodeUnreachable, Detail: "the directory does not answer", Started: morning.Add(-time.Hour)}}
	conflicts = []backup.MergeConflict{{Directory: "okta", Entry: xaver, Candidates: []backup.ConflictCandidate{{Account: account, By: backup.FieldMail}}, Since: morning}}
)

func report() *readapi.TenantReport {
	return &readapi.TenantReport{Tenant: acme, Accounts: backup.Accounts{Active: 24, Preserved: 1}, LastRun: &firstRun, Key: key, Alerts: 1}
}

func onboarding(running bool, tasks ...backup.Task) orchestrator.Onboarding {
	o := orchestrator.Onboarding{Running: running, Started: morning.Add(-4 * time.Hour), Tasks: tasks}
	if !running {
		o.Outcome, o.Ended = "Completed", morning
	}
	return o
}

func mutedUntil(a backup.Alert, until time.Time) backup.Alert {
	a.MutedUntil = until
	return a
}

func passed(t backup.Task) backup.Task {
	t.State, t.Detail, t.Actions = backup.Passing, "generation 1, receipt 1", nil
	return t
}

// TestGolden: what every command says, as text and as JSON, in every outcome that has words of its own.
func TestGolden(t *testing.T) {
	nightly := &orchestrator.BackupSchedule{Every: backup.Duration(24 * time.Hour), Jitter: backup.Duration(30 * time.Minute), Next: morning.Add(15 * time.Hour)}
	for _, c := range []struct {
		name string
		args string
		c    fakeFlows
		r    fakeReader
		code int
	}{
		{"apply", "apply -f FILE", fakeFlows{started: true}, fakeReader{}, exitOK},
		{"apply-running", "apply -f FILE", fakeFlows{}, fakeReader{}, exitOK},
		{"apply-wait-waiting", "apply -f FILE --wait", fakeFlows{started: true, onboardings: []orchestrator.Onboarding{onboarding(true, pendingTask), onboarding(true, doneTask, keyTask, pendingTask)}}, fakeReader{}, exitWaiting},
		{"apply-wait-done", "apply -f FILE --wait", fakeFlows{started: true, onboardings: []orchestrator.Onboarding{onboarding(true, doneTask, pendingTask), onboarding(false, doneTask, passed(keyTask))}}, fakeReader{}, exitOK},
		{"apply-wait-failed", "apply -f FILE --wait", fakeFlows{started: true, onboardings: []orchestrator.Onboarding{{Outcome: "Failed", Err: &backup.Error{Code: backup.CodeNotAllowed, Message: "key: aborted by anna", Hint: "apply the tenant again when this can be mended"}}}}, fakeReader{}, exitFailed},
		{"apply-bad-file", "apply -f BAD", fakeFlows{}, fakeReader{}, exitBadFile},
		{"status-onboarding", "status acme", fakeFlows{onboardings: []orchestrator.Onboarding{onboarding(true, doneTask, keyTask, pendingTask)}}, fakeReader{report: &readapi.TenantReport{Tenant: acme, Key: backup.KeyStatus{Method: backup.KeyByConnector}, Alerts: 1}}, exitOK},
		{"status-protected", "status acme", fakeFlows{schedule: nightly}, fakeReader{report: report()}, exitOK},
		{"status-paused", "status acme", fakeFlows{schedule: &orchestrator.BackupSchedule{Paused: true, Note: "paused by anna: moving"}}, fakeReader{report: report()}, exitOK},
		{"status-unknown", "status acme", fakeFlows{}, fakeReader{}, exitNotFound},
		{"status-watch", "status acme --watch", fakeFlows{onboardings: []orchestrator.Onboarding{onboarding(true, keyTask), onboarding(true, keyTask), onboarding(false, passed(keyTask))}}, fakeReader{}, exitOK},
		{"inbox", "inbox", fakeFlows{inbox: []orchestrator.Waiting{{Tenant: "acme", WorkflowID: "key/acme", RunID: "r", Task: keyTask}, {Tenant: "globex", WorkflowID: "import/globex/ldap", RunID: "r", Task: removals}}}, fakeReader{}, exitOK},
		{"inbox-empty", "inbox acme", fakeFlows{}, fakeReader{}, exitOK},
		{"retry", "retry acme key", fakeFlows{}, fakeReader{}, exitOK},
		{"waive", "waive acme app-permissions --reason pilot", fakeFlows{}, fakeReader{}, exitOK},
		{"approve-refused", "approve acme removals", fakeFlows{err: fmt.Errorf("%w: %w", orchestrator.ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Message: "anna asked for this and cannot approve it", Hint: "a second person must"})}, fakeReader{}, exitRefused},
		{"unreachable", "inbox", fakeFlows{err: fmt.Errorf("%w: %w", orchestrator.ErrUnreachable, &backup.Error{Code: backup.CodeUnreachable, Message: "Temporal at 127.0.0.1:1 does not answer", Hint: "holdfastd dev"})}, fakeReader{}, exitUnreachable},
		{"users-list", "users list acme", fakeFlows{}, fakeReader{accounts: []backup.Account{
			{ID: "a01", Tenant: "acme", Mail: "anna@acme.example", DisplayName: "Anna Çelik", State: backup.Active, Since: morning},
			{ID: "a02", Tenant: "acme", Mail: "bela@acme.example", DisplayName: "evil\x1b[2Jname\u202e", State: backup.Preserved, Reason: backup.PreservedVanished, Since: morning},
			{ID: "a03", Tenant: "acme", Mail: "chen@acme.example", DisplayName: "Chen", State: backup.Active, Since: morning}}}, exitOK},
		{"users-list-empty", "users list acme", fakeFlows{}, fakeReader{}, exitOK},
		{"users-problems", "users problems acme", fakeFlows{}, fakeReader{entries: []backup.DirectoryEntry{{ID: "e1", DN: "uid=x", DisplayName: "Xaver", Problem: backup.NoMail}, {ID: "e2", DN: "uid=y", Mail: "a@b", Problem: backup.DuplicateMail}, {ID: "e3", DN: "uid=z", Problem: backup.BadEntry}}}, exitOK},
		{"users-problems-none", "users list acme --problems", fakeFlows{}, fakeReader{}, exitOK},
		{"users-preview", "users preview acme", fakeFlows{}, fakeReader{report: report(), imports: imports[:1], changes: changes}, exitOK},
		{"users-preview-waiting", "users preview acme", fakeFlows{inbox: []orchestrator.Waiting{{Tenant: "acme", WorkflowID: "import/acme/ldap-2026-03-02T06:00:00Z", Task: removals}}}, fakeReader{report: report(), imports: imports, changes: changes[2:]}, exitOK},
		{"users-preview-unknown", "users preview acme --directory hr", fakeFlows{}, fakeReader{report: report()}, exitNotFound},
		{"users-imports", "users imports acme", fakeFlows{}, fakeReader{imports: imports}, exitOK},
		{"users-imports-none", "users imports acme", fakeFlows{}, fakeReader{}, exitOK},
		{"users-imports-show", "users imports acme 6", fakeFlows{}, fakeReader{imports: imports, changes: changes}, exitOK},
		{"users-show", "users show acme anna@acme.example", fakeFlows{}, fakeReader{person: &person}, exitOK},
		{"users-show-unknown", "users show acme nobody@acme.example", fakeFlows{}, fakeReader{}, exitNotFound},
		{"users-explain", "users explain acme anna@acme.example", fakeFlows{}, fakeReader{report: report(), person: &person}, exitOK},
		{"users-explain-gone", "users explain acme anna@acme.example", fakeFlows{}, fakeReader{report: report(), person: &gone}, exitOK},
		{"users-explain-entry", "users explain acme x@acme.example", fakeFlows{}, fakeReader{report: report(), known: known[1:]}, exitOK},
		{"users-explain-nobody", "users explain acme y@acme.example", fakeFlows{}, fakeReader{report: report()}, exitOK},
		{"users-conflicts", "users conflicts acme", fakeFlows{}, fakeReader{conflicts: conflicts}, exitOK},
		{"users-conflicts-none", "users conflicts acme", fakeFlows{}, fakeReader{}, exitOK},
		{"users-settle", "users settle acme e2 --directory okta --same-as a1", fakeFlows{}, fakeReader{}, exitOK},
		{"users-settle-how", "users settle acme e2 --directory okta", fakeFlows{}, fakeReader{}, exitUsage},
		{"users-profiles", "users profiles acme", fakeFlows{}, fakeReader{report: report(), known: known}, exitOK},
		{"users-import", "users import acme", fakeFlows{imported: orchestrator.ImportResult{Counts: backup.ImportCounts{Listed: 3, Added: 2, Unchanged: 1, NoMail: 1}, Accounts: backup.Accounts{Active: 2}, Applied: true}}, fakeReader{report: report()}, exitOK},
		{"users-import-refused", "users import acme", fakeFlows{err: &backup.Error{Code: backup.CodeEmptyListing, Message: "the directory lists nobody, but 24 people are known", Hint: "holdfast check acme directory; nothing was changed"}}, fakeReader{report: report()}, exitFailed},
		{"backup-run", "backup run acme", fakeFlows{started: true}, fakeReader{}, exitOK},
		{"backup-run-wait", "backup run acme --wait", fakeFlows{run: workflows.BackUpAppResult{Number: 1}}, fakeReader{runs: []backup.Run{firstRun}, parts: parts[:2]}, exitOK},
		{"backup-run-partial", "backup run acme --wait", fakeFlows{started: true, run: workflows.BackUpAppResult{Number: 2}}, fakeReader{runs: []backup.Run{secondRun, firstRun}, parts: parts}, exitPartial},
		{"backup-run-failed", "backup run acme --wait", fakeFlows{started: true, runErr: &backup.Error{Code: backup.CodeNotFound, Message: "no connector is connected", Hint: "start the connector"}}, fakeReader{}, exitFailed},
		{"backup-list", "backup list acme", fakeFlows{}, fakeReader{runs: []backup.Run{secondRun, firstRun}}, exitOK},
		{"backup-list-empty", "backup list acme", fakeFlows{}, fakeReader{}, exitOK},
		{"backup-show", "backup show acme 2", fakeFlows{}, fakeReader{runs: []backup.Run{secondRun}, parts: parts}, exitOK},
		{"backup-show-unknown", "backup show acme 9", fakeFlows{}, fakeReader{}, exitNotFound},
		{"backup-pause", "backup pause acme --reason moving", fakeFlows{schedule: &orchestrator.BackupSchedule{}}, fakeReader{}, exitOK},
		{"backup-resume", "backup resume acme", fakeFlows{schedule: &orchestrator.BackupSchedule{Paused: true, Every: backup.Duration(time.Hour), Next: morning}}, fakeReader{}, exitOK},
		{"restore", "restore acme --account anna@acme.example --service mail --to /srv/restore", fakeFlows{}, fakeReader{}, exitOK},
		{"restore-unknown", "restore acme --account x --service mail --to /srv/restore", fakeFlows{err: &backup.Error{Code: backup.CodeNotFound, Message: "nobody is known as x", Hint: "holdfast users list acme"}}, fakeReader{}, exitNotFound},
		{"alerts", "alerts acme --all", fakeFlows{}, fakeReader{alerts: []backup.Alert{
			{ID: 2, Tenant: "acme", Kind: backup.AlertNotConnected, Subject: "key", Message: "no connector is connected", Hint: "holdfastd connector", Times: 3, Raised: morning.Add(-time.Hour), Last: morning},
			{ID: 1, Tenant: "acme", Kind: backup.AlertRunPartial, Subject: "microsoft365", Message: "run 2: 1 of 4 failed", Times: 1, Raised: morning.Add(-3 * time.Hour), Last: morning, Resolved: morning}}}, exitOK},
		{"alerts-none", "alerts acme", fakeFlows{}, fakeReader{}, exitOK},
		{"inbox-twice", "inbox acme", fakeFlows{inbox: []orchestrator.Waiting{admission("hq"), admission("branch")}}, fakeReader{}, exitOK},
		{"alerts-muted", "alerts acme", fakeFlows{}, fakeReader{alerts: []backup.Alert{mutedUntil(notConnected, morning.Add(time.Hour))}}, exitOK},
		{"alerts-mute", "alerts mute acme not_connected --for 4h", fakeFlows{}, fakeReader{alerts: []backup.Alert{notConnected}}, exitOK},
		{"alerts-unmute", "alerts unmute acme not_connected", fakeFlows{}, fakeReader{alerts: []backup.Alert{notConnected}}, exitOK},
		{"alerts-mute-none", "alerts mute acme run_failed", fakeFlows{}, fakeReader{alerts: []backup.Alert{notConnected}}, exitNotFound},
		{"key-status", "key status acme", fakeFlows{}, fakeReader{key: key}, exitOK},
		{"key-status-changing", "key status acme", fakeFlows{keyFlows: []orchestrator.KeyFlow{changing}}, fakeReader{key: rotated}, exitOK},
		{"key-status-shredded", "key status acme", fakeFlows{keyFlows: []orchestrator.KeyFlow{changeDone}}, fakeReader{key: shredded}, exitOK},
		{"key-rotate", "key rotate acme", fakeFlows{keyFlows: []orchestrator.KeyFlow{changing}}, fakeReader{}, exitOK},
		{"key-rotate-no-worker", "key rotate acme", fakeFlows{}, fakeReader{}, exitOK},
		{"key-rotate-not-allowed", "key rotate acme --by bela@acme.example", fakeFlows{keyFlows: []orchestrator.KeyFlow{changeFailed}}, fakeReader{}, exitRefused},
		{"key-rotate-under-way", "key rotate acme", fakeFlows{err: underWay}, fakeReader{}, exitRefused},
		{"key-rotate-wait-waiting", "key rotate acme --wait", fakeFlows{keyFlows: []orchestrator.KeyFlow{changing}}, fakeReader{}, exitWaiting},
		{"key-rotate-wait-done", "key rotate acme --wait", fakeFlows{keyFlows: []orchestrator.KeyFlow{changing, changeDone}}, fakeReader{key: rotated}, exitOK},
		{"key-rotate-wait-failed", "key rotate acme --wait", fakeFlows{keyFlows: []orchestrator.KeyFlow{changeFailed}}, fakeReader{}, exitRefused},
		{"key-rewrap", "key rotate acme --rewrap-only --wait", fakeFlows{keyFlows: []orchestrator.KeyFlow{changeDone}}, fakeReader{key: rotated}, exitOK},
		{"key-switch", "key switch acme --to kms", fakeFlows{keyFlows: []orchestrator.KeyFlow{changing}}, fakeReader{}, exitOK},
		{"key-switch-nowhere", "key switch acme --to paper", fakeFlows{}, fakeReader{}, exitUsage},
		{"key-drill", "key drill acme", fakeFlows{drill: backup.KeyDrill{Tenant: "acme", Generation: 2, At: morning, OK: true, Proofs: failedDrill.Proofs[:1]}}, fakeReader{}, exitOK},
		{"key-drill-failed", "key drill acme", fakeFlows{drill: failedDrill}, fakeReader{}, exitFailed},
		{"key-shred", "key shred acme --reason ended --yes-destroy acme", fakeFlows{keyFlows: []orchestrator.KeyFlow{shredAsked}}, fakeReader{}, exitOK},
		{"key-shred-unconfirmed", "key shred acme --reason ended", fakeFlows{}, fakeReader{}, exitUsage},
		{"key-shred-another", "key shred acme --reason ended --yes-destroy globex", fakeFlows{}, fakeReader{}, exitUsage},
		{"connector-list", "connector list acme", fakeFlows{}, fakeReader{key: rotated}, exitOK},
		{"connector-list-empty", "connector list acme", fakeFlows{}, fakeReader{key: backup.KeyStatus{Tenant: "acme"}}, exitOK},
		{"connector-remove", "connector remove acme hq --yes-remove hq", fakeFlows{}, fakeReader{key: backup.KeyStatus{Tenant: "acme", Generations: []backup.EKey{{Generation: 1, Method: backup.KeyByConnector, State: backup.EKeyActive}}}}, exitOK},
		{"connector-remove-unconfirmed", "connector remove acme hq", fakeFlows{}, fakeReader{key: rotated}, exitUsage},
		{"connector-remove-last", "connector remove acme hq --yes-remove hq", fakeFlows{err: lastHolder}, fakeReader{key: rotated}, exitRefused},
		{"scim-token-list", "scim token list acme", fakeFlows{}, fakeReader{tokens: scimTokens}, exitOK},
		{"scim-token-list-empty", "scim token list acme", fakeFlows{}, fakeReader{}, exitOK},
		{"scim-token-add-no-directory", "scim token add acme", fakeFlows{}, fakeReader{report: report()}, exitFailed},
		{"scim-token-add-expired", "scim token add acme --expires -1h", fakeFlows{}, fakeReader{}, exitUsage},
		{"scim-token-revoke", "scim token revoke acme okta-2 --yes-revoke okta-2", fakeFlows{}, fakeReader{tokens: scimTokens}, exitOK},
		{"scim-token-revoke-unknown", "scim token revoke acme entra --yes-revoke entra", fakeFlows{}, fakeReader{tokens: scimTokens}, exitNotFound},
		{"check", "check acme", fakeFlows{verdicts: map[orchestrator.System]backup.Verdict{"key": {Passing: true, Detail: "hq is connected"}, "app": {Passing: true, Detail: "Mail.Read, Files.Read.All"},
			"directory":  {Code: backup.CodeBadCredential, Detail: "the directory refused cn=holdfast", Hint: "set the password that bindPassword refers to"},
			"repository": {Passing: true, Detail: "opens with the key"}}}, fakeReader{report: report()}, exitFailed},
		{"check-one", "check -f FILE key", fakeFlows{verdicts: map[orchestrator.System]backup.Verdict{"key": {Passing: true, Detail: "hq is connected"}}}, fakeReader{}, exitOK},
	} {
		for _, format := range []string{"text", "json"} {
			t.Run(c.name+"-"+format, func(t *testing.T) {
				flowsCopy, readerCopy := c.c, c.r
				checkGolden(t, c.name, format, c.args, &flowsCopy, &readerCopy, c.code)
			})
		}
	}
}

func checkGolden(t *testing.T, name, format, args string, c *fakeFlows, r *fakeReader, want int) {
	if c.schedule != nil {
		s := *c.schedule
		c.schedule = &s
	}
	folder := t.TempDir()
	good, bad := writeFiles(t, folder)
	words := strings.Fields(strings.NewReplacer("FILE", good, "BAD", bad).Replace(args))
	if format == "json" {
		words = append(words, "--json")
	}
	var stdout, stderr bytes.Buffer
	p := newFake(&stdout, &stderr, c, r, map[string]string{"HOLDFAST_USER": "anna@acme.example", "HOLDFAST_STATE": folder})
	code := run(t.Context(), p, words)
	if code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
	if format == "json" && stdout.Len() > 0 && !json.Valid(stdout.Bytes()) {
		t.Errorf("not JSON: %s", &stdout)
	}
	if strings.ContainsAny(stdout.String()+stderr.String(), "\x1b\r") {
		t.Error("control characters without a terminal")
	}
	got := fmt.Sprintf("$ holdfast %s\nexit code %d\n--- stdout\n%s--- stderr\n%s", args, code, &stdout, &stderr)
	compareGolden(t, filepath.Join("testdata", "golden", name+"."+format), strings.ReplaceAll(got, folder, "/FOLDER"))
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test ./starter -update after reading this:\n--- got\n%s\n--- want\n%s", file, got, want)
	}
}

func writeFiles(t *testing.T, folder string) (good, bad string) {
	t.Helper()
	example, err := os.ReadFile("../docs/tenant.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	good, bad = filepath.Join(folder, "acme.yaml"), filepath.Join(folder, "bad.yaml")
	broken := strings.NewReplacer("env:ACME_LDAP_PASSWORD", "hunter2", "role: cloud-admin", "role: boss", "every: 24h", "every: 1m").Replace(string(example))
	for file, text := range map[string]string{good: string(example), bad: broken} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return good, bad
}
