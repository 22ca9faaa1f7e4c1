package runtimes

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"attune/runtimes/agent"
)

// Warm are the programs that a runtime keeps started. The files lie in the
// runtime's folder and are shown to instances beside the agent.
type Warm struct {
	Parent     string   `yaml:"parent"`      // forks processes, each used once; empty = none
	Stock      string   `yaml:"stock"`       // is started beforehand, each used once; empty = none
	StockArgs  []string `yaml:"stock_args"`  // between the interpreter's args and the file; may use {program}, its path
	StockCount int      `yaml:"stock_count"` // how many started or forked processes wait; 0 = 1
	Worker     string   `yaml:"worker"`      // calls handlers; empty = none
	Vars       []string `yaml:"vars"`        // patterns of process variables that an interpreter reads at its start

	// Files are the contents of all three, by name.
	Files map[string][]byte `yaml:"-"`
}

// maxWarmFile bounds a warm program's file, in bytes.
const maxWarmFile = 1 << 20

// ReadAtStart tells whether one of the variables is read by the interpreter at
// its start, so that a process that was started without it can't serve.
func (w Warm) ReadAtStart(vars map[string]string) bool {
	for name := range vars {
		for _, pattern := range w.Vars {
			if matched, err := path.Match(pattern, name); matched || err != nil {
				return true // in doubt it is
			}
		}
	}
	return false
}

// warm checks the section and reads its files from the runtime's folder; nil is
// a folder without any.
func (c *check) warm(files fs.FS) {
	if !c.doc.Has("warm") {
		return
	}
	w := &c.runtime.Warm
	if name := c.runtime.Name; name == AgentFile || name == commandsDir {
		c.doc.Faultf(at("name"), "a runtime with warm programs can't be called %s: that stands beside the agent already", name)
	}
	if c.runtime.Interpreter.Binary == "" {
		c.doc.Faultf(at("warm"), "warm programs need an interpreter.binary to run them")
	}
	for _, arg := range c.runtime.Interpreter.Args {
		if slices.Contains(variables(arg), VarActionFile) {
			c.doc.Faultf(at("interpreter", "args"), "{action_file} has no value for warm programs, which are started before there is one")
		}
	}
	if w.Parent != "" && w.Stock != "" {
		c.doc.Faultf(at("warm", "stock"), "stock can't be had together with a parent: both start executions")
	}
	if w.Parent+w.Stock+w.Worker == "" {
		c.doc.Faultf(at("warm"), "warm names no program: give a parent, a stock or a worker")
	}
	if w.StockCount < 0 || w.StockCount > agent.MaxStock {
		c.doc.Faultf(at("warm", "stock_count"), "stock_count must be from 1 to %d", agent.MaxStock)
	}
	if w.Stock == "" && len(w.StockArgs) > 0 {
		c.doc.Faultf(at("warm", "stock_args"), "stock_args need a stock")
	}
	if w.Stock+w.Parent == "" && w.StockCount > 0 {
		c.doc.Faultf(at("warm", "stock_count"), "stock_count needs a stock or a parent")
	}
	c.template(at("warm", "stock_args"), w.StockArgs, VarProgram)
	for _, pattern := range w.Vars {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			c.doc.Faultf(at("warm", "vars"), "%.40q is no pattern of variables' names, for example PYTHON*", pattern)
		}
	}
	for _, program := range [][2]string{{"parent", w.Parent}, {"stock", w.Stock}, {"worker", w.Worker}} {
		if program[1] != "" {
			c.warmFile(at("warm", program[0]), program[1], files)
		}
	}
}

// warmFile reads one program.
func (c *check) warmFile(where []string, name string, files fs.FS) {
	if strings.ContainsAny(name, "/\\\x00") || name[0] == '.' {
		c.doc.Faultf(where, "%.40q must be the name of a file in the runtime's folder", name)
		return
	}
	content, err := readBounded(files, name, maxWarmFile)
	if err != nil {
		c.doc.Faultf(where, "%s can't be read from the runtime's folder: it must be a regular file of at most 1 MiB there", name)
		return
	}
	if c.runtime.Warm.Files == nil {
		c.runtime.Warm.Files = map[string][]byte{}
	}
	c.runtime.Warm.Files[name] = content
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(files fs.FS, name string, limit int64) ([]byte, error) {
	if files == nil {
		return nil, fs.ErrNotExist
	}
	info, err := fs.Stat(files, name) // before the opening, which waits for ever in a pipe
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fs.ErrInvalid
	}
	file, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() // only read
	return io.ReadAll(io.LimitReader(file, limit))
}
