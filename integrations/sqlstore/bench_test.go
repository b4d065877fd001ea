package sqlstore

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// BenchmarkImport stages, compares and applies 100,000 entries: the first time, and again when a hundredth of them changed.
// It reports the process's peak memory, which must not grow with the directory.
func BenchmarkImport(b *testing.B) {
	const all, page = 100_000, 500
	for b.Loop() {
		clock := time.Now()
		lap := func(what string) { b.Logf("%s: %v", what, time.Since(clock)); clock = time.Now() }
		i := newImporter(b, newStore(b))
		i.stage()
		for n := 0; n < all; n += page {
			i.page(backup.EntryPage{Entries: crowd(n, page)})
		}
		lap("stage")
		if c := i.compare(); c.Added != all {
			b.Fatalf("counts are %+v", c)
		}
		lap("compare")
		i.applyCompared()
		lap("compare again and apply")

		i.stage()
		for n := 0; n < all; n += page {
			entries := crowd(n, page)
			for k := range entries {
				if k%100 == 0 {
					entries[k].Department = "Sales"
				}
			}
			i.page(backup.EntryPage{Entries: entries})
		}
		lap("stage again")
		if c, want := i.compare(), (backup.ImportCounts{Listed: all, Changed: all / 100, Unchanged: all - all/100, Disabled: all / 25, KnownActive: all - all/25}); c != want {
			b.Fatalf("counts are %+v, want %+v", c, want)
		}
		lap("compare")
		i.applyCompared()
		lap("compare again and apply")
		three := crowd(0, 3)
		for k := range three {
			three[k].Department = "Marketing"
		}
		i.begin()
		lap("begin")
		i.page(backup.EntryPage{Entries: three})
		i.end(backup.ChangesRead)
		d := i.difference()
		lap("compare 3 changes")
		i.applyCompared()
		lap("apply 3 changes")
		if d.Counts.Changed != 3 {
			b.Fatalf("counts are %+v", d.Counts)
		}
	}
	b.ReportMetric(peakMemory(b), "MiB-peak")
}

// peakMemory is VmHWM of proc_pid_status(5) in MiB.
func peakMemory(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	must(b, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseFloat(kib, 64)
	must(b, err)
	return n / 1024
}
