package kopia_test

import (
	"bytes"
	"io"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// TestTwentyThousandItems writes a mailbox that splits twice, changes a few items of it and reads everything back. It logs what that
// cost; the limits are far above, and there to notice when an incremental begins to cost as much as a first backup.
func TestTwentyThousandItems(t *testing.T) {
	const items = 20_000
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	wall, processor := cost(func() { f.putAtOnce(w, items) })
	committing, _ := cost(func() { f.commit(w) })
	t.Logf("first: %d items in %v (%v of processor), commit %v, heap %d MB", items, wall, processor, committing, heap())
	base := f.latest(r)
	first := len(f.blobs())

	w = f.write(r, base)
	want := numbers(0, items, 1)
	wall, processor = cost(func() {
		for i := 0; i < 20; i++ {
			f.putOne(w, i*1000, 2)
			want[i*1000] = 2
		}
		base = f.commit(w)
	})
	t.Logf("20 changes: %v (%v of processor), %d new blobs", wall, processor, len(f.blobs())-first)
	if w.Level() != 2 {
		t.Errorf("level %d", w.Level())
	}
	unchanged := f.write(r, base)
	wall, processor = cost(func() {
		for i := range items {
			if found, known, err := unchanged.Lookup(t.Context(), id(i)); err != nil || !known || found.Version == "" {
				t.Fatalf("item %d: %v, %v", i, known, err)
			}
		}
		base = f.commit(unchanged)
	})
	t.Logf("all looked up, nothing changed: %v (%v of processor)", wall, processor)
	wall, processor = cost(func() { f.check(r, base, want) })
	t.Logf("read back and compared: %v (%v of processor), heap %d MB", wall, processor, heap())
}

// putAtOnce puts items from four goroutines.
func (f *fixture) putAtOnce(w *kopia.Writer, items int) {
	f.Helper()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := g; i < items; i += 4 {
				if _, err := w.Put(f.Context(), item(i, 1), bytes.NewReader(body(i, 1))); err != nil {
					f.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func cost(do func()) (wall, processor time.Duration) {
	start, before := time.Now(), used()
	do()
	return time.Since(start).Round(time.Millisecond), (used() - before).Round(time.Millisecond)
}

func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc >> 20
}

// BenchmarkLatest asks for the newest snapshot of one of many accounts, as every part of a run does.
func BenchmarkLatest(b *testing.B) {
	f := &fixture{T: new(testing.T), root: b.TempDir()}
	f.Options = kopia.Options{Root: f.root}
	ctx := b.Context()
	repositories := kopia.New(f.Options)
	if _, err := repositories.EnsureRepository(ctx, tenant, password); err != nil {
		b.Fatal(err)
	}
	r, err := repositories.OpenRepository(ctx, tenant, password)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(ctx)
	const accounts = 2000
	start := time.Now()
	for i := range accounts {
		w, err := r.Write(ctx, nil)
		if err != nil {
			b.Fatal(err)
		}
		s := state("run")
		s.Account = id(i)
		if _, err := w.Commit(ctx, s); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("%d commits in %v", accounts, time.Since(start))
	b.ResetTimer()
	for i := range b.N {
		// A commit of another account in between, as in a run.
		b.StopTimer()
		w, _ := r.Write(ctx, nil)
		s := state("run")
		s.Account = id(i % accounts)
		if _, err := w.Commit(ctx, s); err != nil {
			b.Fatal(err)
		}
		w.Close(ctx)
		b.StartTimer()
		info, err := r.Latest(ctx, id((i*7+1)%accounts), backup.Microsoft365, backup.Mail)
		if err != nil || info == nil {
			b.Fatal(info, err)
		}
	}
}

// TestLargeContentPassesThrough puts and reads 256 MB and watches the memory meanwhile.
func TestLargeContentPassesThrough(t *testing.T) {
	const size, limit = 256 << 20, 96
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	before, most := heap(), uint64(0)
	watch := func(n int64) {
		if n%(32<<20) == 0 {
			most = max(most, heap())
		}
	}
	left := int64(size)
	n, err := w.Put(t.Context(), item(1, 1), readerFunc(func(p []byte) (int, error) {
		watch(left)
		if left == 0 {
			return 0, io.EOF
		}
		n := min(int64(len(p)), left)
		clear(p[:n])
		p[0] = byte(left >> 18) // so that not all parts are the same
		left -= n
		return int(n), nil
	}))
	if err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	reader, err := r.Read(t.Context(), f.commit(w))
	f.must(err)
	content, err := reader.Open(t.Context(), id(1))
	f.must(err)
	defer content.Close()
	read := int64(0)
	for buffer := make([]byte, 1<<20); err == nil; {
		var got int
		got, err = io.ReadFull(content, buffer)
		read += int64(got)
		watch(read)
	}
	if err != io.EOF || read != size {
		t.Errorf("read %d bytes, %v", read, err)
	}
	t.Logf("heap %d MB before, at most %d MB", before, most)
	if most > before+limit {
		t.Errorf("%d MB of memory for one content", most-before)
	}
}
