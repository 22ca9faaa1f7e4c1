package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

type goPackage struct {
	ImportPath, Dir, Doc string
	Imports, GoFiles     []string
}

func goPackages(t *testing.T) []goPackage {
	t.Helper()
	// -e: also what can't be built is looked at; a forbidden import is often a cycle.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = ".."
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.String())
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestImportTable is the README's "arrows go one way", and who alone imports
// what.
func TestImportTable(t *testing.T) {
	only := map[string]string{
		"github.com/gofiber/":       "attune/gateway/api",
		"github.com/docker/docker/": "attune/runtimes/container/docker",
		"github.com/redis/":         "attune/gateway/redis",
		"github.com/go-redis/":      "attune/gateway/redis",
		"modernc.org/sqlite":        "attune/gateway/sqlite",
		"go.yaml.in/":               "attune/runtimes/strictyaml",
		"github.com/robfig/":        "attune/gateway/calendar",

		"github.com/modelcontextprotocol/": "attune/gateway/mcp",
		"go.opentelemetry.io/otel":         "attune/gateway/trace",

		"github.com/prometheus/": "attune/gateway/metrics",
	}
	measures := map[string]bool{"attune/tests/bench github.com/gofiber/": true} // itself, as a baseline
	// A package may import from its own layer and those to the right.
	layers := []string{"attune/cmd/", "attune/gateway/", "attune/envcache", "attune/runtimes"}
	layer := func(path string) int {
		for i, prefix := range layers {
			if strings.HasPrefix(path+"/", strings.TrimSuffix(prefix, "/")+"/") {
				return i
			}
		}
		return -1
	}
	standardOnly := regexp.MustCompile(`^attune/(cmd/attune-agent|runtimes/agent(/.*)?)$`)
	testCode := regexp.MustCompile(`test$`) // containertest, leasetest, …
	for _, p := range goPackages(t) {
		for _, imported := range p.Imports {
			for prefix, owner := range only {
				if strings.HasPrefix(imported, prefix) && p.ImportPath != owner && !measures[p.ImportPath+" "+prefix] {
					t.Errorf("%s imports %s, which is for %s alone", p.ImportPath, imported, owner)
				}
			}
			if standardOnly.MatchString(p.ImportPath) && strings.Contains(imported, ".") {
				t.Errorf("%s imports %s: the agent is standard library only", p.ImportPath, imported)
			}
			from, to := layer(p.ImportPath), layer(imported)
			if to >= 0 && from >= 0 && to < from && !testCode.MatchString(p.ImportPath) {
				t.Errorf("%s imports %s against the arrows", p.ImportPath, imported)
			}
			if strings.HasPrefix(imported, "attune/cmd/") && p.ImportPath != imported && !strings.HasPrefix(p.ImportPath, "attune/cmd/") {
				t.Errorf("%s imports a program, %s", p.ImportPath, imported)
			}
			if standardOnly.MatchString(p.ImportPath) && strings.HasPrefix(imported, "attune/") && !standardOnly.MatchString(imported) {
				t.Errorf("%s imports %s: the agent stands alone", p.ImportPath, imported)
			}
		}
	}
}

func TestPackagesAreDocumentedAndSmall(t *testing.T) {
	for _, p := range goPackages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no doc sentence", p.ImportPath)
		}
		for _, name := range p.GoFiles {
			content, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if lines := bytes.Count(content, []byte("\n")); lines > 400 {
				t.Errorf("%s/%s has %d lines: which second noun has moved in?", p.ImportPath, name, lines)
			}
		}
	}
}

// TestFasthttpVersion: Fiber 2.52 asks for 1.51, which lets smuggled requests
// through; from 1.62 on Fiber's own tests fail. gateway/api refuses what 1.59
// still lets through, and its raw-socket tests know that version's answers.
func TestFasthttpVersion(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/valyala/fasthttp").Output()
	if err != nil || strings.TrimSpace(string(out)) != "v1.59.0" {
		t.Errorf("fasthttp is %s (%v), want v1.59.0", out, err)
	}
}

var (
	layoutLine = regexp.MustCompile(`^( *)([\w./-]+(?:  ?[\w./-]+)*?)(?:  +\S.*)?$`)
	link       = regexp.MustCompile(`\]\(([^)#:]+)\)`)
	mention    = regexp.MustCompile("`((?:cmd|docs|gateway|runtimes|envcache|images|packs|scripts|tests)/[\\w./-]+)`")
)

// TestDocumentsNameWhatExists keeps README and CONTRIBUTING honest.
func TestDocumentsNameWhatExists(t *testing.T) {
	for _, document := range []string{"README.md", "CONTRIBUTING.md", "docs/handlers.md", "docs/calls.md", "docs/hooks.md", "docs/mcp.md", "docs/operations.md", "docs/openapi.md"} {
		content, err := os.ReadFile(filepath.Join("..", document))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllSubmatch(content, -1) {
			exists(t, document, filepath.Join(filepath.Dir(document), string(match[1])))
		}
		for _, match := range mention.FindAllSubmatch(content, -1) {
			exists(t, document, string(match[1]))
		}
	}
	for _, path := range layout(t) {
		exists(t, "README.md's layout", path)
	}
}

func exists(t *testing.T, who, path string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("..", path)); err != nil {
		t.Errorf("%s names %s, which does not exist", who, path)
	}
}

// layout reads the paths of README's layout block.
func layout(t *testing.T) []string {
	t.Helper()
	file, err := os.Open("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var paths []string
	parent, inside := "", false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "## "):
			inside = line == "## Layout"
		case inside && line != "" && line != "```" && (line[0] == ' ' || !strings.Contains(line, ": a test")):
			match := layoutLine.FindStringSubmatch(line)
			if match == nil || strings.HasPrefix(line, "Arrows") {
				continue
			}
			for _, name := range strings.Fields(match[2]) {
				if match[1] == "" {
					parent = name
					paths = append(paths, name)
				} else {
					paths = append(paths, filepath.Join(parent, name))
				}
			}
		}
	}
	if len(paths) < 15 {
		t.Errorf("only %d paths in README's layout: %v", len(paths), paths)
	}
	return paths
}

// TestTrackedFilesNameNobodysMachine: a clone speaks of no developer's home, no
// company's mirror, and no registry that only its author reaches.
func TestTrackedFilesNameNobodysMachine(t *testing.T) {
	list := exec.Command("git", "ls-files", "-z")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Skip("no git work tree, so there is no list of tracked files:", err)
	}
	foreign := machineWords(t)
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join("..", name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, not yet committed
		} else if err != nil {
			t.Fatal(err)
		}
		for _, word := range foreign {
			if bytes.Contains(content, []byte(word)) {
				t.Errorf("%s names %q, which is of this machine alone", name, word)
			}
		}
		if found := developerPath.FindString(string(content)); found != "" {
			t.Errorf("%s names %q, a path of a developer's machine", name, found)
		}
		if lockFile.MatchString(name) && lockedHost.Match(content) {
			t.Errorf("%s names a registry: %q", name, lockedHost.Find(content))
		}
	}
}

var (
	developerPath = regexp.MustCompile(`(?m)(?:^|[\s"'=:(])/(?:home|Users)/(?:[b-z]|a[a-ce-z])[\w.-]*/\S*`) // /home/ada is the example
	lockFile      = regexp.MustCompile(`(^|/)(package-lock\.json|uv\.lock|requirements\.txt|\.npmrc|pip\.conf)$`)
	lockedHost    = regexp.MustCompile(`(?m)("resolved": *"|"registry": *"|registry *= *"?|index(-url)?[ =]+"?|find-links[ =]+)https?://[\w.-]+`)
)

// machineWords are this work tree's path, the user's home, and the hosts of the
// mirrors and proxies that this machine has been set up with.
func machineWords(t *testing.T) []string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	words := []string{root + "/"}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		words = append(words, home+"/")
	}
	everybodys := map[string]bool{"pypi.org": true, "registry.npmjs.org": true, "proxy.golang.org": true, "localhost": true, "127.0.0.1": true}
	for _, name := range []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "NPM_CONFIG_REGISTRY", "GOPROXY", "HTTP_PROXY", "HTTPS_PROXY"} {
		for _, value := range append(strings.Split(os.Getenv(name), ","), os.Getenv(strings.ToLower(name))) {
			if u, err := url.Parse(value); err == nil && u.Hostname() != "" && !everybodys[u.Hostname()] {
				words = append(words, u.Hostname())
			}
		}
	}
	return words
}
