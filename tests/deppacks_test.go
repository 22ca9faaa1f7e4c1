package tests

import "testing"

// isolationPacks are small packs, each with another relation to its dependencies.
func isolationPacks(t *testing.T, h home) {
	const (
		where   = "import os, sys\nprint(sys.executable, os.getcwd())\n"
		version = "import idna\nprint(idna.__version__)\n"
		bash    = "echo \"bash ${BASH_VERSION%%.*} $PWD\"\n"
		node    = "process.version[0] "
	)
	h.pack(t, "plain", map[string]string{ // no manifest
		"actions/where.yaml": "ref: plain.where\nrunner_type: python\nentry_point: where.py\n", "actions/where.py": where,
		"actions/deep.yaml": "ref: plain.deep\nentry_point: sub.sh/dir.js/deep.py\n", "actions/sub.sh/dir.js/deep.py": where,
		"actions/bash.yaml": "ref: plain.bash\nrunner_type: shell\nentry_point: bash.py\n", "actions/bash.py": bash,
		"actions/snake.yaml": "ref: plain.snake\nruntime: python3\nentry_point: snake.sh\n", "actions/snake.sh": where,
		"actions/hash.yaml": "ref: plain.hash\nrunner_type: native\nentry_point: hash.js\n", "actions/hash.js": "#!/bin/bash\n" + bash,
	})
	h.pack(t, "deps", map[string]string{
		"requirements.txt": "# comments stay out\nidna >=3.6, !=3.8, <3.9  # a range\nsix==1.17.0; python_version < '3'\n" +
			"pygments[windows-terminal]==2.19.1 ; python_version >= '3'\n",
		"actions/where.yaml": "ref: deps.where\nentry_point: where.py\n", "actions/where.py": where,
		"actions/parts.yaml": "ref: deps.parts\nentry_point: parts.py\n",
		"actions/parts.py":   "from importlib.metadata import distributions\nprint(*sorted(f'{d.name}=={d.version}'.lower() for d in distributions()))\n",
		"actions/tool.yaml":  "ref: deps.tool\nentry_point: tool.py\n",
		"actions/tool.py": "import os, subprocess\n" +
			"for tool in 'pygmentize', os.environ['VIRTUAL_ENV'] + '/bin/pygmentize':\n" +
			"    print(subprocess.check_output([tool, '-V'], text=True))\n",
	})
	for ref, pin := range map[string]string{"pack_a": "3.7", "pack_b": "3.10"} {
		h.pack(t, ref, map[string]string{
			"requirements.txt": "idna==" + pin + "\n",
			"actions/v.yaml":   "ref: " + ref + ".v\nentry_point: v.py\n", "actions/v.py": version,
		})
	}
	h.pack(t, "scripts", map[string]string{ // its manifests are no business of the shell's
		"requirements.txt": "idna==3.7\n", "package.json": "{}",
		"actions/pwd.yaml": "ref: scripts.pwd\nentry_point: pwd.sh\n", "actions/pwd.sh": bash,
	})
	h.pack(t, "by_extension", map[string]string{
		"actions/js.yaml": "ref: by_extension.js\nentry_point: a.js\n", "actions/a.js": "require('fs'); console.log(" + node + ", __dirname)\n",
		"actions/mjs.yaml": "ref: by_extension.mjs\nentry_point: b.mjs\n", "actions/b.mjs": "import 'fs'; console.log(" + node + ", import.meta.dirname)\n",
		"actions/sh.yaml": "ref: by_extension.sh\nentry_point: c.SH\n", "actions/c.SH": bash,
	})
	h.pack(t, "no_extension", map[string]string{
		"actions/x.yaml": "ref: no_extension.x\nentry_point: x.unknown\n", "actions/x.unknown": bash,
	})
}
