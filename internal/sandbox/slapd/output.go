package slapd

import (
	"slices"
	"sync"
)

// limitedBuffer keeps the last 4 KiB of what a program says.
type limitedBuffer struct {
	mu   sync.Mutex
	data []byte
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	const most = 4 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	b.data = slices.Delete(b.data, 0, max(0, len(b.data)-most))
	return len(p), nil
}

func (b *limitedBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.data)
}

func (b *limitedBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = nil
}
