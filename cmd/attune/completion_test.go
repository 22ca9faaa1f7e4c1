package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Ensure a real bash offers the right words.
func TestBashCompletion(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	script := runProgram(t, &program{}, "completion", "bash").Stdout
	for typed, want := range map[string]string{
		"attune se":                    "serve secret",
		"attune pack |":                "list check register --help",
		"attune pack list --ou":        "--output",
		"attune pack list --output |":  "table json",
		"attune completion |":          "bash zsh fish --help",
		"attune -c file config sh":     "show",
		"attune invoke pack list --ur": "--url",
	} {
		words := strings.ReplaceAll(typed, "|", "''")
		command := fmt.Sprintf("%s\nCOMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _attune; echo \"${COMPREPLY[@]}\"", script, words)
		out, err := exec.CommandContext(t.Context(), bash, "--norc", "-c", command).CombinedOutput()
		if diff := cmp.Diff(want+"\n", string(out)); diff != "" || err != nil {
			t.Errorf("completing %q: %v (-want +got):\n%s", typed, err, diff)
		}
	}
}

// Ensure every command is known to every shell; the scripts of shells that may
// not be here are compared by their parts.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, parts := range map[string][]string{
		"zsh": {"autoload -U +X bashcompinit && bashcompinit\n", "complete -o default -F _attune attune"},
		"fish": {
			"case /serve /invoke /pack /pack/list", `complete -c attune -n '__attune_at ""' -f -a serve`,
			`complete -c attune -n '__attune_at "/pack/list"' -l output -x -a 'table json'`,
		},
	} {
		got := runProgram(t, &program{}, "completion", shell)
		for _, part := range parts {
			if !strings.Contains(got.Stdout, part) {
				t.Errorf("completion %s lacks %q:\n%s", shell, part, got.Stdout)
			}
		}
	}
	if got := runProgram(t, &program{}, "completion", "csh"); got.Code != exitUsage {
		t.Errorf("completion csh = %+v", got)
	}
}
