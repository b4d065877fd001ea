package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/sdk/v1"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

// The company: 25 people with some 300 messages and 200 files.
const (
	people            = 25
	messages          = 12
	files             = 8
	seed              = 1
	patience          = 2 * time.Minute
	pollEvery         = 200 * time.Millisecond
	mutationsFileName = "mutations"
)

// story is the demo under way.
type story struct {
	*narrator
	*stage.Stage
	options   options
	dev       *stage.Process
	connector *stage.Process
	profile   readapi.Profile
	lastRun   int64 // before this demo
	// busiest is whose mail and whose drive changed most between the two backups: who is restored.
	busiest map[backup.Service]string
	table   [][2]string
	scenery
}

// scenery is what differs between the two ways to keep the key.
type scenery struct {
	tenantFile string
	// code and alert are what the onboarding stops with, title how that is told, and lacks a piece of its words.
	code         backup.Code
	alert        backup.AlertKind
	title, lacks string
}

func sceneryOf(key string) scenery {
	if key == "kms" {
		return scenery{"demo/acme-kms.yaml", backup.CodeSealed, backup.AlertKeyUnavailable,
			"The onboarding stops: the customer's Vault is sealed", "sealed"}
	}
	return scenery{"demo/acme.yaml", backup.CodeNotConnected, backup.AlertNotConnected,
		"The onboarding stops: no connector is connected", "no connector of the tenant acme is connected"}
}

// open starts the sandbox company.
func open(ctx context.Context, o options) (*story, error) {
	n := newNarrator(os.Stdout)
	n.scene("A sandbox company")
	s, err := stage.Open(ctx, stage.Options{Dir: o.state, Bin: o.bin, BasePort: o.port, Seed: seed, People: people, Messages: messages, Files: files,
		OpenLDAP: o.directory == "openldap", KMS: o.key == "kms"})
	if err != nil {
		return nil, err
	}
	directory := "LDAP directory"
	if o.directory == "openldap" {
		directory = "real OpenLDAP server"
	}
	n.done("Microsoft 365 (Graph, sign-in, downloads) and a %s with %d people, over TLS with a CA made just now", directory, people)
	if s.Vault != nil {
		n.done("the customer's own Vault: %s, over TLS", keyserver.Version)
	}
	return &story{narrator: n, Stage: s, options: o, scenery: sceneryOf(o.key)}, nil
}

func (s *story) close() {
	for _, p := range []*stage.Process{s.connector, s.dev} {
		if p != nil {
			_ = p.Stop()
		}
	}
	_ = s.Stage.Close()
}

func (s *story) startHoldfast(ctx context.Context) (err error) {
	s.scene("Holdfast starts: holdfastd dev")
	if s.dev, err = s.StartDev(ctx); err != nil {
		return err
	}
	if s.profile, err = s.Profile(); err != nil {
		return err
	}
	s.done("Temporal, its Web UI, the store, the gateway and the worker are up")
	s.done("Temporal's Web UI: %s", s.profile.WebUI)
	if err := s.prepareKey(ctx); err != nil {
		return err
	}
	// A state folder that was used before has runs already: this demo's come behind them.
	var before struct{ Runs []backup.Run }
	if err := s.Query(ctx, &before, "backup", "list", stage.Tenant); err == nil && len(before.Runs) > 0 {
		s.lastRun = before.Runs[0].Number
		s.done("this state was used before: %d runs are in it, and this one goes on from there", s.lastRun)
	}
	return nil
}

// prepareKey lets the customer keep the key, out of reach for now.
func (s *story) prepareKey(ctx context.Context) error {
	if s.Vault != nil {
		s.done("the customer's operator has sealed the Vault, which has the shipped policies and two logins")
		return s.Vault.Seal(ctx)
	}
	s.done("the customer has made a key file for a connector, which does not run yet")
	return s.EnsureConnectorKey(ctx)
}

func (s *story) apply(ctx context.Context) error {
	file, err := s.TenantFile(s.tenantFile)
	if err != nil {
		return err
	}
	s.scene("holdfast apply -f " + file)
	var applied struct{ Started bool }
	if err := s.Query(ctx, &applied, "apply", "-f", file); err != nil {
		return err
	}
	s.done("the onboarding of Acme has begun")
	return nil
}

// waitForKey shows that the onboarding stops where it must, in each place where a person would look.
func (s *story) waitForKey(ctx context.Context) error {
	s.scene(s.title)
	type line struct {
		WorkflowID string
		Task       backup.Task
	}
	var inbox struct{ Tasks []line }
	err := s.await(ctx, "the task in the inbox", func() (bool, error) {
		err := s.Query(ctx, &inbox, "inbox", stage.Tenant)
		return slices.ContainsFunc(inbox.Tasks, func(l line) bool { return l.Task.Name == backup.TaskKey && l.Task.Code == s.code }), err
	})
	if err != nil {
		return err
	}
	if err := s.quote(ctx, "inbox", stage.Tenant); err != nil {
		return err
	}
	var alerts readapi.AlertPage
	err = s.await(ctx, "the alert "+s.alert.Title(), func() (bool, error) {
		err := s.Query(ctx, &alerts, "alerts", stage.Tenant)
		return slices.ContainsFunc(alerts.Alerts, func(a backup.Alert) bool { return a.Kind == s.alert }), err
	})
	if err != nil {
		return err
	}
	s.done("the alert %q is raised", s.alert.Title())
	return s.visibleInTemporal(ctx)
}

// visibleInTemporal asks the Web UI's own API for what a person sees there: the list by what is awaited, and the current details.
func (s *story) visibleInTemporal(ctx context.Context) error {
	base := s.profile.WebUI + "/api/v1/namespaces/" + s.profile.TemporalNamespace + "/workflows"
	query := url.Values{"query": {"HoldfastTenant = 'acme' AND HoldfastAwaiting IS NOT NULL AND ExecutionStatus = 'Running'"}}
	var list struct {
		Executions []struct {
			Execution struct{ WorkflowID, RunID string }
		}
	}
	err := s.await(ctx, "the workflow in the Web UI's list", func() (bool, error) {
		err := getJSON(ctx, base+"?"+query.Encode(), &list)
		return len(list.Executions) > 0, err
	})
	if err != nil {
		return err
	}
	execution := list.Executions[0].Execution
	details, err := s.currentDetails(ctx, execution.WorkflowID)
	if err != nil || !strings.Contains(details, s.lacks) {
		return fmt.Errorf("the current details of %s do not tell what is missing: %q %w", execution.WorkflowID, details, err)
	}
	s.done("Temporal's Web UI lists %s as awaiting a person, with what to do in its current details", execution.WorkflowID)
	return nil
}

// currentDetails are what the Web UI shows on a workflow's page.
func (s *story) currentDetails(ctx context.Context, workflowID string) (string, error) {
	c, err := orchestrator.Dial(ctx, orchestrator.Options{Profile: s.profile})
	if err != nil {
		return "", err
	}
	defer c.Close()
	answer, err := c.Temporal().QueryWorkflow(ctx, workflowID, "", "__temporal_workflow_metadata")
	if err != nil {
		return "", err
	}
	var metadata sdk.WorkflowMetadata
	err = answer.Get(&metadata)
	return metadata.GetCurrentDetails(), err
}

// bringKey lets the customer mend what was missing.
func (s *story) bringKey(ctx context.Context) (err error) {
	if s.Vault != nil {
		s.scene("The customer unseals the Vault, and says so: holdfast retry acme key")
		if err = s.Vault.Unseal(ctx); err == nil {
			err = s.succeed(ctx, "retry", stage.Tenant, backup.TaskKey, "--by", "anna@acme.example")
		}
	} else {
		s.scene("The customer starts the connector: holdfastd connector")
		s.connector, err = s.StartConnector()
	}
	if err != nil {
		return err
	}
	return s.onboarded(ctx)
}

// onboarded waits for the end of the onboarding, which needs nobody any more.
func (s *story) onboarded(ctx context.Context) error {
	began := time.Now()
	var status struct {
		Onboarding struct {
			Running bool
			Outcome string
			Tasks   []backup.Task
		}
	}
	err := s.await(ctx, "the end of the onboarding", func() (bool, error) {
		err := s.Query(ctx, &status, "status", stage.Tenant)
		return err == nil && !status.Onboarding.Running, err
	})
	if err != nil {
		return err
	}
	if status.Onboarding.Outcome != "Completed" {
		return fmt.Errorf("the onboarding ended as %s", status.Onboarding.Outcome)
	}
	for _, t := range status.Onboarding.Tasks {
		s.done("%s: %s", t.Title, t.Detail)
	}
	s.done("the onboarding went on by itself and ended after %.1f s", time.Since(began).Seconds())
	var alerts readapi.AlertPage
	if err := s.Query(ctx, &alerts, "alerts", stage.Tenant); err != nil {
		return err
	}
	if slices.ContainsFunc(alerts.Alerts, func(a backup.Alert) bool { return a.Kind == s.alert }) {
		return fmt.Errorf("the alert %q is still open", s.alert.Title())
	}
	s.done("the alert %q is resolved", s.alert.Title())
	return nil
}

// people compares the accounts with the directory's people.
func (s *story) people(ctx context.Context) error {
	s.scene("People came from the directory")
	var users readapi.UserPage
	if err := s.Query(ctx, &users, "users", "list", stage.Tenant); err != nil {
		return err
	}
	count := map[backup.AccountState]int{}
	for _, a := range users.Accounts {
		count[a.State]++
	}
	var problems readapi.ProblemPage
	if err := s.Query(ctx, &problems, "users", "problems", stage.Tenant); err != nil {
		return err
	}
	want := map[backup.AccountState]int{}
	noMail := 0
	for _, p := range s.People() {
		switch {
		case p.NoMail:
			noMail++
		case p.Disabled:
			want[backup.Preserved]++
		default:
			want[backup.Active]++
		}
	}
	if count[backup.Active] != want[backup.Active] || count[backup.Preserved] != want[backup.Preserved] || len(problems.Entries) != noMail {
		return fmt.Errorf("%v accounts and %d problems, want %v and %d", count, len(problems.Entries), want, noMail)
	}
	s.done("%d are protected, %d preserved because the directory has them disabled", count[backup.Active], count[backup.Preserved])
	for _, p := range problems.Entries {
		s.done("reported, not dropped: %s (%s)", p.DisplayName, p.Problem)
	}
	s.row("People", fmt.Sprintf("%d protected, %d preserved, %d without mail reported", count[backup.Active], count[backup.Preserved], noMail))
	return nil
}

func (s *story) firstBackup(ctx context.Context) error {
	s.scene("The schedule's first backup")
	report, err := s.awaitRun(ctx, s.lastRun+1)
	if err != nil {
		return err
	}
	for _, p := range report.Parts {
		if p.State == backup.PartNoService {
			s.done("reported: %s has no %s in Microsoft 365", p.Account.Mail, p.Service)
		}
	}
	return s.showRun("Backup "+fmt.Sprint(report.Run.Number), report.Run)
}

// secondBackup changes mail and files, and looks whether only the changes are fetched.
func (s *story) secondBackup(ctx context.Context) error {
	s.scene("Mail and files change; the second backup fetches the changes alone")
	done, err := s.mutate()
	if err != nil {
		return err
	}
	s.done("%d changes at the source: added, edited, moved, renamed, read, deleted", done)
	s.Graph.ResetCalls()
	r, err := s.Holdfast(ctx, "backup", "run", stage.Tenant, "--wait")
	if err != nil || r.Code != 0 {
		return fmt.Errorf("holdfast backup run: exit code %d: %s%s %w", r.Code, r.Stdout, r.Stderr, err)
	}
	report, err := s.awaitRun(ctx, s.lastRun+2)
	if err != nil {
		return err
	}
	run := report.Run
	if run.Counts.Stored == 0 || run.Counts.Listed > int64(done)*4 {
		return fmt.Errorf("%d changes led to %d listed and %d stored items", done, run.Counts.Listed, run.Counts.Stored)
	}
	byCall, total := s.Graph.Calls()
	s.done("%d calls reached Microsoft 365, of them %d for contents", total, byCall[graph.CallMessageValue]+byCall[graph.CallDownload])
	return s.showRun("Backup "+fmt.Sprint(run.Number), run)
}

// mutate changes a bit of everything, differently each time the demo runs on the same state.
func (s *story) mutate() (int, error) {
	file := s.Path("sandbox", mutationsFileName)
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	if err := os.WriteFile(file, append(b, '+'), 0o600); err != nil {
		return 0, err
	}
	done, err := s.Graph.Mutate(seed+uint64(len(b)), graph.SomeOfEverything())
	s.busiest = s.findBusiest(done)
	return len(done), err
}

// findBusiest finds whose mail and whose drive changed most, among those who are protected; of several, the first by name.
func (s *story) findBusiest(done []graph.Done) map[backup.Service]string {
	protected := map[string]bool{}
	for _, p := range s.People() {
		protected[p.UPN] = !p.Disabled && !p.NoMail && !p.NoMailbox
	}
	changes := map[backup.Service]map[string]int{backup.Mail: {}, backup.Drive: {}}
	most := map[backup.Service]string{backup.Mail: s.People()[0].UPN, backup.Drive: s.People()[0].UPN}
	for _, d := range done {
		if !protected[d.User] {
			continue
		}
		service := backup.Drive
		if strings.HasPrefix(string(d.Op), "message.") || strings.HasPrefix(string(d.Op), "mailfolder.") {
			service = backup.Mail
		}
		changes[service][d.User]++
	}
	for service, by := range changes {
		for _, user := range slices.Sorted(maps.Keys(by)) {
			if by[user] > by[most[service]] {
				most[service] = user
			}
		}
	}
	return most
}

// restore brings one mailbox and one drive back, those that changed most, and compares them with the source.
func (s *story) restore(ctx context.Context) error {
	s.scene("One mailbox and one drive come back, byte for byte")
	for service, compare := range map[string]func(string, string) (int, int64, error){"mail": s.CompareMail, "drive": s.CompareDrive} {
		to := s.Path("restored", service)
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		account := s.busiest[backup.Service(service)]
		var restored struct{ Counts backup.RestoreCounts }
		if err := s.Query(ctx, &restored, "restore", stage.Tenant, "--account", account, "--service", service, "--to", to); err != nil {
			return err
		}
		n, size, err := compare(account, to)
		if err != nil {
			return err
		}
		if n == 0 || int64(n) != restored.Counts.Files {
			return fmt.Errorf("%d files were restored and %d are equal to the source", restored.Counts.Files, n)
		}
		s.done("%s of %s: %d files, %s, all equal to the source (in %s)", service, account, n, bytesText(size), to)
		s.row("Restored "+service, fmt.Sprintf("%d files, %s, equal to the source", n, bytesText(size)))
	}
	return nil
}

// receipts shows that every use of the key left a receipt, and checks them on this machine, as an auditor would.
func (s *story) receipts(ctx context.Context) error {
	s.scene("Every use of the key left a receipt")
	if err := s.succeed(ctx, "key", "receipts", stage.Tenant, "--verify"); err != nil {
		return err
	}
	var status backup.KeyStatus
	if err := s.Query(ctx, &status, "key", "status", stage.Tenant); err != nil {
		return err
	}
	s.done("holdfast key receipts acme --verify: %d receipts, none altered, missing or exchanged", status.Receipts)
	s.row("Key receipts", fmt.Sprintf("%d, verified", status.Receipts))
	return nil
}

// succeed runs a command that must end well.
func (s *story) succeed(ctx context.Context, args ...string) error {
	r, err := s.Holdfast(ctx, args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("holdfast %s: exit code %d: %s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return err
}

// scan looks for the ekey and other secrets everywhere, after it has proved that it would find them.
func (s *story) scan(context.Context) error {
	s.scene("The plain key is nowhere")
	secrets, err := s.Secrets()
	if err != nil {
		return err
	}
	for _, secret := range secrets[:2] {
		if err := s.findPlanted(secrets, secret); err != nil {
			return err
		}
	}
	s.done("the scan finds a planted canary")
	found, files, size, err := s.Scan(secrets)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%s stands as %s in %s (and %d more)", found[0].Secret, found[0].Form, found[0].Place, len(found)-1)
	}
	s.done("%d secrets in 9 forms each: none in Temporal's database, the store, the repository, the logs (%d files, %s) or on a command line", len(secrets), files, bytesText(size))
	s.row("Canary scan", fmt.Sprintf("clean: %d files, %s", files, bytesText(size)))
	return nil
}

// findPlanted plants a secret and looks whether the scan finds it there.
func (s *story) findPlanted(secrets []stage.Secret, secret stage.Secret) error {
	canary := s.Path("holdfast", "repositories", "canary")
	text := "x" + base64.StdEncoding.EncodeToString(append([]byte("ab"), secret.Bytes...))
	if err := os.WriteFile(canary, []byte(text), 0o600); err != nil {
		return err
	}
	defer os.Remove(canary)
	found, _, _, err := s.Scan(secrets)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(found, func(f stage.Finding) bool { return f.Secret == secret.Name && f.Place == canary }) {
		return fmt.Errorf("the scan does not find a planted canary (%s)", secret.Name)
	}
	return nil
}

// conclude shows the table and what to try next.
func (s *story) conclude() {
	s.scene("Done")
	s.printTable(s.table)
	state := "HOLDFAST_STATE=" + s.Path("holdfast")
	s.say("")
	s.say("Temporal's Web UI   %s", s.profile.WebUI)
	s.say("Try next            export %s", state)
	for _, c := range []string{"status acme", "backup list acme", "users list acme", "key status acme", "key rotate acme --by anna@acme.example"} {
		s.say("                    %s %s", filepath.Join(s.options.bin, "holdfast"), c)
	}
}

// awaitRun waits for the end of a run, which must be complete and proved.
func (s *story) awaitRun(ctx context.Context, number int64) (report readapi.RunReport, err error) {
	err = s.await(ctx, fmt.Sprint("the end of run ", number), func() (bool, error) {
		err := s.Query(ctx, &report, "backup", "show", stage.Tenant, fmt.Sprint(number))
		return err == nil && report.Run.Outcome != backup.RunRunning, err
	})
	if err != nil {
		return report, err
	}
	if report.Run.Outcome != backup.RunComplete {
		return report, fmt.Errorf("run %d ended %s: %s", number, report.Run.Outcome, report.Run.Detail)
	}
	return report, report.Run.Counts.Prove()
}

func (s *story) showRun(name string, r backup.Run) error {
	c := r.Counts
	s.done("run %d is complete: %d services of accounts, %d listed = %d stored + %d unchanged + %d skipped + %d gone", r.Number, r.Done, c.Listed, c.Stored, c.Unchanged, c.Skipped, c.Gone)
	s.done("%s fetched in %.1f s with %d API calls; the snapshots hold %d items", bytesText(c.Bytes), r.Ended.Sub(r.Started).Seconds(), c.APICalls, c.Items)
	s.row(name, fmt.Sprintf("%d listed = %d stored + %d unchanged + %d skipped + %d gone; %d API calls, %s", c.Listed, c.Stored, c.Unchanged, c.Skipped, c.Gone, c.APICalls, bytesText(c.Bytes)))
	return nil
}

// await asks until the answer is yes. It also ends when a process that is needed has ended.
func (s *story) await(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		ok, err := ask()
		if ok && err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-s.dev.Exited():
			return errors.New("holdfastd dev ended while the demo waited for " + what)
		case <-ctx.Done():
			return fmt.Errorf("%s did not come: %w", what, errors.Join(ctx.Err(), last))
		case <-time.After(pollEvery):
		}
	}
}

// quote shows what a command prints.
func (s *story) quote(ctx context.Context, args ...string) error {
	r, err := s.Holdfast(ctx, args...)
	if err != nil {
		return err
	}
	s.say("  $ holdfast %s", strings.Join(args, " "))
	for line := range strings.Lines(r.Stdout) {
		s.say("    %s", strings.TrimRight(line, "\n"))
	}
	return nil
}

func (s *story) row(name, value string) { s.table = append(s.table, [2]string{name, value}) }

// getJSON asks Temporal's Web UI.
func getJSON(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.200s", address, res.Status, b)
	}
	return json.Unmarshal(b, into)
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
