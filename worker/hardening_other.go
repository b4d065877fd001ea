//go:build !linux

package main

// keepMemoryPrivate does nothing here: only Linux lets a process ask for it.
func keepMemoryPrivate() error { return nil }

func lockMemory() string { return "not locked: this system is not Linux" }
