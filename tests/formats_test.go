package tests

import (
	"net/http"
	"strings"
	"testing"
)

func TestFormats(t *testing.T) {
	h := newHome(t)
	files := map[string]string{}
	for name, script := range map[string]string{
		"text": "echo hello", "json": `echo "a log line"; echo '{"a": 9007199254740993}'`,
		"yaml": "printf 'a: 1\\nb: [x, y]\\n'", "jsonl": `printf '{"n":1}\n{"n":2}\n'`,
	} {
		files["actions/out_"+name+".yaml"] = "ref: formats.out_" + name + "\nentry_point: out_" + name + ".sh\noutput_format: " + name + "\n"
		files["actions/out_"+name+".sh"] = script + "\n"
	}
	for _, name := range []string{"json", "yaml", "dotenv"} {
		files["actions/in_"+name+".yaml"] = "ref: formats.in_" + name + "\nentry_point: in.sh\nparameter_format: " + name + "\n"
	}
	files["actions/in.sh"] = "cat\n"
	h.pack(t, "formats", files)
	g := h.start(t)

	for name, want := range map[string]struct{ media, body string }{
		"text": {"text/plain; charset=utf-8", "hello\n"},
		"json": {"application/json", `{"a":9007199254740993}` + "\n"},
		"yaml": {"application/yaml", "a: 1\nb: [x, y]\n"}, "jsonl": {"application/x-ndjson", "{\"n\":1}\n{\"n\":2}\n"},
	} {
		a := g.mustInvoke(t, "formats.out_"+name, "{}")
		if a.header.Get("Content-Type") != want.media || a.body != want.body {
			t.Errorf("output_format %s = %s %q, want %s %q", name, a.header.Get("Content-Type"), a.body, want.media, want.body)
		}
	}
	// Values arrive as they are, whatever a shell or a template would see in them.
	nasty := `{"q":"it's \"q\"","s":"$(id) {env_dir} -rf","u":"ü\u2028","n":{"deep":true}}`
	for name, want := range map[string]string{
		"json":   `{"n":{"deep":true},"q":"it's \"q\"","s":"$(id) {env_dir} -rf","u":"ü`,
		"dotenv": "n.deep='true'\nq='it'\\''s \"q\"'\ns='$(id) {env_dir} -rf'\nu='ü",
		"yaml":   "$(id) {env_dir} -rf",
	} {
		if got := g.mustInvoke(t, "formats.in_"+name, nasty).body; !strings.Contains(got, want) {
			t.Errorf("parameter_format %s = %q, want %q in it", name, got, want)
		}
	}
	if got := g.mustInvoke(t, "formats.in_json", `{"a":"x\ny"}`).body; strings.Count(got, "\n") != 1 {
		t.Errorf("JSON parameters are not one line: %q", got)
	}
}

func TestBadRefs(t *testing.T) {
	h := newHome(t, "shell_example")
	h.pack(t, "faulty", map[string]string{
		"pack.yaml":      "ref: faulty\nversion: 1.0.0\ncolour: red\n",
		"actions/a.yaml": "ref: faulty.a\nentry_point: ../../etc/passwd\n",
	})
	h.pack(t, "off", map[string]string{
		"actions/a.yaml": "ref: off.a\nentry_point: a.sh\nenabled: false\n", "actions/a.sh": "echo ran\n",
	})
	g := h.start(t)
	for ref, want := range map[string]string{
		"..": "", ".": "", ".store": "invalid-ref", "%2e%2e": "", "..%2f..%2fetc": "", "%252e.x": "invalid-ref", "a%00.b": "invalid-ref",
		"a%0d%0a.b": "invalid-ref", "%zz.a": "invalid-ref", "Shell_example.hello": "invalid-ref", "shell_example": "invalid-ref",
		"shell_example.hello.x": "invalid-ref", "shell_example.hello%20": "invalid-ref", strings.Repeat("a", 64) + ".b": "invalid-ref",
		"sh\u0435ll.hello": "invalid-ref", "shell_example.nothing": "not-found", "nobody.hello": "not-found", "off.a": "not-found", "faulty.a": "not-found",
	} {
		request, err := http.NewRequest("POST", g.url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.URL.Opaque = "/invoke/" + ref // sent as it stands
		response, err := http.DefaultClient.Do(request)
		a := read(t, response, err)
		p := a.problem(t)
		if a.status < 400 || a.status >= 500 || (want != "" && p.Type != "/problems/"+want) {
			t.Errorf("POST /invoke/%s = %d %s, want %s", ref, a.status, a.body, want)
		}
		if bare, _, _ := strings.Cut(ref, "."); want == "invalid-ref" && len(bare) > 3 && strings.Contains(a.body, bare) {
			t.Errorf("POST /invoke/%s is echoed: %s", ref, a.body)
		}
	}
	var broken struct{ Faults []string }
	decode(t, g.get(t, "/api/v1/packs/faulty").body, &broken)
	if all := strings.Join(broken.Faults, "\n"); !strings.Contains(all, "colour") || !strings.Contains(all, "entry_point") || strings.Contains(all, h.packs) {
		t.Errorf("faults = %q", broken.Faults)
	}
	g.mustInvoke(t, "shell_example.hello", "{}")
}

// TestAnotherLanguageTakesOneFolder adds Perl, which every Debian has.
func TestAnotherLanguageTakesOneFolder(t *testing.T) {
	h := newHome(t)
	runtimes := h.packs + "-runtimes"
	write(t, runtimes+"/perl/runtime.yaml", "name: perl\nimage: attune/shell\ninterpreter: {binary: perl, args: [-w], file_extension: .pl}\n", 0o644)
	h.pack(t, "camel", map[string]string{
		"actions/hi.yaml": "ref: camel.hi\nentry_point: hi.pl\n",
		"actions/hi.pl":   "my $in = <STDIN>; print \"perl got $in\";\n",
	})
	g := h.start(t, "ATTUNE__RUNTIMES_DIR="+runtimes)
	if got := g.mustInvoke(t, "camel.hi", `{"a":1}`).body; got != "perl got {\"a\":1}\n" {
		t.Errorf("answer = %q", got)
	}
}

// TestProcessEngine needs no container engine at all.
func TestProcessEngine(t *testing.T) {
	h := newHome(t)
	h.pack(t, "bare", map[string]string{
		"actions/hi.yaml": "ref: bare.hi\nentry_point: hi.sh\ntimeout: 1\n", "actions/hi.sh": "cat; pwd\n",
		"actions/hang.yaml": "ref: bare.hang\nentry_point: hang.sh\ntimeout: 1\n", "actions/hang.sh": "trap '' TERM\nsetsid sleep 1000 &\nwait\nsleep 1000\n",
	})
	g := h.launch(t, "ATTUNE__ENGINE=process")
	defer g.stop(t)
	if got := g.mustInvoke(t, "bare.hi", `{"a":1}`).body; got != "{\"a\":1}\n"+h.packs+"/bare\n" {
		t.Errorf("answer = %q", got)
	}
	if a := g.invoke(t, "bare.hang", "{}"); a.status != 504 {
		t.Errorf("POST /invoke/bare.hang = %d %s", a.status, a.body)
	}
	if !strings.Contains(g.text(), "nothing isolates") {
		t.Error("the log does not say that nothing is isolated")
	}
}
