package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/gateway/secret"
)

// certificatePEM makes a certificate.
func certificatePEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestDoctorCertificates(t *testing.T) {
	t.Parallel()
	valid := certificatePEM(t)
	two := writeFile(t, "two.pem", "# a comment\n"+valid+"\n"+valid)
	key := writeFile(t, "key.pem", valid+"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	cut := writeFile(t, "cut.pem", valid+valid[:100])
	empty := writeFile(t, "empty.pem", "")
	junk := writeFile(t, "junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	const cure = "set build.ca_bundle to a PEM file of certificates, auto or none"
	for _, test := range []struct {
		bundle  string
		environ []string
		want    Check
	}{
		{bundle: "none", want: Check{Status: CheckOK, Detail: "build.ca_bundle is none: builders trust what their image brings"}},
		{bundle: two, want: Check{Status: CheckOK, Detail: "2 certificates in " + two}},
		{bundle: "auto", environ: []string{"SSL_CERT_FILE=" + two}, want: Check{Status: CheckOK, Detail: "2 certificates in " + two}},
		{bundle: key, want: Check{Status: CheckFail, Detail: key + ": holds a PRIVATE KEY", Cure: cure}},
		{bundle: cut, want: Check{Status: CheckFail, Detail: cut + ": is damaged after certificate 1", Cure: cure}},
		{bundle: empty, want: Check{Status: CheckFail, Detail: empty + ": holds no certificate in PEM form", Cure: cure}},
		{bundle: junk, want: Check{Status: CheckFail, Detail: junk + ": certificate 1: x509: malformed certificate", Cure: cure}},
		{bundle: "/nowhere.pem", want: Check{Status: CheckFail, Detail: "/nowhere.pem: no such file or directory", Cure: cure}},
	} {
		config := DefaultConfig()
		config.Build.CABundle = test.bundle
		test.want.Name = "certificates"
		got := (&diagnosis{config: config, environ: test.environ}).certificates(t.Context())
		if diff := cmp.Diff([]Check{test.want}, got); diff != "" {
			t.Errorf("certificates with %s (-want +got):\n%s", test.bundle, diff)
		}
	}
}

func TestDoctorSecretKeys(t *testing.T) {
	t.Parallel()
	ok := writeFile(t, "keys", secret.NewKey()+"\n")
	if err := os.Chmod(ok, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		settings SecretsConfig
		status   CheckStatus
		detail   string
	}{
		{SecretsConfig{}, CheckOK, "no key is set"},
		{SecretsConfig{KeyFile: ok}, CheckOK, "the key can be read"},
		{SecretsConfig{KeyFile: "/no/such/file"}, CheckFail, "secrets.key_file"},
		{SecretsConfig{Key: "nonsense"}, CheckFail, "secrets.key "},
	} {
		d := diagnosis{config: Config{Secrets: test.settings}}
		got := d.secretKeys(t.Context())
		if len(got) != 1 || got[0].Status != test.status || !strings.Contains(got[0].Detail, test.detail) || (got[0].Cure == "") != (test.status == CheckOK) {
			t.Errorf("of %+v: %+v, want %s, %s", test.settings, got, test.status, test.detail)
		}
		if strings.Contains(got[0].Detail, "nonsense") {
			t.Error("the key is shown")
		}
	}
}

func TestDoctorFreeSpace(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.RuntimeEnvsDir = t.TempDir() + "/not/made/yet"
	config.Build.FreeSpace, config.Build.MaxFiles = 1, 1
	got := (&diagnosis{config: config}).freeSpace(t.Context())
	if len(got) != 1 || got[0].Status != CheckOK || !strings.Contains(got[0].Detail, "B at ") {
		t.Errorf("freeSpace = %+v; want ok", got)
	}
	config.Build.FreeSpace = 1 << 60
	got = (&diagnosis{config: config}).freeSpace(t.Context())
	if len(got) != 1 || got[0].Status != CheckFail || got[0].Cure != "builds need 1048576TiB: make space there, or lower build.free_space" {
		t.Errorf("freeSpace = %+v; want a failure", got)
	}
	config.RuntimeEnvsDir = "a_volume"
	if got := (&diagnosis{config: config}).freeSpace(t.Context()); got != nil {
		t.Errorf("freeSpace of a volume = %+v; want nothing", got)
	}
}

func TestDoctorState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := DefaultConfig()
	for path, want := range map[string]Check{
		dir:            {Name: "state", Status: CheckOK, Detail: dir + " is writable"},
		dir + "/a/b":   {Name: "state", Status: CheckOK, Detail: dir + "/a/b will be made in " + dir},
		"/proc/attune": {Name: "state", Status: CheckFail, Detail: "/proc can't be written: no such file or directory", Cure: "make it writable for this user, or set state_dir"},
	} {
		config.StateDir = path
		if diff := cmp.Diff([]Check{want}, (&diagnosis{config: config}).state(t.Context())); diff != "" {
			t.Errorf("state in %s (-want +got):\n%s", path, diff)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the check has left %v, %v", left, err)
	}
}

func TestDoctorAddress(t *testing.T) {
	t.Parallel()
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Attune-Request-Id", "1")
	}))
	defer gateway.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for _, test := range []struct {
		address string
		want    Check
	}{
		{"127.0.0.1:0", Check{Status: CheckOK, Detail: "127.0.0.1:0 is free"}},
		{gateway.Listener.Addr().String(), Check{Status: CheckOK, Detail: "a gateway answers at " + gateway.URL}},
		{other.Listener.Addr().String(), Check{Status: CheckFail, Detail: other.Listener.Addr().String() + " is taken by another program", Cure: "stop that program, or set server.port"}},
		{"192.0.2.1:0", Check{
			Status: CheckFail, Detail: "listening on 192.0.2.1:0: bind: cannot assign requested address",
			Cure: "set server.host to an address of this machine and server.port to one that this user may use",
		}},
	} {
		host, port, err := net.SplitHostPort(test.address)
		if err != nil {
			t.Fatal(err)
		}
		config := DefaultConfig()
		config.Server.Host = host
		if config.Server.Port, err = strconv.Atoi(port); err != nil {
			t.Fatal(err)
		}
		test.want.Name = "address"
		if diff := cmp.Diff([]Check{test.want}, (&diagnosis{config: config}).listener(t.Context())); diff != "" {
			t.Errorf("listener on %s (-want +got):\n%s", test.address, diff)
		}
	}
}

// Ensure the doctor tells the faults of a configuration as checks, and nothing
// else then.
func TestDoctorConfiguration(t *testing.T) {
	t.Parallel()
	got := runProgram(t, &program{Environ: []string{"ATTUNE__ENGINE=x", "ATTUNE__LOG__LEVEL=y"}}, "doctor")
	want := ran{exitFailed, `STATUS  CHECK          DETAIL
fail    configuration  engine (ATTUNE__ENGINE): "x" is unknown: write docker or process
fail    configuration  log.level (ATTUNE__LOG__LEVEL): "y" is unknown: write debug, info, warn or error

configuration: correct it; attune config check reports the faults alone
`, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("doctor (-want +got):\n%s", diff)
	}
}

func TestDoctorExposure(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	if got := (&diagnosis{config: config}).exposure(t.Context()); got != nil {
		t.Errorf("exposure of the defaults = %+v; want nothing", got)
	}
	config.Engine, config.Server.Host = EngineProcess, "0.0.0.0"
	if got := (&diagnosis{config: config}).exposure(t.Context()); len(got) != 2 {
		t.Errorf("exposure = %+v; want two warnings", got)
	}
}

// Ensure the wired checks run in their place, once, and are closed; that those
// of Redis run only where there is one; and that programs can read the result.
func TestDoctorRunsWiredProbes(t *testing.T) {
	t.Parallel()
	for redis, want := range map[string]string{
		"":                 "configuration ok,packs fail,engine ok,free space ok,certificates ok,registries ok,state ok,secrets ok,address ok",
		"redis://r:6379/0": "configuration ok,packs fail,engine ok,free space ok,certificates ok,registries ok,redis ok,secrets ok,address ok",
	} {
		closed := 0
		p := &program{
			Environ: []string{
				"ATTUNE__PACKS_BASE_DIR=/nowhere", "ATTUNE__RUNTIME_ENVS_DIR=" + t.TempDir(), "ATTUNE__BUILD__FREE_SPACE=1",
				"ATTUNE__BUILD__MAX_FILES=100", "ATTUNE__BUILD__CA_BUNDLE=none", "ATTUNE__STATE_DIR=" + t.TempDir(),
				"ATTUNE__SERVER__PORT=0", "ATTUNE__REDIS__URL=" + redis,
			},
			Probes: func(Config) Probes {
				return Probes{
					Engine: okProbe("engine"), Registries: okProbe("registries"), Redis: okProbe("redis"),
					Close: func() { closed++ },
				}
			},
		}
		got := runProgram(t, p, "doctor", "-o", "json")
		var report struct{ Checks []Check }
		if err := json.Unmarshal([]byte(got.Stdout), &report); err != nil || got.Code != exitFailed || closed != 1 {
			t.Fatalf("doctor = %+v, %v, closed %d times", got, err, closed)
		}
		var names []string
		for _, check := range report.Checks {
			names = append(names, check.Name+" "+string(check.Status))
		}
		if diff := cmp.Diff(want, strings.Join(names, ",")); diff != "" {
			t.Errorf("doctor with redis %q (-want +got):\n%s", redis, diff)
		}
	}
}

// okProbe is a wired check that finds nothing.
func okProbe(name string) Probe {
	return func(context.Context) []Check { return oneCheck(name, CheckOK, "fine", "") }
}
