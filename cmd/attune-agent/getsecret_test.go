package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestGetSecret(t *testing.T) {
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "secrets")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return strconv.Itoa(int(file.Fd()))
	}
	good := write(`{"a":"one\ntwo","b":"ü"}`)
	for name, test := range map[string]struct {
		number string
		args   []string
		stdout string
		code   int
	}{
		"a value":        {good, []string{"a"}, "one\ntwo", 0},
		"the same again": {good, []string{"a"}, "one\ntwo", 0},
		"another":        {good, []string{"b"}, "ü", 0},
		"unknown":        {good, []string{"c"}, "", 0},
		"no secrets":     {"", []string{"a"}, "", 0},
		"no name":        {good, nil, "", 2},
		"two names":      {good, []string{"a", "b"}, "", 2},
		"no document":    {write("hush"), []string{"a"}, "", 1},
		"no descriptor":  {"1000", []string{"a"}, "", 1},
		"no number":      {"x", []string{"a"}, "", 1},
		"stdin":          {"0", []string{"a"}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("ATTUNE_SECRETS_FD", test.number)
			var stdout, stderr bytes.Buffer
			code := getSecret(test.args, &stdout, &stderr)
			if code != test.code || stdout.String() != test.stdout || (stderr.Len() > 0) != (code > 0) || strings.Contains(stderr.String(), "hush") {
				t.Errorf("get_secret %v = %d, %q, %q; want %d, %q", test.args, code, stdout.String(), stderr.String(), test.code, test.stdout)
			}
		})
	}
}
