package containertest

import (
	"strings"
	"testing"
)

func exerciseEnvironment(t *testing.T, b *bench) {
	t.Run("variables are exactly those of the spec", func(t *testing.T) {
		for _, env := range [][]string{
			{"A=1", "HOME=/tmp", "Z=with = and  spaces"},
			{"HOME=/", "LANG=fr_FR.UTF-8", "PATH=/only"}, // also in place of the image's
			{"HOME=/tmp"},
		} {
			spec := b.spec("")
			spec.Env, spec.Entrypoint = env, []string{"/usr/bin/env"}
			_, output := Run(t, b.engine, spec)
			if want := strings.Join(env, "\n") + "\n"; sorted(output) != sorted(want) {
				t.Errorf("env printed %q, want %q", output, want)
			}
		}
	})
	t.Run("arguments are not interpreted", func(t *testing.T) {
		spec := b.spec("")
		spec.Entrypoint = []string{"/usr/bin/printf", "%s|", "$HOME", "a b", "", "*"}
		if _, output := Run(t, b.engine, spec); output != "$HOME|a b||*|" {
			t.Errorf("output = %q", output)
		}
	})
	t.Run("the working directory", func(t *testing.T) {
		spec := b.spec("pwd")
		spec.Dir = "/etc"
		if _, output := Run(t, b.engine, spec); output != "/etc\n" {
			t.Errorf("pwd printed %q", output)
		}
	})
	t.Run("standard input is empty", func(t *testing.T) {
		if exit, output := Run(t, b.engine, b.spec("cat; echo end")); exit.Code != 0 || output != "end\n" {
			t.Errorf("exit = %+v, output %q", exit, output)
		}
	})
}
