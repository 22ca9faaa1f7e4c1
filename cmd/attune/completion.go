package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// CompletionCmd prints a shell's completion script, made from the grammar of
// the command line itself.
type CompletionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help tells how to use the script.
func (c *CompletionCmd) Help() string {
	return `Bash: source <(attune completion bash)
Zsh:  source <(attune completion zsh), after compinit
Fish: attune completion fish | source`
}

// Run prints the script.
func (c *CompletionCmd) Run(k *kong.Kong, p *program) error {
	words := completionWords(k.Model.Node)
	var script string
	switch c.Shell {
	case "bash":
		script = bashCompletion(words)
	case "zsh":
		script = "autoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(words)
	case "fish":
		script = fishCompletion(words)
	}
	_, err := io.WriteString(p.Stdout, script)
	return err
}

// completion is what may follow a command.
type completion struct {
	path  string   // "/pack/list"; empty for the program itself
	words []string // commands, fixed arguments and flags
	enums []flagEnum
}

// flagEnum is a flag whose values are known.
type flagEnum struct {
	flag   string
	values []string
}

// completionWords walks the commands, parents before children.
func completionWords(root *kong.Node) []completion {
	var all []completion
	var walk func(path string, node *kong.Node)
	walk = func(path string, node *kong.Node) {
		at := completion{path: path}
		for _, child := range node.Children {
			at.words = append(at.words, child.Name)
		}
		for _, positional := range node.Positional {
			at.words = append(at.words, enumValues(positional)...)
		}
		for _, group := range node.AllFlags(true) {
			for _, flag := range group {
				at.words = append(at.words, "--"+flag.Name)
				if values := enumValues(flag.Value); values != nil {
					at.enums = append(at.enums, flagEnum{"--" + flag.Name, values})
				}
			}
		}
		all = append(all, at)
		for _, child := range node.Children {
			walk(path+"/"+child.Name, child)
		}
	}
	walk("", root)
	return all
}

func enumValues(value *kong.Value) []string {
	if value.Enum == "" {
		return nil
	}
	return value.EnumSlice()
}

// paths lists the commands as patterns of a shell's case.
func paths(all []completion, separator string) string {
	var patterns []string
	for _, c := range all[1:] {
		patterns = append(patterns, c.path)
	}
	return strings.Join(patterns, separator)
}

// bashCompletion finds the command that is being typed and offers its words;
// where it has none that fit, the shell offers files.
func bashCompletion(all []completion) string {
	var cases strings.Builder
	for _, c := range all {
		for _, enum := range c.enums {
			fmt.Fprintf(&cases, "    '%s %s') words='%s' ;;\n", c.path, enum.flag, strings.Join(enum.values, " "))
		}
		fmt.Fprintf(&cases, "    '%s '*) words='%s' ;;\n", c.path, strings.Join(c.words, " "))
	}
	return fmt.Sprintf(`_attune() {
  local path= words= word cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path/$word" in
      %s) path=$path/$word ;;
    esac
  done
  case "$path $prev" in
%s  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _attune attune
`, paths(all, "|"), cases.String())
}

func fishCompletion(all []completion) string {
	var b strings.Builder
	fmt.Fprintf(&b, `function __attune_at
  set -l path
  for word in (commandline -opc)[2..-1]
    switch "$path/$word"
      case %s
        set path "$path/$word"
    end
  end
  test "$path" = "$argv[1]"
end
`, paths(all, " "))
	for _, c := range all {
		condition := fmt.Sprintf("complete -c attune -n '__attune_at \"%s\"'", c.path)
		for _, word := range c.words {
			if flag, ok := strings.CutPrefix(word, "--"); ok {
				fmt.Fprintf(&b, "%s -l %s\n", condition, flag)
			} else {
				fmt.Fprintf(&b, "%s -f -a %s\n", condition, word)
			}
		}
		for _, enum := range c.enums {
			fmt.Fprintf(&b, "%s -l %s -x -a '%s'\n", condition, strings.TrimPrefix(enum.flag, "--"), strings.Join(enum.values, " "))
		}
	}
	return b.String()
}
