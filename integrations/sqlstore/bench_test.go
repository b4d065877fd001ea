package sqlstore

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// BenchmarkImport stages, compares and applies 100,000 entries: the first time, and again when a hundredth of them changed.
// It reports the process's peak memory, which must not grow with the directory.
func BenchmarkImport(b *testing.B) {
	const all, page = 100_000, 500
	for b.Loop() {
		i := newImporter(b, newStore(b))
		i.stage()
		for n := 0; n < all; n += page {
			must(b, i.store.stagePage(b.Context(), acme, i.dir, i.name(), crowd(n, page)))
		}
		if c := i.compare(); c.Added != all {
			b.Fatalf("counts are %+v", c)
		}
		i.apply()

		i.stage()
		for n := 0; n < all; n += page {
			entries := crowd(n, page)
			for k := range entries {
				if k%100 == 0 {
					entries[k].Department = "Sales"
				}
			}
			must(b, i.store.stagePage(b.Context(), acme, i.dir, i.name(), entries))
		}
		if c, want := i.compare(), (backup.ImportCounts{Listed: all, Changed: all / 100, Unchanged: all - all/100, Disabled: all / 25, KnownActive: all - all/25}); c != want {
			b.Fatalf("counts are %+v, want %+v", c, want)
		}
		i.apply()
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
