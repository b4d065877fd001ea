package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/entra"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// place is a sandbox, a store and an adapter.
type place struct {
	*peer
	store  *sqlstore.Store
	dir    *entra.Directory
	tenant backup.Tenant
	// grouped: all requests count, not those for pages of users alone.
	grouped bool
}

// openPlace makes a sandbox, a new store and an adapter. edit may change how the directory is described.
func openPlace(ctx context.Context, people, every, grouped int, edit func(*place, *backup.EntraConfig)) (p *place, end func(), err error) {
	p = &place{}
	var ends []func()
	end = func() {
		for _, f := range slices.Backward(ends) {
			f()
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	if p.peer, err = startPeer(ctx, people, every, grouped); err != nil {
		return nil, nil, err
	}
	ends = append(ends, p.peer.close)
	folder, err := os.MkdirTemp("", "holdfast-entrabench-")
	if err != nil {
		return nil, nil, err
	}
	ends = append(ends, func() { os.RemoveAll(folder) })
	ca := filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(ca, p.CA, 0o600); err != nil {
		return nil, nil, err
	}
	if p.store, err = sqlstore.Open(ctx, "sqlite://"+filepath.Join(folder, "holdfast.db")); err != nil {
		return nil, nil, err
	}
	ends = append(ends, func() { p.store.Close() })
	config := backup.DirectoryConfig{Name: "entra", Kind: backup.Entra, Entra: &backup.EntraConfig{DirectoryTenant: p.TenantID, ClientID: clientID, ClientSecret: "env:SECRET",
		LoginURL: p.LoginURL, GraphURL: p.GraphURL, CAFile: ca}}
	edit(p, config.Entra)
	p.tenant = backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{config}}
	if err := p.store.SaveTenant(ctx, p.tenant); err != nil {
		return nil, nil, err
	}
	adapter := entra.New(entra.Options{Secrets: func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(clientSecret), nil }})
	ends = append(ends, func() { adapter.Close() })
	p.dir, err = adapter.OpenDirectory(ctx, p.tenant, config)
	return p, end, err
}

// measure imports everybody into a new store, and then again with nothing changed.
func measure(ctx context.Context, people, every int, plain float64) ([]result, error) {
	p, end, err := openPlace(ctx, people, every, 0, func(*place, *backup.EntraConfig) {})
	if err != nil {
		return nil, err
	}
	defer end()
	name := "clean"
	if every > 0 {
		name = fmt.Sprintf("every %dth answer a 429", every)
	}
	pages := pagesOf(p.Users)
	alone, err := p.readAlone(ctx, name+", read and thrown away", pages)
	if err != nil {
		return nil, err
	}
	first, err := p.bring(ctx, name+", first", pages)
	if err == nil && first.Added != p.Users {
		err = fmt.Errorf("%d of %d people arrived", first.Added, p.Users)
	}
	if err != nil {
		return nil, err
	}
	again, err := p.bring(ctx, name+", unchanged", 1)
	if err == nil && again.Listed != 0 {
		err = fmt.Errorf("nothing changed, and %d people were listed", again.Listed)
	}
	alone.Plain, first.Plain = plain, plain
	return []result{alone, first, again}, err
}

// measureGroup imports those in a group, who are half of all, and then what changed in it. It fails when a call more is made than is needed.
func measureGroup(ctx context.Context, people int) (results []result, err error) {
	half := people / 2
	p, end, err := openPlace(ctx, people, 0, half, func(p *place, c *backup.EntraConfig) { c.Groups = []string{p.Group} })
	if err != nil {
		return nil, err
	}
	defer end()
	p.grouped = true
	// The outer group, the inner one with its members, and everybody.
	listing := 1 + pagesOf(1+half) + pagesOf(p.Users)
	for _, c := range []movement{{"first", 0, p.Users, listing}, {"unchanged", 0, 0, unchangedCalls}, moving(1), moving(20), moving(people / 500)} {
		if _, err := p.ask(c.moved); err != nil {
			return nil, err
		}
		r, err := p.bring(ctx, "half in a group, "+c.name, c.least)
		if err != nil {
			return nil, err
		}
		if r.Listed != c.listed || r.Calls != c.least {
			return nil, fmt.Errorf("%s: %d people were told of in %d calls; want %d in %d", c.name, r.Listed, r.Calls, c.listed, c.least)
		}
		results = append(results, r)
	}
	return results, nil
}

// unchangedCalls are for the feeds of the outer group, of the inner one and of users.
const unchangedCalls = 3

// movement is an import behind a change of the group, whom it tells of, and in how many calls.
type movement struct {
	name          string
	moved, listed int
	least         int64
}

// moving is the one behind so many who left and joined: those who left are asked for, those who joined fetched, in batches of twenty.
func moving(n int) movement {
	return movement{fmt.Sprintf("%d left and %d joined", n, n), n, 2 * n, unchangedCalls + 2*int64((n+19)/20)}
}

// pagesOf is how many pages so many are.
func pagesOf(n int) int64 { return int64((n + pageSize - 1) / pageSize) }

// bring is one import by the steps of the import's activities.
func (p *place) bring(ctx context.Context, name string, least int64) (r result, err error) {
	r = result{Case: name, Least: least}
	if _, err = p.ask(0); err != nil {
		return r, err
	}
	if r.IdleMB, err = resetPeak(); err != nil {
		return r, err
	}
	began, cpu := time.Now(), processorSeconds()
	pass := backup.Pass{Tenant: p.tenant.ID, Directory: "entra", ID: name}
	from, err := p.store.BeginPass(ctx, pass, backup.ImportStart{})
	if err != nil {
		return r, err
	}
	staging := p.store.Stage(ctx, pass)
	end, err := p.dir.Read(ctx, from, func(page backup.EntryPage) error {
		r.Listed += len(page.Entries) + len(page.Gone)
		return staging.Page(page)
	})
	if kept := staging.Close(); err == nil {
		err = kept
	}
	if err == nil {
		err = p.store.EndRead(ctx, pass, end)
	}
	if err != nil {
		return r, err
	}
	read := time.Now()
	if r.ReadMB, err = memoryMB("VmHWM"); err != nil {
		return r, err
	}
	d, err := p.store.ComparePass(ctx, p.tenant, pass)
	if err != nil {
		return r, err
	}
	compared := time.Now()
	if _, err = p.store.ApplyPass(ctx, p.tenant, pass, d.Digest, "", time.Now()); err != nil {
		return r, err
	}
	r.Added, r.Wall, r.CPU = d.Counts.Added, time.Since(began).Seconds(), processorSeconds()-cpu
	r.Read, r.Compare, r.Apply = read.Sub(began).Seconds(), compared.Sub(read).Seconds(), time.Since(compared).Seconds()
	if r.PeakMB, err = memoryMB("VmHWM"); err != nil {
		return r, err
	}
	return r, p.count(&r)
}

// readAlone reads everybody into nothing: what the adapter takes without the store.
func (p *place) readAlone(ctx context.Context, name string, least int64) (r result, err error) {
	r = result{Case: name, Least: least}
	if _, err = p.ask(0); err != nil {
		return r, err
	}
	if r.IdleMB, err = resetPeak(); err != nil {
		return r, err
	}
	began, cpu := time.Now(), processorSeconds()
	if _, err = p.dir.Read(ctx, backup.ReadFrom{}, func(page backup.EntryPage) error {
		r.Listed += len(page.Entries)
		return nil
	}); err != nil {
		return r, err
	}
	r.Read, r.CPU = time.Since(began).Seconds(), processorSeconds()-cpu
	r.Wall = r.Read
	if r.ReadMB, err = memoryMB("VmHWM"); err != nil {
		return r, err
	}
	r.PeakMB = r.ReadMB
	return r, p.count(&r)
}

// count fills the calls in: without a group a read makes no others than for pages.
func (p *place) count(r *result) error {
	c, err := p.ask(0)
	if r.Calls = c.Pages; p.grouped {
		r.Calls = c.All - c.Inner
	}
	r.Throttled = r.Calls - r.Least
	r.Asked = float64(r.Throttled * retryAfter)
	return err
}

// resetPeak lets the peak of memory begin anew (proc_pid_clear_refs(5), 5) and gives what is used now.
func resetPeak() (float64, error) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return 0, err
	}
	return memoryMB("VmRSS")
}

// memoryMB is a line of proc_pid_status(5).
func memoryMB(line string) (float64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), line+":")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseFloat(kib, 64)
	return n / 1024, err
}

func processorSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
