// Command demo tells Holdfast's story end to end on a sandbox company, with the real programs: `make demo`.
//
// Every scene checks what it shows. The first thing that is not as promised ends the demo with a non-zero exit code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/demo/stage"
)

// limit bounds the story; it takes a minute.
const limit = 10 * time.Minute

type options struct {
	state, bin, directory, key string
	port                       int
}

func main() {
	var o options
	flag.StringVar(&o.state, "state", "build/demo", "folder of everything the demo keeps")
	flag.StringVar(&o.bin, "bin", "build/bin", "folder of the built programs")
	flag.StringVar(&o.directory, "directory", "sandbox", "sandbox, or openldap for a real slapd")
	flag.StringVar(&o.key, "key", "connector", "who keeps the key: connector, or kms for a real Vault (OpenBao)")
	flag.IntVar(&o.port, "port", stage.DefaultBasePort, "the demo listens on the ports behind this one (0: any free ones)")
	flag.Parse()
	// A closed terminal ends the demo like Ctrl-C, so that none of its processes stays behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, o)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Println("\nStopped.")
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n  next: look into %s/logs\n", err, o.state)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.directory != "sandbox" && o.directory != "openldap" {
		return fmt.Errorf("there is no directory %q; use sandbox or openldap", o.directory)
	}
	if o.key != "connector" && o.key != "kms" {
		return fmt.Errorf("there is no way to keep the key named %q; use connector or kms", o.key)
	}
	story, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	for _, scene := range []func(context.Context) error{
		s.startHoldfast, s.apply, s.waitForKey, s.bringKey, s.people, s.firstBackup, s.secondBackup, s.restore, s.receipts, s.scan,
	} {
		if err := scene(story); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
	s.conclude()
	if !term.IsTerminal(int(os.Stdout.Fd())) {
		return nil
	}
	fmt.Println("\nEverything keeps running. Ctrl-C ends it.")
	select {
	case <-ctx.Done():
		return nil
	case <-s.dev.Exited():
		return errors.New("holdfastd dev ended by itself")
	}
}
