'use strict';
// The worker: calls the handler of an action's file, (params, context), one call
// at a time. Descriptor 3 is a stream socket to the gateway. Both ways go frames:
// length of the payload (4 bytes, big-endian), type (1 byte), payload.
// docs/handlers.md says what a handler may do, and runtimes/agent/worker.md what
// the frames mean. A handler's mistakes are failures of its call; only after an
// uncaught exception, when nobody knows what else is wrong, the worker ends.

const fs = require('fs');
const net = require('net');
const path = require('path');
const { Writable } = require('stream');
const { pathToFileURL } = require('url');
const { inspect, formatWithOptions } = require('util');

const STDOUT = 2, STDERR = 3, RESULT = 4, TEXT = 5, FAILURE = 6, READY = 7, ITEM = 8;
const MAX_CHUNK = 64 << 10; // of output
const MAX_FAILURE = 60 << 10; // the gateway takes a little more
const MAX_RESULT = 64 << 20; // the gateway takes less, and says so itself
const MAX_QUEUED = 1 << 20; // items that wait for the gateway

const socket = new net.Socket({ fd: 3 });
const handlers = new Map(); // file -> handler
let running = null; // the call, whose output is sent; between calls there is none

function frame(kind, payload) {
  const size = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
  const bytes = Buffer.allocUnsafe(5 + size);
  bytes.writeUInt32BE(size, 0);
  bytes[4] = kind;
  if (typeof payload === 'string') bytes.utf8Write(payload, 5, size);
  else bytes.set(payload, 5);
  return bytes;
}

// stream is what process.stdout and process.stderr are: frames of the running
// call. Like the real ones it can't be closed.
function stream(kind) {
  const made = new Writable({
    decodeStrings: true,
    write(chunk, _, done) {
      for (let at = 0; running && at < chunk.length; at += MAX_CHUNK) {
        socket.write(frame(kind, chunk.subarray(at, at + MAX_CHUNK)));
      }
      done();
    },
  });
  made.fd = kind - 1;
  made.destroySoon = made.destroy = () => made;
  made.end = (chunk, encoding, done) => {
    if (chunk != null && typeof chunk !== 'function') made.write(chunk, typeof encoding === 'string' ? encoding : undefined);
    for (const f of [chunk, encoding, done]) if (typeof f === 'function') process.nextTick(f);
    return made;
  };
  return made;
}

for (const [name, kind] of [['stdout', STDOUT], ['stderr', STDERR]]) {
  const made = stream(kind);
  Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => made });
}

const logger = {};
for (const level of ['debug', 'info', 'warn', 'error']) {
  logger[level] = (...args) => {
    if (level !== 'debug') process.stderr.write(`${level.toUpperCase()} ${formatWithOptions({ colors: false }, ...args)}\n`);
  };
}

// Context is what a handler knows about its call.
class Context {
  #deadline;

  constructor(call) {
    this.executionId = call.id;
    this.action = call.action;
    this.pack = call.pack;
    this.secrets = {};
    for (const name of call.secrets) if (Object.hasOwn(call.parameters, name)) this.secrets[name] = call.parameters[name];
    this.traceparent = call.traceparent ?? null; // W3C Trace Context; null = no trace
    this.tracestate = call.tracestate ?? null;
    this.#deadline = call.deadline;
  }

  // deadline is when the call is given up, a Date; null = never.
  get deadline() { return this.#deadline === undefined ? null : new Date(this.#deadline * 1000); }

  // remaining is in seconds, at least 0.
  remaining() { return this.#deadline === undefined ? Infinity : Math.max(0, this.#deadline - Date.now() / 1000); }

  // logger writes to stderr, from info on.
  get logger() { return logger; }
}

async function load(file) {
  const module = await import(pathToFileURL(file).href);
  let handler = module.default;
  if (typeof handler !== 'function' && typeof handler?.default === 'function') handler = handler.default; // compiled from ESM
  if (typeof handler !== 'function') {
    throw new TypeError(`${path.basename(file)} exports no handler: module.exports or the default export must be a function (params, context)`);
  }
  handlers.set(file, handler);
  return handler;
}

function take(payload) {
  const call = running = {};
  let result;
  try {
    const message = JSON.parse(payload);
    const handler = handlers.get(message.file);
    if (handler) {
      result = handler(message.parameters, new Context(message));
    } else {
      result = load(message.file).then((loaded) => loaded(message.parameters, new Context(message)));
    }
  } catch (error) {
    return end(call, FAILURE, failure(error));
  }
  if (isPlain(result)) return finish(call, result);
  settle(call, result).then((value) => finish(call, value), (error) => end(call, FAILURE, failure(error)));
}

// isPlain tells whether a result is one already.
function isPlain(result) {
  return result === null || typeof result !== 'object' && typeof result !== 'function' ||
    typeof result.then !== 'function' && typeof result.next !== 'function';
}

// settle waits for what isn't a result yet, and sends what a generator yields;
// the generator's return value is the result.
async function settle(call, result) {
  result = await result;
  if (isPlain(result) || !result[Symbol.asyncIterator] && !result[Symbol.iterator]) return result;
  for (;;) {
    const { done, value } = await result.next();
    if (done) return value;
    const item = json(await value);
    if (call !== running) throw new Error('the call is over');
    if (!socket.write(frame(ITEM, item)) && socket.writableLength > MAX_QUEUED) {
      await new Promise((resolve) => socket.once('drain', resolve));
    }
  }
}

function json(value) {
  const text = value === undefined ? 'null' : JSON.stringify(value);
  if (text === undefined) throw new TypeError(`a ${typeof value} can't be written as JSON`);
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError(`${value} can't be written as JSON`);
  if (text.length > MAX_RESULT) throw new RangeError(`a result of ${text.length} bytes is more than ${MAX_RESULT}`);
  return text;
}

function finish(call, value) {
  try {
    if (typeof value === 'string') end(call, TEXT, value);
    else if (value instanceof Uint8Array) end(call, TEXT, new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value));
    else end(call, RESULT, json(value));
  } catch (error) {
    end(call, FAILURE, failure(error));
  }
}

// end answers a call, unless it was answered already. A success waits for the
// rejections that nobody handles: Node tells of them when microtasks are done.
function end(call, kind, payload) {
  if (kind !== FAILURE) return setImmediate(answer, call, kind, payload);
  answer(call, kind, payload);
}

function answer(call, kind, payload) {
  if (call !== running) return;
  running = null;
  socket.write(frame(kind, payload));
}

// failure describes what was thrown, whatever it is.
function failure(error) {
  let type = typeof error, message, traceback = '';
  try {
    if (error instanceof Error || error?.stack !== undefined && error?.message !== undefined) {
      type = String(error.name || error.constructor?.name || 'Error');
      message = String(error.message);
      traceback = error.cause === undefined ? String(error.stack) : inspect(error);
    } else {
      message = inspect(error);
    }
  } catch (fault) {
    message = 'its text can\'t be had';
  }
  const lines = traceback.split('\n').filter((line) => !line.includes(__filename));
  while (/^ +at .*node:internal/.test(lines.at(-1))) lines.pop();
  traceback = lines.join('\n') + (traceback && '\n');
  for (let room = 32 << 10; ; room >>= 1) {
    const text = JSON.stringify({ type: type.slice(0, 256), message: message.slice(0, room >> 3), traceback: traceback.slice(0, room) });
    if (Buffer.byteLength(text) <= MAX_FAILURE) return text;
  }
}

// A worker that ends in a call says why, as far as the socket takes it at once.
function lastWords(error) {
  if (!running || socket.writableLength > 0) return;
  running = null;
  try {
    fs.writeSync(3, frame(FAILURE, failure(error)));
  } catch {
    // The gateway sees that the worker has ended.
  }
}

process.on('unhandledRejection', (reason) => { if (running) end(running, FAILURE, failure(reason)); });
process.on('uncaughtException', (error) => {
  if (!running) return process.exit(1);
  end(running, FAILURE, failure(error));
  socket.end(() => process.exit(1));
});
process.on('exit', (code) => lastWords(new Error(`the handler ended the process with exit code ${code}`)));

let pending = [], size = 0; // what has come of a frame

socket.on('data', (chunk) => {
  pending.push(chunk);
  size += chunk.length;
  if (size < 5) return;
  if (pending[0].length < 5) pending = [Buffer.concat(pending)];
  if (size < 5 + pending[0].readUInt32BE(0)) return;
  const whole = pending.length === 1 ? pending[0] : Buffer.concat(pending);
  pending = [];
  size = 0;
  take(whole.toString('utf8', 5));
});
socket.on('end', () => process.reallyExit(0));
socket.on('error', () => process.reallyExit(0)); // the gateway is gone

const preload = JSON.parse(process.env.ATTUNE_PRELOAD ?? '[]');
delete process.env.ATTUNE_PRELOAD;
(async () => {
  const from = require('module').createRequire(path.join(process.cwd(), 'package.json'));
  for (const name of preload) {
    try {
      from(name);
    } catch {
      await import(name).catch(() => {}); // a call says best what is wrong with it
    }
  }
  socket.write(frame(READY, ''));
})();
