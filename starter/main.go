// Program holdfast is the administrator's command line: it starts workflows, answers what waits for a person, and shows what the
// gateway knows. It holds no state and decides nothing; what it says is in output.go, how it ends in exitcodes.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newProgram(), os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command and returns the exit code.
func run(ctx context.Context, p *program, args []string) int {
	root := newRoot(p)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !p.parsed {
		err = &usageError{err}
	}
	return p.report(err)
}
