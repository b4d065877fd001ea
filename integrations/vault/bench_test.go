package vault

import (
	"strconv"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Releases per second by so many clients at a time, server and clients on the same machine.
func BenchmarkRelease(b *testing.B) {
	r := newRig(b)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(b, v, tenant, 1)
	for _, clients := range []int{1, 8} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			work := make(chan struct{})
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					for range work {
						got, err := v.Release(b.Context(), tenant, k, backup.KeyUse{})
						if err != nil {
							b.Error(err)
						}
						clear(got.EKey)
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "releases/s")
		})
	}
}
