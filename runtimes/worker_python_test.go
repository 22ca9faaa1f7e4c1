package runtimes

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"attune/runtimes/agent/wire"
)

func pythonWorker(t *testing.T) *workerRig {
	t.Helper()
	return startWorker(t, []string{"LANG=C.UTF-8"}, interpreter(t, "python3"), "-u", installedProgram(t, "python/worker.py"))
}

// TestPythonWorker is the contract of docs/handlers.md, and what handlers do
// against it.
func TestPythonWorker(t *testing.T) {
	t.Parallel()
	interpreter(t, "python3")
	const good = "def main(params, context):\n    return {'twice': 2 * params['n']}\n"
	handlers(t, func() *workerRig { return pythonWorker(t) }, "good.py", good, map[string]handlerTest{
		"a result":       {"result.py", "def main(p, c): return [p, 1.5, None, True, 'ü']", `{"a":"ß"}`, result(`[{"a":"ß"},1.5,null,true,"ü"]`), "", false},
		"nothing":        {"nothing.py", "def main(p, c): pass", "", result("null"), "", false},
		"text":           {"text.py", "def main(p, c): return 'grüß\\ndich'", "", textual("grüß\ndich"), "", false},
		"bytes":          {"bytes_.py", "def main(p, c): return b'abc'", "", textual("abc"), "", false},
		"bad bytes":      {"bad_bytes.py", "def main(p, c): return b'\\xff'", "", failed("UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff..."), "", false},
		"half a pair":    {"half.py", "def main(p, c): return ['\\ud800']", "", result(`["\ud800"]`), "", false},
		"half in text":   {"half_text.py", "def main(p, c): return '\\ud800'", "", textual(`\ud800`), "", false},
		"tuple":          {"tuple_.py", "def main(p, c): return 1, 2", "", result("[1,2]"), "", false},
		"subclass":       {"subclass.py", "import collections\ndef main(p, c): return collections.Counter('aab')", "", result(`{"a":2,"b":1}`), "", false},
		"async":          {"async_.py", "import asyncio\nasync def main(p, c):\n await asyncio.sleep(0)\n return p", `{"a":1}`, result(`{"a":1}`), "", false},
		"one loop":       {"loop.py", "import asyncio\nloops = set()\nasync def main(p, c):\n loops.add(asyncio.get_running_loop())\n return len(loops)", "", result("1"), "", false},
		"awaitable":      {"awaitable.py", "class A:\n def __await__(self):\n  return 5\n  yield\ndef main(p, c): return A()", "", result("5"), "", false},
		"generator":      {"generator.py", "def main(p, c):\n yield {'a': 1}\n print('between')\n yield 'x\\ny'\n return 7", "", answer{Kind: wire.WorkerResult, Data: "7", Items: []string{`{"a":1}`, `"x\ny"`}, Stdout: "between\n"}, "", false},
		"async items":    {"agen.py", "async def main(p, c):\n for n in range(3): yield n", "", answer{Kind: wire.WorkerResult, Data: "null", Items: []string{"0", "1", "2"}}, "", false},
		"items, failure": {"gfail.py", "def main(p, c):\n yield 1\n raise ValueError('mid')", "", answer{Kind: wire.WorkerFailure, Failure: "ValueError: mid", Items: []string{"1"}}, "in main", false},
		"bad item":       {"bad_item.py", "def main(p, c):\n yield 1\n yield {1}", "", answer{Kind: wire.WorkerFailure, Failure: "TypeError: Object of type set is not JSON serializable", Items: []string{"1"}}, "", false},
		"prints":         {"prints.py", "import sys\ndef main(p, c):\n print('out')\n print('err', file=sys.stderr)\n print('no end', end='')\n sys.stdout.buffer.write(b'\\xff')", "", answer{Kind: wire.WorkerResult, Data: "null", Stdout: "out\n\xffno end", Stderr: "err\n"}, "", false},
		"prints much":    {"much.py", "def main(p, c): print('x' * 200000)", "", answer{Kind: wire.WorkerResult, Data: "null", Stdout: strings.Repeat("x", 200000) + "\n"}, "", false},
		"closes stdout":  {"closes.py", "import sys\ndef main(p, c):\n print('out')\n sys.stdout.close()", "", answer{Kind: wire.WorkerResult, Data: "null", Stdout: "out\n"}, "", false},
		"replaces them":  {"replaces.py", "import sys, io\ndef main(p, c): sys.stdout = io.StringIO(); print('lost')", "", result("null"), "", false},
		"context":        {"context.py", "def main(p, c): return [c.execution_id, c.action, c.pack, c.secrets, 3500 < c.remaining() <= 3600, c.deadline.tzinfo is not None, c.deadline.timestamp() > 1e9, c.traceparent, c.tracestate]", `{"token":"s","x":1}`, result(`["x1","p.a","p",{"token":"s"},true,true,true,null,null]`), "", false},
		"logger":         {"logs.py", "import logging\nlogging.basicConfig()\ndef main(p, c):\n c.logger.info('hi %s', 1)\n c.logger.debug('no')", "", answer{Kind: wire.WorkerResult, Data: "null", Stderr: "INFO hi 1\n"}, "", false},
		"neighbour":      {"uses.py", "import good\ndef main(p, c): return good.main({'n': 1}, c)", "", result(`{"twice":2}`), "", false},
		"a taken name":   {"other/result.py", "def main(p, c): return 5", "", result("5"), "", false},
		"state is kept":  {"state.py", "n = [0]\ndef main(p, c): n[0] += 1; return n[0] > 0", "", result("true"), "", false},
		"raises":         {"raises.py", "def f(): raise LookupError('lost')\ndef main(p, c): f()", "", failed("LookupError: lost"), "raises.py\", line 1, in f", false},
		"own exception":  {"own.py", "class Mine(Exception): pass\ndef main(p, c): raise Mine('x')", "", failed("own.Mine: x"), "own.Mine: x", false},
		"async raises":   {"araises.py", "async def main(p, c): raise KeyError('k')", "", failed("KeyError: 'k'"), "in main", false},
		"no main":        {"no_main.py", "x = 1", "", failed("TypeError: no_main.py defines no main: a handler is a function main(params, context)"), "", false},
		"main is data":   {"data.py", "main = 5", "", failed("TypeError: data.py has a main of type int: a handler is a function main(params, context)"), "", false},
		"no parameters":  {"noparams.py", "def main(): pass", "", failed("TypeError: main() takes 0 positional arguments but 2 were given"), "", false},
		"no file":        {"missing.py", "", "", failed("FileNotFoundError: [Errno 2] No such file or directory..."), "", false},
		"bad syntax":     {"syntax.py", "def main(:", "", failed("SyntaxError: invalid syntax..."), "line 1", false},
		"import raises":  {"imports.py", "1 / 0", "", failed("ZeroDivisionError: division by zero"), "line 1, in <module>", false},
		"import exits":   {"iexits.py", "import sys; sys.exit(3)", "", failed("SystemExit: the handler called sys.exit(3)"), "", false},
		"not JSON":       {"not_json.py", "def main(p, c): return {1, 2}", "", failed("TypeError: Object of type set is not JSON serializable"), "", false},
		"NaN":            {"nan.py", "def main(p, c): return [float('nan')]", "", failed("ValueError: Out of range float values are not JSON compliant..."), "", false},
		"a circle":       {"circle.py", "def main(p, c):\n a = []\n a.append(a)\n return a", "", failed("ValueError: Circular reference detected"), "", false},
		"exits":          {"exits.py", "import sys\ndef main(p, c): sys.exit('bye')", "", failed("SystemExit: the handler called sys.exit('bye')"), "", false},
		"interrupts":     {"interrupts.py", "def main(p, c): raise KeyboardInterrupt", "", failed("KeyboardInterrupt: "), "", false},
		"async exits":    {"aexits.py", "import sys\nasync def main(p, c): sys.exit(2)", "", failed("SystemExit: the handler called sys.exit(2)"), "", false},
		"bad text":       {"bad_text.py", "class E(Exception):\n def __str__(self): raise ValueError\ndef main(p, c): raise E", "", failed("bad_text.E: its text can't be had: ValueError"), "", false},
		"long texts":     {"long.py", "def main(p, c): raise ValueError('\\0' * 100000)", "", failed("ValueError: \x00..."), "", false},
		"recursion":      {"recursion.py", "def main(p, c): return main(p, c)", "", failed("RecursionError: maximum recursion depth exceeded..."), "", false},
		"threads print":  {"threads.py", "import threading, time\ndef late():\n time.sleep(0.05)\n print('late', end='')\ndef main(p, c): threading.Thread(target=late).start()", "", result("null"), "", false},
		"forks, exits":   {"forks.py", "import os\ndef main(p, c):\n pid = os.fork()\n if pid == 0:\n  print('raw')\n  os._exit(4)\n return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])", "", result("4"), "", false},
		"forks, returns": {"forks2.py", "import os\ndef main(p, c):\n pid = os.fork()\n if pid: os.waitpid(pid, 0)\n return pid > 0", "", result("true"), "", false},
		"pool":           {"pool.py", "import multiprocessing\ndef double(n): return 2 * n\ndef main(p, c):\n with multiprocessing.get_context(p['how']).Pool(1) as pool: return pool.map(double, [1, 2])", `{"how":"fork"}`, result("[2,4]"), "", false},
		"spawned pool":   {"pool2.py", "import multiprocessing\ndef double(n): return 2 * n\ndef main(p, c):\n with multiprocessing.get_context('spawn').Pool(1) as pool: return pool.map(double, [1, 2])", "", result("[2,4]"), "", false},
		"subprocess":     {"sub.py", "import subprocess\ndef main(p, c): return subprocess.run('ls /proc/self/fd | grep -c 3', shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, close_fds=False).stdout.decode().strip() != ''", "", result("true"), "", false},
		"closed loop":    {"closed.py", "import asyncio\nasync def main(p, c): asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)", "", result("null"), "", false},
		"large":          {"large.py", "def main(p, c): return p", `{"a":"` + strings.Repeat("y", 3<<20) + `"}`, result(`{"a":"` + strings.Repeat("y", 3<<20) + `"}`), "", false},
		"huge number":    {"huge.py", "def main(p, c): return 10 ** 5000 > 1", "", result("true"), "", false},
	})
}

// TestPythonWorkerOutputOfDescendants checks that a forked child speaks on the
// process's own stdout, and not on the worker's socket.
func TestPythonWorkerOutputOfDescendants(t *testing.T) {
	t.Parallel()
	r := pythonWorker(t)
	writeFile(t, filepath.Join(r.dir, "a.py"), `
import os, subprocess
def main(p, c):
    pid = os.fork()
    if pid == 0:
        print("from the fork", flush=True)
        try:
            os.fstat(3)
        except OSError:
            print("no descriptor 3", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.run(["echo", "from echo"])
`, 0o644)
	if got := r.call(t, "a.py", "{}"); got.Kind != wire.WorkerResult || got.Stdout != "" {
		t.Fatalf("the call = %+v", got)
	}
	r.conn.Close()
	raw, err := io.ReadAll(r.raw)
	if want := "from the fork\nno descriptor 3\nfrom echo\n"; err != nil || !bytes.Equal(raw, []byte(want)) {
		t.Errorf("on stdout is %q, %v, want %q", raw, err, want)
	}
}

// TestPythonWorkerPreloads checks that modules are there before the first call.
func TestPythonWorkerPreloads(t *testing.T) {
	t.Parallel()
	env := []string{`ATTUNE_PRELOAD=["sqlite3","not_there"]`}
	r := startWorker(t, env, interpreter(t, "python3"), "-u", installedProgram(t, "python/worker.py"))
	writeFile(t, filepath.Join(r.dir, "a.py"), "import os, sys\nthere = 'sqlite3' in sys.modules\ndef main(p, c): return [there, 'ATTUNE_PRELOAD' in os.environ]\n", 0o644)
	if got := r.call(t, "a.py", "{}"); got.Data != "[true,false]" {
		t.Errorf("the call = %+v", got)
	}
	r.conn.Close()
	if raw, err := io.ReadAll(r.raw); err != nil || string(raw) != "preload not_there: ModuleNotFoundError: No module named 'not_there'\n" {
		t.Errorf("on stderr is %q, %v", raw, err)
	}
}

// TestWorkersAnswerManyCalls checks that calls and answers stay in step.
func TestWorkersAnswerManyCalls(t *testing.T) {
	t.Parallel()
	r := pythonWorker(t)
	writeFile(t, filepath.Join(r.dir, "a.py"), "def main(p, c): return p['n']\n", 0o644)
	for n := range 2000 {
		if got := r.call(t, "a.py", fmt.Sprintf(`{"n":%d}`, n)); got.Data != fmt.Sprint(n) {
			t.Fatalf("call %d = %+v", n, got)
		}
	}
}
