package activities

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// SCIMTokens keeps the hashes of the tokens by which identity providers push.
type SCIMTokens interface {
	// AddSCIMToken makes a token good; again is the same as once. CodeConflict: another one has the label. CodeNotAllowed: the directory has
	// backup.MaxSCIMTokens already.
	AddSCIMToken(ctx context.Context, t backup.SCIMToken) error
	// RevokeSCIMToken makes a token useless at once; again is the same as once. CodeNotFound when there never was one of the label.
	RevokeSCIMToken(ctx context.Context, scope backup.SCIMScope, label string, at time.Time) error
}
