package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
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
}

// measure imports everybody into a new store, and then again with nothing changed.
func measure(ctx context.Context, people, every int, plain float64) (results []result, err error) {
	p := &place{}
	if p.peer, err = startPeer(ctx, people, every); err != nil {
		return nil, err
	}
	defer p.peer.close()
	folder, err := os.MkdirTemp("", "holdfast-entrabench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	ca := filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(ca, p.CA, 0o600); err != nil {
		return nil, err
	}
	if p.store, err = sqlstore.Open(ctx, "sqlite://"+filepath.Join(folder, "holdfast.db")); err != nil {
		return nil, err
	}
	defer p.store.Close()
	config := backup.DirectoryConfig{Name: "entra", Kind: backup.Entra, Entra: &backup.EntraConfig{DirectoryTenant: p.TenantID, ClientID: clientID, ClientSecret: "env:SECRET",
		LoginURL: p.LoginURL, GraphURL: p.GraphURL, CAFile: ca}}
	p.tenant = backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{config}}
	if err := p.store.SaveTenant(ctx, p.tenant); err != nil {
		return nil, err
	}
	adapter := entra.New(entra.Options{Secrets: func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(clientSecret), nil }})
	defer adapter.Close()
	if p.dir, err = adapter.OpenDirectory(ctx, p.tenant, config); err != nil {
		return nil, err
	}
	name := "clean"
	if every > 0 {
		name = fmt.Sprintf("every %dth answer a 429", every)
	}
	pages := int64((p.Users + pageSize - 1) / pageSize)
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

// bring is one import by the steps of the import's activities.
func (p *place) bring(ctx context.Context, name string, least int64) (r result, err error) {
	r = result{Case: name, Least: least}
	if _, err = p.calls(); err != nil {
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
	end, err := p.dir.Read(ctx, from, func(page backup.EntryPage) error {
		r.Listed += len(page.Entries) + len(page.Gone)
		return p.store.StagePage(ctx, pass, page)
	})
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
	if _, err = p.calls(); err != nil {
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

// count fills the calls in: a read makes no others than for pages.
func (p *place) count(r *result) (err error) {
	r.Calls, err = p.calls()
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
