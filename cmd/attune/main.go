// Command attune is the gateway and its command line: this package alone reads
// flags and process variables, and wires the other packages together.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	p := &program{
		Stdin:          os.Stdin,
		Stdout:         os.Stdout,
		Stderr:         os.Stderr,
		Environ:        os.Environ(),
		StdoutTerminal: isatty.IsTerminal(os.Stdout.Fd()),
		Probes:         newProbes(os.Environ()),
	}
	if isatty.IsTerminal(os.Stderr.Fd()) {
		p.StderrWidth = terminalWidth(os.Stderr)
	}
	if stdin := int(os.Stdin.Fd()); term.IsTerminal(stdin) {
		p.Password = func() ([]byte, error) { return term.ReadPassword(stdin) }
	}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
