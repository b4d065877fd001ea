//go:build !unix

package kopia

import "context"

// lockFolder does nothing: workers run on Unix, and elsewhere one process at a time makes repositories.
func lockFolder(context.Context, string) (func(), error) { return func() {}, nil }

func shareFolder(context.Context, string) (func(), error) { return func() {}, nil }
