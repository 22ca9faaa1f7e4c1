package runtimes

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"attune/runtimes/agent/wire"
)

func nodeWorker(t *testing.T) *workerRig {
	t.Helper()
	return startWorker(t, []string{"LANG=C.UTF-8"}, interpreter(t, "node"), installedProgram(t, "node/worker.js"))
}

// TestNodeWorker is the contract of docs/handlers.md, and what handlers do
// against it.
func TestNodeWorker(t *testing.T) {
	t.Parallel()
	interpreter(t, "node")
	const good = "module.exports = (params, context) => ({ twice: 2 * params.n });\n"
	handlers(t, func() *workerRig { return nodeWorker(t) }, "good.js", good, map[string]handlerTest{
		"a result":       {"result.js", "module.exports = (p) => [p, 1.5, null, true, 'ü'];", `{"a":"ß"}`, result(`[{"a":"ß"},1.5,null,true,"ü"]`), "", false},
		"an ES module":   {"esm.mjs", "import path from 'node:path';\nexport default (p) => path.join('a', p.a);", `{"a":"b"}`, textual("a/b"), "", false},
		"top-level":      {"await.mjs", "const n = await 5;\nexport default () => n;", "", result("5"), "", false},
		"compiled":       {"compiled.cjs", "exports.__esModule = true; exports.default = () => 1;", "", result("1"), "", false},
		"nothing":        {"nothing.js", "module.exports = () => {};", "", result("null"), "", false},
		"text":           {"text.js", "module.exports = () => 'grüß\\ndich';", "", textual("grüß\ndich"), "", false},
		"bytes":          {"bytes.js", "module.exports = () => Buffer.from('abc');", "", textual("abc"), "", false},
		"bad bytes":      {"bad_bytes.js", "module.exports = () => Buffer.from([255]);", "", failed("TypeError: The encoded data was not valid for encoding utf-8"), "", false},
		"half a pair":    {"half.js", "module.exports = () => ['\\ud800'];", "", result(`["\ud800"]`), "", false},
		"async":          {"async.js", "module.exports = async (p) => { await new Promise((r) => setTimeout(r, 1)); return p; };", `{"a":1}`, result(`{"a":1}`), "", false},
		"thenable":       {"then.js", "module.exports = () => ({ then(f) { f(5); } });", "", result("5"), "", false},
		"generator":      {"generator.js", "module.exports = function* () { yield { a: 1 }; console.log('between'); yield 'x\\ny'; return 7; };", "", answer{Kind: wire.WorkerResult, Data: "7", Items: []string{`{"a":1}`, `"x\ny"`}, Stdout: "between\n"}, "", false},
		"async items":    {"agen.js", "module.exports = async function* () { for (let n = 0; n < 3; n++) yield n; };", "", answer{Kind: wire.WorkerResult, Data: "null", Items: []string{"0", "1", "2"}}, "", false},
		"items, failure": {"gfail.js", "module.exports = function* () { yield 1; throw new RangeError('mid'); };", "", answer{Kind: wire.WorkerFailure, Failure: "RangeError: mid", Items: []string{"1"}}, "gfail.js:1", false},
		"bad item":       {"bad_item.js", "module.exports = function* () { yield 1; yield 1n; };", "", answer{Kind: wire.WorkerFailure, Failure: "TypeError: Do not know how to serialize a BigInt", Items: []string{"1"}}, "", false},
		"prints":         {"prints.js", "module.exports = () => { console.log('out %d', 1); console.error('err'); process.stdout.write('no end'); };", "", answer{Kind: wire.WorkerResult, Data: "null", Stdout: "out 1\nno end", Stderr: "err\n"}, "", false},
		"prints much":    {"much.js", "module.exports = () => { console.log('x'.repeat(200000)); };", "", answer{Kind: wire.WorkerResult, Data: "null", Stdout: strings.Repeat("x", 200000) + "\n"}, "", false},
		"ends stdout":    {"ends.js", "module.exports = () => { process.stdout.end('out\\n'); process.stdout.destroy(); };", "", answer{Kind: wire.WorkerResult, Data: "null", Stdout: "out\n"}, "", false},
		"context":        {"context.js", "module.exports = (p, c) => [c.executionId, c.action, c.pack, c.secrets, c.remaining() > 3500 && c.remaining() < 3601, c.deadline instanceof Date, c.deadline > new Date(), c.traceparent, c.tracestate];", `{"token":"s","x":1}`, result(`["x1","p.a","p",{"token":"s"},true,true,true,null,null]`), "", false},
		"logger":         {"logs.js", "module.exports = (p, { logger }) => { logger.info('hi %s', 1); logger.debug('no'); logger.error(new RangeError('x').message); };", "", answer{Kind: wire.WorkerResult, Data: "null", Stderr: "INFO hi 1\nERROR x\n"}, "", false},
		"neighbour":      {"uses.js", "const good = require('./good');\nmodule.exports = (p, c) => good({ n: 1 }, c);", "", result(`{"twice":2}`), "", false},
		"state is kept":  {"state.js", "let n = 0;\nmodule.exports = () => ++n > 0;", "", result("true"), "", false},
		"raises":         {"raises.js", "function f() { throw new RangeError('lost'); }\nmodule.exports = () => f();", "", failed("RangeError: lost"), "at f (", false},
		"own error":      {"own.js", "class Mine extends Error { name = 'Mine'; }\nmodule.exports = () => { throw new Mine('x'); };", "", failed("Mine: x"), "own.js:2", false},
		"a cause":        {"cause.js", "module.exports = () => { throw new Error('x', { cause: new Error('deep') }); };", "", failed("Error: x"), "deep", false},
		"async raises":   {"araises.js", "module.exports = async () => { await null; throw new TypeError('k'); };", "", failed("TypeError: k"), "araises.js:1", false},
		"throws text":    {"ttext.js", "module.exports = () => { throw 'just text'; };", "", failed("string: 'just text'"), "", false},
		"throws nothing": {"tnull.js", "module.exports = () => { throw undefined; };", "", failed("undefined: undefined"), "", false},
		"no handler":     {"none.js", "exports.main = () => 1;", "", failed("TypeError: none.js exports no handler: module.exports or the default export must be a function (params, context)"), "", false},
		"no file":        {"missing.js", "", "", failed("Error: Cannot find module..."), "", false},
		"bad syntax":     {"syntax.js", "module.exports = (", "", failed("SyntaxError: Unexpected..."), "", false},
		"import raises":  {"imports.js", "throw new RangeError('at import');", "", failed("RangeError: at import"), "imports.js:1", false},
		"a function":     {"function.js", "module.exports = () => () => 1;", "", failed("TypeError: a function can't be written as JSON"), "", false},
		"NaN":            {"nan.js", "module.exports = () => NaN;", "", failed("TypeError: NaN can't be written as JSON"), "", false},
		"NaN inside":     {"nan2.js", "module.exports = () => [NaN];", "", result("[null]"), "", false},
		"BigInt":         {"bigint.js", "module.exports = () => [1n];", "", failed("TypeError: Do not know how to serialize a BigInt"), "", false},
		"a circle":       {"circle.js", "module.exports = () => { const a = []; a.push(a); return a; };", "", failed("TypeError: Converting circular structure to JSON..."), "", false},
		"bad toJSON":     {"tojson.js", "module.exports = () => ({ toJSON() { throw new Error('no'); } });", "", failed("Error: no"), "", false},
		"long texts":     {"long.js", "module.exports = () => { throw new Error('\\0'.repeat(100000)); };", "", failed("Error: \x00..."), "", false},
		"unhandled":      {"unhandled.js", "module.exports = async () => { Promise.reject(new Error('nobody cared')); await new Promise((r) => setTimeout(r, 5)); return 1; };", "", failed("Error: nobody cared"), "unhandled.js:1", false},
		"unhandled last": {"unhandled2.js", "module.exports = () => { Promise.reject(new Error('nobody cared')); return 1; };", "", failed("Error: nobody cared"), "", false},
		"prints late":    {"late.js", "module.exports = () => { setTimeout(() => console.log('late'), 20); };", "", result("null"), "", false},
		"spawns":         {"spawns.js", "const { spawnSync } = require('child_process');\nmodule.exports = () => spawnSync('sh', ['-c', 'test -e /proc/self/fd/3; echo $?'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).stdout.trim();", "", textual("1"), "", false},
		"large":          {"large.js", "module.exports = (p) => p;", `{"a":"` + strings.Repeat("y", 3<<20) + `"}`, result(`{"a":"` + strings.Repeat("y", 3<<20) + `"}`), "", false},
		"uncaught":       {"uncaught.js", "module.exports = () => new Promise(() => setTimeout(() => { throw new RangeError('uncaught'); }, 1));", "", failed("RangeError: uncaught"), "uncaught.js:1", true},
		"exits":          {"exits.js", "module.exports = () => process.exit(3);", "", failed("Error: the handler ended the process with exit code 3"), "", true},
	})
}

// TestNodeWorkerPreloads checks that modules are there before the first call.
func TestNodeWorkerPreloads(t *testing.T) {
	t.Parallel()
	lib := t.TempDir()
	writeFile(t, filepath.Join(lib, "loaded.js"), "globalThis.loaded = true;\n", 0o644)
	r := startWorker(t, []string{`ATTUNE_PRELOAD=["` + lib + `/loaded.js","not_there"]`}, interpreter(t, "node"), installedProgram(t, "node/worker.js"))
	writeFile(t, filepath.Join(r.dir, "a.js"), "module.exports = () => [globalThis.loaded, 'ATTUNE_PRELOAD' in process.env];\n", 0o644)
	if got := r.call(t, "a.js", "{}"); got.Data != "[true,false]" {
		t.Errorf("the call = %+v", got)
	}
	r.conn.Close()
	if raw, err := io.ReadAll(r.raw); err != nil || len(raw) != 0 {
		t.Errorf("on stdout is %q, %v", raw, err)
	}
}
