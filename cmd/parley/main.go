// Command parley is the server and every operator verb. It only wires: what a verb does lives in the packages it
// calls.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(Main())
}

// Main runs the command line of this process and returns its exit code.
func Main() int {
	// The first signal asks for a clean stop. The channel stays registered until the process ends, so a second
	// one is swallowed and does no harm.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), open: openNode}
	return a.run(ctx, os.Args[1:])
}
