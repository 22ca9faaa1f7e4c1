package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writePack makes the directory of a pack with one shell action.
func writePack(t *testing.T, parent, ref, packYAML string) string {
	t.Helper()
	dir := filepath.Join(parent, ref)
	for name, content := range map[string]string{
		"pack.yaml":          packYAML,
		"actions/hello.yaml": "ref: " + ref + ".hello\nrunner_type: shell\nentry_point: hello.sh\n",
		"actions/hello.sh":   "echo hello\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Ensure every fault of every pack is told, and good packs are told, too.
func TestPackCheck(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	good := writePack(t, parent, "good", "ref: good\nversion: 1.2.3\n")
	bad := writePack(t, parent, "bad", "ref: bad\nversion: 1.0.0\nlabl: x\nenabled: 7\n")
	got := runProgram(t, &program{}, "pack", "check", good)
	if want := (ran{exitOK, good + ": ok, good 1.2.3, 1 action\n", ""}); got != want {
		t.Errorf("pack check = %+v; want %+v", got, want)
	}
	got = runProgram(t, &program{}, "pack", "check", bad, good)
	if got.Code != exitFailed || got.Stderr != "" || !strings.Contains(got.Stdout, bad+": 2 faults\n  ") ||
		!strings.Contains(got.Stdout, "pack.yaml:3: ") || !strings.Contains(got.Stdout, "pack.yaml:4: ") ||
		!strings.HasSuffix(got.Stdout, good+": ok, good 1.2.3, 1 action\n") {
		t.Errorf("pack check with faults = %+v", got)
	}
}

// Ensure the doctor counts packs, and warns of each broken one.
func TestDoctorPacks(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.PacksBaseDir = t.TempDir()
	look := func() []Check { return (&diagnosis{config: config}).packs(t.Context()) }
	if got := look(); len(got) != 1 || got[0].Status != CheckWarn || got[0].Detail != "no pack in "+config.PacksBaseDir {
		t.Errorf("packs of an empty directory = %+v", got)
	}
	writePack(t, config.PacksBaseDir, "good", "ref: good\nversion: 1.2.3\n")
	if got := look(); len(got) != 1 || got[0].Status != CheckOK || got[0].Detail != "1 pack with 1 action in "+config.PacksBaseDir {
		t.Errorf("packs = %+v", got)
	}
	writePack(t, config.PacksBaseDir, "bad", "ref: bad\n")
	got := look()
	if len(got) != 2 || got[1].Name != "pack bad" || got[1].Status != CheckWarn || got[1].Detail != "1 fault: it is not served" {
		t.Errorf("packs with a broken one = %+v", got)
	}
	config.RuntimesDir = "/nowhere"
	if got := look(); len(got) != 1 || got[0].Name != "runtimes" || got[0].Status != CheckFail ||
		got[0].Detail != "runtimes_dir /nowhere: no such file or directory; create it, or leave the setting empty" {
		t.Errorf("packs with runtimes_dir /nowhere = %+v", got)
	}
}
