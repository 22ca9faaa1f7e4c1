// Command attune-agent is PID 1 of every container that Attune Gateway starts.
// People don't run it; the gateway does. Under the name get_secret it is a
// command for actions.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"attune/runtimes/agent"
	"attune/runtimes/agent/supervisor"
	"attune/runtimes/agent/wire"
)

const usage = `usage:
  attune-agent supervise --socket PATH --scratch DIR   run programs for the gateway that listens at PATH
  attune-agent build                                   carry out the plan in ATTUNE_BUILD_PLAN
  attune-agent version                                 print version and protocol version
`

// version is set by the linker.
var version = "dev"

func init() {
	// The main thread stays with main, which only waits: what the kernel tells
	// about the process, in /proc and for signals, is what its main thread is.
	runtime.LockOSThread()
}

func main() {
	if filepath.Base(os.Args[0]) == agent.SecretCommand {
		os.Exit(getSecret(os.Args[1:], os.Stdout, os.Stderr))
	}
	code := make(chan int)
	go func() { code <- run(os.Args[1:], os.Stdout, os.Stderr) }()
	os.Exit(<-code)
}

func run(args []string, stdout, stderr *os.File) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	// Memory and processors are the container's, and user code wants them.
	debug.SetGCPercent(50)
	runtime.GOMAXPROCS(2)
	switch args[0] {
	case "supervise":
		return supervise(args[1:], stderr)
	case "build":
		return supervisor.Build(os.Environ(), stdout, stderr)
	case "version":
		fmt.Fprintf(stdout, "attune-agent %s protocol %d\n", version, wire.Version)
		return 0
	}
	fmt.Fprint(stderr, usage)
	return 2
}

func supervise(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("attune-agent supervise", flag.ContinueOnError)
	flags.SetOutput(stderr)
	o := supervisor.Options{Log: stderr}
	flags.StringVar(&o.Socket, "socket", "", "`path` of the socket on which the gateway listens")
	flags.StringVar(&o.Scratch, "scratch", "/tmp", "`directory` that programs may write, wiped after each")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if o.Socket == "" || flags.NArg() > 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err := supervisor.Run(o); err != nil {
		fmt.Fprintf(stderr, "attune-agent: %v\n", err)
		return 1
	}
	return 0
}
