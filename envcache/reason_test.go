package envcache

import "testing"

// TestReasonOfAFailure with what installers really print.
func TestReasonOfAFailure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, output, want string }{
		{"uv, no solution", "Using Python 3.13.5 environment at: v\nerror: No solution found when resolving dependencies\n" +
			"  cause: Because six was not found in the cache and you require six==99, we can conclude that your requirements are unsatisfiable.\n\n" +
			"hint: Packages were unavailable because the network was disabled.\n",
			"error: No solution found when resolving dependencies: Because six was not found in the cache and you require six==99, we can conclude that your requirements are unsatisfiable."},
		{"uv, syntax", "error: Couldn't parse requirement in `b.txt` at position 0\n  cause: Unexpected end of version specifier, expected version\n         six==\n            ^^\n",
			"error: Couldn't parse requirement in `b.txt` at position 0: Unexpected end of version specifier, expected version"},
		{"uv, backend", "Resolved 1 package in 1ms\n   Building mylib @ file:///tmp/w/lib\nerror: Failed to build `mylib @ file:///tmp/w/lib`\n  cause: The build backend returned an error\n" +
			"  cause: Call to `back.get_requires_for_build_wheel` failed (exit status: 1)\n\n         [stderr]\n         boom\n\nhint: Build failures usually indicate a problem with the package or the build environment\n",
			"error: Failed to build `mylib @ file:///tmp/w/lib`: The build backend returned an error: Call to `back.get_requires_for_build_wheel` failed (exit status: 1)"},
		{"uv, no such directory", "error: Distribution not found at: file:///tmp/w/nolib\n", "error: Distribution not found at: file:///tmp/w/nolib"},
		{"pip, no such version", "ERROR: Could not find a version that satisfies the requirement six==99 (from versions: none)\nERROR: No matching distribution found for six==99\n\n[notice] A new release of pip is available: 25.1 -> 25.3\n[notice] To update, run: pip install --upgrade pip\n",
			"ERROR: No matching distribution found for six==99"},
		{"pip, syntax", "ERROR: Invalid requirement: 'six==': Expected end or semicolon (after name and no valid version specifier)\n    six==\n       ^ (from line 1 of b.txt)\n",
			"ERROR: Invalid requirement: 'six==': Expected end or semicolon (after name and no valid version specifier)"},
		{"pip, hint", "ERROR: Invalid requirement: './nolib': Expected package name at the start of dependency specifier\n    ./nolib\n    ^ (from line 1 of d.txt)\nHint: It looks like a path. File './nolib' does not exist.\n",
			"ERROR: Invalid requirement: './nolib': Expected package name at the start of dependency specifier"},
		{"pip, backend", "Processing ./lib\n  error: subprocess-exited-with-error\n  \n  × Getting requirements to build wheel did not run successfully.\n  │ exit code: 1\n  ╰─> [1 lines of output]\n      boom\n      [end of output]\n  \n" +
			"  note: This error originates from a subprocess, and is likely not a problem with pip.\nerror: subprocess-exited-with-error\n\n× Getting requirements to build wheel did not run successfully.\n│ exit code: 1\n╰─> See above for output.\n\nnote: This error originates from a subprocess, and is likely not a problem with pip.\n",
			"× Getting requirements to build wheel did not run successfully."},
		{"npm, offline", "npm error code ENOTCACHED\nnpm error request to https://index/a failed: cache mode is 'only-if-cached' but no cached response is available.\nnpm error A complete log of this run can be found in: /tmp/.npm/_logs/x-debug-0.log\n",
			"npm error request to https://index/a failed: cache mode is 'only-if-cached' but no cached response is available."},
		{"npm, no such file", "npm warn tarball tarball data for a@file:v/a.tgz (null) seems to be corrupted. Trying again.\nnpm error code ENOENT\nnpm error syscall open\nnpm error path /tmp/w/v/a.tgz\nnpm error errno -2\n" +
			"npm error enoent ENOENT: no such file or directory, open '/tmp/w/v/a.tgz'\nnpm error enoent This is related to npm not being able to find a file.\nnpm error enoent\nnpm error A complete log of this run can be found in: /tmp/x.log\n",
			"npm error enoent ENOENT: no such file or directory, open '/tmp/w/v/a.tgz'"},
		{"npm, syntax", "npm error code EJSONPARSE\nnpm error JSON.parse Invalid package.json: JSONParseError: Expected property name or '}' in JSON at position 17\nnpm error JSON.parse Failed to parse JSON data.\nnpm error JSON.parse Note: package.json must be actual JSON, not just JavaScript.\n",
			"npm error JSON.parse Invalid package.json: JSONParseError: Expected property name or '}' in JSON at position 17"},
		{"advice alone", "hint: look elsewhere\n", "hint: look elsewhere"},
		{"a caret after a line", "  oh no\n     ^\n", "oh no"},
		{"no error line", "first\nlast\n", "last"},
	} {
		l := newBuildLog(nil)
		if _, err := l.Write([]byte(test.output)); err != nil {
			t.Fatal(err)
		}
		if _, got := l.ending(); got != test.want {
			t.Errorf("%s: ending() = %q, want %q", test.name, got, test.want)
		}
	}
}
