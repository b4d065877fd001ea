// Command people measures an import from a real OpenLDAP into the store, SQLite and PostgreSQL, by the same calls in the same order as the
// activities of an import make. Its peer is OpenLDAP's own ldapsearch, which dumps the same attributes of the same people to nowhere, in the
// same round: what else the machine does falls on both. Each import runs in a process of its own, so that its peak memory is its own.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/postgres"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

const password = "bench-only-1"

// small is the size that peak memory is compared with.
const small = 10_000

func main() {
	asJSON := flag.Bool("json", false, "print JSON")
	people := flag.Int("people", 100_000, "people in the directory")
	rounds := flag.Int("rounds", 3, "rounds, each of them with all cases")
	child := flag.String("child", "", "run one import: a JSON description (used by the bench itself)")
	flag.Parse()
	run := func() error { return compare(*asJSON, *people, *rounds) }
	if *child != "" {
		run = func() error { return importOnce(*child) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "people:", err)
		os.Exit(1)
	}
}

// round is what one round measured; seconds.
type round struct {
	Dump  float64          `json:"ldapsearch"`
	First map[string]taken `json:"first"`
	// Again is an import of an unchanged directory by its change feed, Full one that lists everybody again.
	Again map[string]taken `json:"again"`
	Full  map[string]taken `json:"full"`
}

type report struct {
	People int              `json:"people"`
	Load   string           `json:"load"`
	Rounds []round          `json:"rounds"`
	Small  map[string]taken `json:"small"` // the first import of 10,000 people
}

var stores = []string{"sqlite", "postgres"}

func compare(asJSON bool, people, rounds int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	r := report{People: people, Small: map[string]taken{}}
	if err := b.company(ctx, small); err != nil {
		return err
	}
	for _, s := range stores {
		if r.Small[s], err = b.fresh(ctx, s, false); err != nil {
			return err
		}
	}
	if err := b.company(ctx, people); err != nil {
		return err
	}
	for range rounds {
		one, err := b.round(ctx)
		if err != nil {
			return err
		}
		r.Rounds = append(r.Rounds, one)
	}
	r.Load = load()
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	r.print()
	return nil
}

// bench is what all rounds share.
type bench struct {
	folder  string
	ca      *sandbox.CA
	slapd   *slapd.Server
	pg      *postgres.Server
	stores  int
	current map[string]string // the last store of each kind
}

func newBench(ctx context.Context) (*bench, error) {
	folder, err := os.MkdirTemp("", "holdfast-people-")
	if err != nil {
		return nil, err
	}
	ca, err := sandbox.NewCA("bench")
	if err != nil {
		return nil, err
	}
	pg, err := postgres.Start(ctx, postgres.Options{Settings: map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "on"}})
	return &bench{folder: folder, ca: ca, pg: pg, current: map[string]string{}}, err
}

func (b *bench) close() {
	if b.slapd != nil {
		_ = b.slapd.Close()
	}
	_ = b.pg.Close()
	_ = os.RemoveAll(b.folder)
}

// company starts a directory of n people. Their ids are in the order in which they were made, as those of a real OpenLDAP are (a UUID of
// version 1).
func (b *bench) company(ctx context.Context, n int) (err error) {
	if b.slapd != nil {
		if err := b.slapd.Close(); err != nil {
			return err
		}
	}
	all := sandbox.People(7, n, "acme.example")
	for i := range all {
		all[i].EntryUUID = fmt.Sprintf("%08x-51c0-103f-9b5e-0b1d2c3e4f50", i)
	}
	b.slapd, err = slapd.Start(ctx, slapd.Options{CA: b.ca, Password: password, People: all, Changes: true})
	return err
}

func (b *bench) round(ctx context.Context) (r round, err error) {
	r = round{First: map[string]taken{}, Again: map[string]taken{}, Full: map[string]taken{}}
	if r.Dump, err = b.dump(ctx); err != nil {
		return r, err
	}
	for _, s := range stores {
		if r.First[s], err = b.fresh(ctx, s, false); err != nil {
			return r, err
		}
		if r.Again[s], err = b.child(ctx, job{Store: b.current[s], Pass: "again"}); err != nil {
			return r, err
		}
		if r.Full[s], err = b.child(ctx, job{Store: b.current[s], Pass: "full", Full: true}); err != nil {
			return r, err
		}
	}
	return r, nil
}

// dump is the peer: the same people and attributes, by the same way (LDAPS), a thousand a page.
func (b *bench) dump(ctx context.Context) (float64, error) {
	file := filepath.Join(b.folder, "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		return 0, err
	}
	args := []string{"-LLL", "-x", "-H", b.slapd.URL, "-D", ldapserver.DefaultBindDN, "-y", file, "-b", ldapserver.DefaultBaseDN,
		"-E", "pr=1000/noprompt", "(objectClass=inetOrgPerson)"}
	cmd := exec.CommandContext(ctx, "ldapsearch", append(args, dumped...)...)
	cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+b.slapd.CAFile)
	var said strings.Builder
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("ldapsearch: %w: %s", err, said.String())
	}
	return time.Since(began).Seconds(), nil
}

// fresh imports into a new store.
func (b *bench) fresh(ctx context.Context, kind string, full bool) (taken, error) {
	b.stores++
	if kind == "sqlite" {
		b.current[kind] = "sqlite://" + filepath.Join(b.folder, fmt.Sprintf("holdfast%d.db", b.stores))
	} else {
		name := fmt.Sprintf("bench%d", b.stores)
		if err := b.pg.CreateDatabase(ctx, name, ""); err != nil {
			return taken{}, err
		}
		b.current[kind] = b.pg.URL(name)
	}
	return b.child(ctx, job{Store: b.current[kind], Pass: "first", Full: full})
}

// child runs one import in a process of its own.
func (b *bench) child(ctx context.Context, j job) (t taken, err error) {
	j.URL, j.CAFile = b.slapd.URL, b.slapd.CAFile
	text, err := json.Marshal(j)
	if err != nil {
		return t, err
	}
	self, err := os.Executable()
	if err != nil {
		return t, err
	}
	cmd := exec.CommandContext(ctx, self, "--child", string(text))
	cmd.Env = append(os.Environ(), "BENCH_LDAP_PASSWORD="+password)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return t, fmt.Errorf("import %s into %s: %w", j.Pass, j.Store, err)
	}
	return t, json.Unmarshal(out, &t)
}

func (r report) print() {
	median := func(of func(round) float64) float64 {
		var all []float64
		for _, one := range r.Rounds {
			all = append(all, of(one))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	fmt.Printf("%d people; load %s; medians of %d rounds\n\n", r.People, r.Load, len(r.Rounds))
	fmt.Printf("ldapsearch to nowhere: %.2f s\n\n", median(func(o round) float64 { return o.Dump }))
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "import\tread s\tto ldapsearch\tcompare s\tapply s\twhole s\tto ldapsearch\tpeak MB\tabove idle MB\thow")
	row := func(name string, of func(round) taken) {
		last := of(r.Rounds[len(r.Rounds)-1])
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%s\n", name,
			median(func(o round) float64 { return of(o).Read }), median(func(o round) float64 { return of(o).Read / o.Dump }),
			median(func(o round) float64 { return of(o).Compare }), median(func(o round) float64 { return of(o).Apply }),
			median(func(o round) float64 { return of(o).whole() }), median(func(o round) float64 { return of(o).whole() / o.Dump }),
			median(func(o round) float64 { return of(o).Peak }), median(func(o round) float64 { return of(o).Peak - of(o).Idle }), last.How)
	}
	for _, s := range stores {
		row(s+", first", func(o round) taken { return o.First[s] })
		row(s+", unchanged, change feed", func(o round) taken { return o.Again[s] })
		row(s+", unchanged, everybody listed", func(o round) taken { return o.Full[s] })
	}
	for _, s := range stores {
		t := r.Small[s]
		fmt.Fprintf(w, "%s, first of %d\t%.2f\t\t%.2f\t%.2f\t%.2f\t\t%.0f\t%.0f\t%s\n", s, small, t.Read, t.Compare, t.Apply, t.whole(), t.Peak, t.Peak-t.Idle, t.How)
	}
	_ = w.Flush()
}

// load is the machine's load average of the last minutes.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
