// Command bench measures the gateway against baselines that are taken in the
// same run, and prints the table that its README shows.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// section is one table of the report.
type section struct {
	name string // in -only, and of the markers in README.md
	run  func(context.Context, *bench) ([]row, error)
}

var sections = []section{
	{"builds", measureBuilds},
	{"ready", measureReady},
	{"burst", measureBurst},
	{"startup", measureStartup},
	{"executions", measureExecutions},
	{"cold", measureCold},
	{"memory", measureMemory},
	{"queue", measureQueue},
}

// readme shows the tables. Like bin it is seen from the top of the work tree.
const readme = "tests/bench/README.md"

// bench is how the measurements are to be made.
type bench struct {
	bin      string         // directory of the programs
	n        int            // repetitions
	packs    int            // of the start-up
	calls    int            // at the same time
	profile  string         // directory for profiles of the gateways; empty = none
	profiles int            // directories that are in it
	rows     *regexp.Regexp // of the executions that are measured; nil = all
	verbose  bool
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == tracedArg {
		exit(traced(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 2 && os.Args[1] == echoArg {
		exit(echo())
	}
	var b bench
	only := flag.String("only", "", "sections to run, separated by commas (default: all)")
	update := flag.Bool("update", false, "write the tables into "+readme+" as well")
	flag.StringVar(&b.bin, "bin", "bin", "directory of the built programs")
	flag.IntVar(&b.n, "n", 5, "repetitions of each measurement")
	flag.IntVar(&b.packs, "packs", 1000, "packs at start-up")
	flag.IntVar(&b.calls, "calls", 100, "first calls at the same time")
	flag.StringVar(&b.profile, "profile", "", "`directory` for profiles of the gateways")
	flag.Func("rows", "measure only the executions that match a `regexp`", func(text string) (err error) {
		b.rows, err = regexp.Compile(text)
		return err
	})
	flag.BoolVar(&b.verbose, "v", false, "print each single measurement")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(b.report(ctx, *only, *update))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// report runs the chosen sections and prints each table as soon as it is there.
func (b *bench) report(ctx context.Context, only string, update bool) error {
	var err error
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.bin, "attune")); err != nil {
		return fmt.Errorf("%w: make build", err)
	}
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("%s, %d repetitions.", machine(ctx), b.n)
	fmt.Println(head)
	for _, s := range chosen {
		start := time.Now()
		rows, err := s.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		table := markdown(rows)
		fmt.Printf("\n## %s (measured in %s)\n\n%s", s.name, time.Since(start).Round(time.Second), table)
		if !update {
			continue
		}
		if err := replaceBetween(readme, s.name, head+"\n\n"+table); err != nil {
			return err
		}
	}
	return nil
}

func choose(only string) ([]section, error) {
	if only == "" {
		return sections, nil
	}
	var chosen []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(sections, func(s section) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no section %q", name)
		}
		chosen = append(chosen, sections[i])
	}
	return chosen, nil
}

// say prints a single measurement where they are wanted.
func (b *bench) say(format string, args ...any) {
	if b.verbose {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}
