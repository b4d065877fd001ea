package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// recovery covers the heartbeat time-out by which a killed worker is noticed (30 s), a retry's distance and the work itself on a
// machine that does other things, too.
const recovery = 4 * time.Minute

// kills is how often each kill test is done; HOLDFAST_KILLS says otherwise.
func kills(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("HOLDFAST_KILLS"))
	if err != nil {
		return 2
	}
	return n
}

// repeat runs f at n moments drawn from the span in which the work is expected.
func repeat(t *testing.T, span time.Duration, f func(t *testing.T, after time.Duration)) {
	for i := range kills(t) {
		after := time.Duration(rand.Int64N(int64(span)))
		t.Run(fmt.Sprintf("%d after %v", i+1, after.Round(time.Millisecond)), func(t *testing.T) {
			t.Parallel()
			f(t, after)
		})
	}
}

// outside starts a Temporal server, a gateway and a connector that are not killed.
func outside(t *testing.T, o stage.Options) *company {
	t.Helper()
	server, err := devserver.Start(t.Context(), devserver.Options{UIPort: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	o.Temporal = server.Address
	c := open(t, o)
	p, err := c.StartGateway(t.Context())
	started(t, p, err)
	profile, err := c.GatewayProfile()
	if err != nil {
		t.Fatal(err)
	}
	profile.TemporalAddress, profile.TemporalNamespace = server.Address, server.Namespace
	c.connect(profile)
	if err := c.orchestrator.CheckNamespace(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := c.EnsureConnectorKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err = c.StartConnector()
	started(t, p, err)
	return c
}

// A worker that is killed in the middle of a backup costs time and nothing else.
func TestKillWorkerDuringBackup(t *testing.T) {
	repeat(t, 2500*time.Millisecond, func(t *testing.T, after time.Duration) {
		c := outside(t, stage.Options{People: 25, Messages: 12, Files: 8})
		victim, err := c.StartWorker("victim")
		started(t, victim, err)
		c.apply()
		await(t, "the first run", recovery, func(ctx context.Context) (readapi.RunPage, bool, error) {
			p, err := c.read.Runs(ctx, stage.Tenant, 1)
			return p, len(p.Runs) > 0, err
		})
		time.Sleep(after)
		victim.Kill()
		p, err := c.StartWorker("heir")
		started(t, p, err)
		c.provenRun(1)
	})
}

// The same for the whole of `dev`, Temporal included, at any moment from the application of the tenant to the end of the first run.
func TestKillDev(t *testing.T) {
	repeat(t, 4*time.Second, func(t *testing.T, after time.Duration) {
		c := open(t, stage.Options{People: 25, Messages: 12, Files: 8})
		dev, err := c.StartDev(t.Context())
		started(t, dev, err)
		c.connectDev()
		c.apply()
		p, err := c.StartConnector()
		started(t, p, err)
		time.Sleep(after)
		dev.Kill()
		dev, err = c.StartDev(t.Context())
		started(t, dev, err)
		c.connectDev()
		c.onboarded(recovery)
		c.provenRun(1)
	})
}

// people is how many the killed import reads; HOLDFAST_PEOPLE says otherwise.
func people(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("HOLDFAST_PEOPLE"))
	if err != nil {
		return 3000
	}
	return n
}

// A worker that is killed in the middle of an import leaves no half of it. The moments are drawn from the span that the import takes: a second
// and a half, and a twentieth of a second more for each further thousand people.
func TestKillWorkerDuringImport(t *testing.T) {
	many := people(t)
	repeat(t, 1500*time.Millisecond+time.Duration(max(0, many-3000)/1000)*500*time.Millisecond/10, func(t *testing.T, after time.Duration) {
		c := outside(t, stage.Options{People: 25, Messages: 1, Files: 1})
		victim, err := c.StartWorker("victim")
		started(t, victim, err)
		c.apply()
		c.onboarded(recovery)
		c.provenRun(1)
		// A slow directory makes the import long enough to be hit at all of its steps.
		people := sandbox.People(1, many, stage.Domain)
		c.LDAP.SetPeople(people)

		ended := make(chan error, 1)
		var result orchestrator.ImportResult
		go func() {
			var err error
			result, err = c.orchestrator.ImportPeople(t.Context(), stage.Tenant, "ldap", false, "anna@acme.example")
			ended <- err
		}()
		time.Sleep(after)
		victim.Kill()
		p, err := c.StartWorker("heir")
		started(t, p, err)
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(recovery):
			t.Fatal("the import did not end")
		}
		c.everybodyOnce(people, result)
	})
}

// everybodyOnce compares the accounts with the people of the directory.
func (c *company) everybodyOnce(people []sandbox.Person, result orchestrator.ImportResult) {
	c.t.Helper()
	want := map[string]backup.AccountState{}
	for _, p := range people {
		switch {
		case p.NoMail:
		case p.Disabled:
			want[strings.ToLower(p.Mail)] = backup.Preserved
		default:
			want[strings.ToLower(p.Mail)] = backup.Active
		}
	}
	if result.Accounts.Active+result.Accounts.Preserved != len(want) || result.Counts.Listed != len(people) {
		c.t.Errorf("the import says %+v, %+v; want %d accounts of %d entries", result.Accounts, result.Counts, len(want), len(people))
	}
	for after := ""; ; {
		page, err := c.read.Users(c.t.Context(), stage.Tenant, "", after)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, a := range page.Accounts {
			if want[strings.ToLower(a.Mail)] != a.State {
				c.t.Errorf("%s is %q, want %q (or appears twice)", a.Mail, a.State, want[strings.ToLower(a.Mail)])
			}
			delete(want, strings.ToLower(a.Mail))
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(want) > 0 {
		c.t.Errorf("%d people are missing", len(want))
	}
}

// provenRun waits for the end of a run and looks whether it is what it says: complete, its counts proved, one snapshot for each part and no
// more, and what is restored equal to the source.
func (c *company) provenRun(number int64) {
	c.t.Helper()
	report := c.runEnded(number, recovery)
	if report.Run.Outcome != backup.RunComplete {
		c.t.Fatalf("run %d ended %s: %s %s", number, report.Run.Outcome, report.Run.Code, report.Run.Detail)
	}
	if err := report.Run.Counts.Prove(); err != nil {
		c.t.Error(err)
	}
	snapshots := map[string]bool{}
	for _, p := range report.Parts {
		if err := p.Counts.Prove(); err != nil {
			c.t.Errorf("%s of %s: %v", p.Service, p.Account.Mail, err)
		}
		if p.State == backup.PartDone {
			snapshots[p.Snapshot] = true
		}
	}
	if len(snapshots) != report.Run.Done {
		c.t.Errorf("%d parts are done with %d snapshots", report.Run.Done, len(snapshots))
	}
	if kept := c.countSnapshots(); kept != len(snapshots)*int(number) {
		c.t.Errorf("the repository keeps %d snapshots after run %d, want %d", kept, number, len(snapshots)*int(number))
	}
	for _, a := range []string{"anna@acme.example", "dara@acme.example"} {
		c.restoredEqual(a)
	}
}

// countSnapshots counts what is in the repository, checkpoints included, with plain kopia, as anybody with the customer's key could.
func (c *company) countSnapshots() int {
	c.t.Helper()
	lease, err := c.EKey()
	if err != nil {
		c.t.Fatal(err)
	}
	defer lease.Close()
	password, err := lease.RepositoryPassword(stage.Tenant, stage.Tenant)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := c.plainKopia(password)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close(c.t.Context())
	ids, err := snapshot.ListSnapshotManifests(c.t.Context(), r, nil, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return len(ids)
}

// plainKopia opens the repository with nothing of ours.
func (c *company) plainKopia(password string) (repo.Repository, error) {
	st, err := filesystem.New(c.t.Context(), &filesystem.Options{Path: c.repositoryFolder()}, false)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(c.t.TempDir(), "kopia.config")
	if err := repo.Connect(c.t.Context(), config, st, password, &repo.ConnectOptions{}); err != nil {
		return nil, err
	}
	return repo.Open(c.t.Context(), config, password, &repo.Options{OnFatalError: func(err error) { c.t.Error(err) }})
}

// openWith tells whether a password opens the repository.
func (c *company) openWith(password string) error {
	r, err := c.plainKopia(password)
	if err != nil {
		return err
	}
	return r.Close(c.t.Context())
}

func (c *company) connectDev() {
	c.t.Helper()
	p, err := c.Profile()
	if err != nil {
		c.t.Fatal(err)
	}
	c.connect(p)
}
