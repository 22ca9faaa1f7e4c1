package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/alecthomas/kong"
)

// Exit codes of the program.
const (
	exitOK      = 0
	exitFailed  = 1 // what was asked for was done, and the answer is no: an action failed, a check found something
	exitUsage   = 2 // bad arguments, configuration or parameters
	exitGateway = 3 // the gateway, its engine or its state did not do its part
)

// program is the world as a command sees it. Tests run the whole command line
// in-process with another one.
type program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string
	StdoutTerminal bool
	StderrWidth    func() int // columns of the terminal behind Stderr; nil = it is none
	// Password reads a line from the terminal behind Stdin without showing it;
	// nil = Stdin is none.
	Password func() ([]byte, error)
	// Probes returns the checks of doctor that need the other packages. Nil =
	// they are left out.
	Probes func(Config) Probes
}

// commandLine is the grammar of the program; each command lives in its own file.
type commandLine struct {
	Serve      ServeCmd      `cmd:"" help:"Run the gateway."`
	Invoke     InvokeCmd     `cmd:"" help:"Call an action and print its result."`
	Pack       PackCmd       `cmd:"" help:"Look at packs, and register them."`
	Env        EnvCmd        `cmd:"" help:"Look at the environments of packs, build them, and go back."`
	Secret     SecretCmd     `cmd:"" help:"Store the secrets of packs."`
	Hook       HookCmd       `cmd:"" help:"Look at the hooks that webhooks call, try them, and replay deliveries."`
	Key        KeyCmd        `cmd:"" help:"Make, list and revoke API keys."`
	Schedule   ScheduleCmd   `cmd:"" help:"Run actions at certain times."`
	Execution  ExecutionCmd  `cmd:"" help:"Look at executions while they run and afterwards, and cancel them."`
	Dead       DeadCmd       `cmd:"" help:"Look at asynchronous executions that failed for good, and try them again."`
	Config     ConfigCmd     `cmd:"" help:"Check and show the configuration."`
	Doctor     DoctorCmd     `cmd:"" help:"Check everything that the gateway needs, and say what to do."`
	Health     HealthCmd     `cmd:"" help:"Ask whether the gateway is ready (exit code 0 or 1)."`
	Version    VersionCmd    `cmd:"" help:"Print the version."`
	Completion CompletionCmd `cmd:"" help:"Print the completion script of a shell."`
}

// ServeCmd runs the gateway.
type ServeCmd struct {
	configFlag
	Host     string `help:"Address to listen on, over server.host." placeholder:"ADDRESS"`
	Port     *int   `help:"Port to listen on, over server.port; 0 = any free one." placeholder:"PORT"`
	Insecure bool   `help:"Allow an address that other machines can reach, without API keys."`
	Profile  string `hidden:"" type:"path" help:"Directory for what a profiler sees from start to stop: cpu.pprof, heap.pprof." placeholder:"DIR"`
}

// configFlag names the configuration file of a command.
type configFlag struct {
	Config string `short:"c" help:"Configuration file (default: what ATTUNE_CONFIG names)." placeholder:"FILE"`
}

// load reads the configuration of a command; faults are usage errors.
func (f configFlag) load(p *program, flags ...flagValue) (Config, error) {
	config, err := loadConfig(f.Config, p.Environ, flags)
	if err != nil {
		return config, exitError{exitUsage, err}
	}
	return config, nil
}

// load reads the configuration with the command's own flags on top, and refuses
// to listen where other machines can reach a gateway without keys.
func (c *ServeCmd) load(ctx context.Context, p *program) (Config, error) {
	var flags []flagValue
	if c.Host != "" {
		flags = append(flags, flagValue{"--host", "server.host", c.Host})
	}
	if c.Port != nil {
		flags = append(flags, flagValue{"--port", "server.port", strconv.Itoa(*c.Port)})
	}
	config, err := c.configFlag.load(p, flags...)
	if err != nil || c.Insecure {
		return config, err
	}
	if host := config.Admin.Host; config.Admin.Port != 0 && !isLoopback(host) {
		return config, exitError{exitUsage, Fault{
			Key: "admin.host", Origin: config.Origin("admin.host"),
			Reason: host + " can be reached from other machines, and the administrative listener asks for no key: listen on 127.0.0.1, or allow it with --insecure",
		}}
	}
	if config.Server.RequireKeys || !config.exposed() {
		return config, nil
	}
	config.Server.RequireKeys = true // also when the last one is revoked
	return config, config.checkExposure(ctx)
}

// exitError is an error with an exit code of its own. A nil err says that the
// command has told its user already.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the error behind the exit code.
func (e exitError) Unwrap() error { return e.err }

// exited is what the parser's wish to end the program is turned into.
type exited int

// run parses the arguments, runs the command and returns the exit code.
func (p *program) run(ctx context.Context, args []string) (code int) {
	defer func() {
		if wish := recover(); wish != nil {
			asked, ok := wish.(exited)
			if !ok {
				panic(wish)
			}
			code = int(asked)
		}
	}()
	parser, err := p.parser(ctx)
	if err != nil {
		return p.report(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return p.report(exitError{exitUsage, fmt.Errorf("%w; see attune --help", err)})
	}
	return p.report(parsed.Run())
}

func (p *program) parser(ctx context.Context) (*kong.Kong, error) {
	return kong.New(&commandLine{},
		kong.Name("attune"),
		kong.Description("A gateway for functions: plain scripts in packs, called over HTTP, run in hardened containers."),
		kong.Writers(p.Stdout, p.Stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(p),
	)
}

// report tells the user about an error and returns the exit code it stands for.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	var no refused
	if errors.As(err, &no) {
		no.problem.print(p.Stderr)
		return no.problem.exitCode()
	}
	code := exitFailed
	var exit exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	fmt.Fprintln(p.Stderr, "attune: "+err.Error())
	return code
}
