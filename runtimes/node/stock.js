'use strict';
// The stocked process: `node --require stock.js stock.js`, started beforehand and
// used once. It waits in a read of descriptor 3 until the agent writes one JSON
// line {"argv": [file, ...], "dir", "env"} and closes; then Node runs the file as
// `node file` would. Being required before the main module, instead of being it,
// leaves everything to Node: which kind of module the file is, its stack traces,
// and how the process ends. The agent that hangs up without a word ends it.

const { isMainThread } = require('worker_threads');
const Module = require('module');

function waitForOrder(fs) {
  const chunks = [];
  const chunk = Buffer.allocUnsafe(64 << 10);
  for (let size; (size = fs.readSync(3, chunk)) > 0;) chunks.push(Buffer.from(chunk.subarray(0, size)));
  fs.closeSync(3);
  return chunks.length ? JSON.parse(Buffer.concat(chunks)) : process.reallyExit(0);
}

// warmUp loads what scripts commonly use. It shows nowhere but in time.
function warmUp() {
  for (const name of ['assert', 'child_process', 'crypto', 'events', 'fs/promises', 'http', 'https', 'os', 'path',
    'stream/promises', 'timers/promises', 'url', 'util', 'zlib']) require(name);
}

function take({ argv, dir, env }) {
  for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
  Object.assign(process.env, env);
  process.chdir(dir);
  process.argv.splice(1, process.argv.length, ...argv);
  const at = process.execArgv.lastIndexOf('--require');
  process.execArgv.splice(at, 2);
  Module._initPaths(); // NODE_PATH and HOME
  swap('_findPath', argv[0]);
  swap('_resolveFilename', argv[0]);
}

// swap puts another file in the main module's place: Node has taken note of
// ours before this file was required. Once only, and no trace is left.
function swap(method, file) {
  const original = Module[method];
  Module[method] = function (request, parent, isMain, ...rest) {
    Module[method] = original;
    return original.call(this, isMain === true || parent === null ? file : request, parent, isMain, ...rest);
  };
}

delete require.cache[__filename];
module.parent?.children?.pop();
if (isMainThread) { // threads of scripts get all that was required beforehand
  warmUp();
  take(waitForOrder(require('fs')));
}
