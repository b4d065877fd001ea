package vault

import "github.com/holdfast-backup/holdfast/internal/custody"

var _ custody.Holder = (*Transit)(nil)
