//go:build !linux

package kopia

// memoryFolder is empty: the default folder of temporary files is used.
func memoryFolder() string { return "" }
