package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/gateway/secret"
)

func TestSecretSet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stdin, body string
		want        ran
		password    func() ([]byte, error)
	}{
		"from stdin":             {stdin: "hush\n", body: `{"value":"hush"}`, want: ran{exitOK, "token is stored for demo\n", ""}},
		"only one line break":    {stdin: "hush\n\r\n", body: `{"value":"hush\n"}`, want: ran{exitOK, "token is stored for demo\n", ""}},
		"from a terminal":        {password: func() ([]byte, error) { return []byte("hush"), nil }, body: `{"value":"hush"}`, want: ran{exitOK, "token is stored for demo\n", "Value of token (not shown): \n"}},
		"nothing":                {want: ran{exitUsage, "", "attune: the value is empty: give it on stdin\n"}},
		"too much":               {stdin: strings.Repeat("x", secret.MaxValue+1), want: ran{exitUsage, "", "attune: the value has more than 65536 bytes\n"}},
		"as much as there is":    {stdin: strings.Repeat("x", secret.MaxValue) + "\n", body: `{"value":"` + strings.Repeat("x", secret.MaxValue) + `"}`, want: ran{exitOK, "token is stored for demo\n", ""}},
		"far more than too much": {stdin: strings.Repeat("x", 4*secret.MaxValue), want: ran{exitUsage, "", "attune: the value has more than 65536 bytes\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway := newFakeGateway(t, map[string][]canned{"PUT /api/v1/packs/demo/secrets/token": {{status: http.StatusNoContent}}})
			got := runProgram(t, &program{Stdin: strings.NewReader(test.stdin), Password: test.password}, "secret", "set", "--url", gateway.URL, "demo", "token")
			if got != test.want {
				t.Errorf("secret set = %.200v, want %v", got, test.want)
			}
			if sent := strings.Join(gateway.bodies, "+"); sent != test.body {
				t.Errorf("the gateway was sent %.100s, want %.100s", sent, test.body)
			}
		})
	}
}

func TestSecretKeygen(t *testing.T) {
	t.Parallel()
	printed := runProgram(t, &program{}, "secret", "keygen")
	if _, err := secret.ParseKeys(printed.Stdout); err != nil || printed.Code != exitOK {
		t.Errorf("secret keygen = %+v: %v", printed, err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	var before []byte
	for _, want := range []string{path + " holds a key\n", path + " holds a new key, before the others\n"} {
		if got := runProgram(t, &program{}, "secret", "keygen", path); got != (ran{exitOK, want, ""}) {
			t.Errorf("secret keygen FILE = %+v, want %s", got, want)
		}
		content, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(string(content), string(before)) || len(content) == len(before) {
			t.Errorf("the file holds %d bytes after %d, %v", len(content), len(before), err)
		}
		before = content
		if _, err := secret.ReadKeys(path); err != nil {
			t.Errorf("the gateway can't read what keygen wrote: %v", err)
		}
	}
	other := writeFile(t, "attune.yaml", "server: {}\n")
	if got := runProgram(t, &program{}, "secret", "keygen", other); got.Code != exitFailed {
		t.Errorf("secret keygen of another file = %+v, want a refusal", got)
	}
}

func TestSecretSettings(t *testing.T) {
	t.Parallel()
	key := secret.NewKey()
	config, err := LoadConfig("", []string{"ATTUNE__SECRETS__KEY=" + key})
	if err != nil {
		t.Fatalf("LoadConfig() error = %v", err)
	}
	var shown strings.Builder
	if err := writeConfig(&shown, config); err != nil || strings.Contains(shown.String(), key[13:]) || !strings.Contains(shown.String(), `key: "***"`) {
		t.Errorf("config show, %v:\n%s", err, shown.String())
	}
	for name, text := range map[string]string{
		"in a file":      "secrets: {key: " + key + "}\n",
		"both":           "secrets: {key_file: keys}\n",
		"no key of ours": "",
	} {
		environ := []string{"ATTUNE__SECRETS__KEY=" + key}
		switch name {
		case "in a file":
			environ = nil
		case "no key of ours":
			environ[0] = "ATTUNE__SECRETS__KEY=" + key[:30]
		}
		_, err := LoadConfig(writeFile(t, "attune.yaml", text), environ)
		if err == nil || !strings.Contains(err.Error(), "secrets.key") || strings.Contains(err.Error(), key[13:30]) {
			t.Errorf("%s: LoadConfig() error = %v, want a fault that shows no key", name, err)
		}
	}
	file := writeFile(t, "attune.yaml", "secrets: {key_file: keys}\n")
	config, err = LoadConfig(file, nil)
	if want := filepath.Join(filepath.Dir(file), "keys"); err != nil || config.Secrets.KeyFile != want {
		t.Errorf("key_file = %s, %v, want %s", config.Secrets.KeyFile, err, want)
	}
}
