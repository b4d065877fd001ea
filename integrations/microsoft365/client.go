package microsoft365

import (
	"time"

	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// client is a Graph client that also fetches contents.
type client struct {
	*msgraph.Client
	endpoints endpoints
	idle      time.Duration // how long a content may be silent
}

// counting is the same client with its own counter.
func (c *client) counting() *client {
	own := *c
	own.Client = c.Client.Counting()
	return &own
}
