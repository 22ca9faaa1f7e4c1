console.log(Object.getOwnPropertyNames(globalThis).sort().join());
console.log(process.eventNames(), process._getActiveHandles().length, process._getActiveRequests().length);
const Module = require('module');
console.log(Object.getOwnPropertyNames(Module).sort().join(), Object.keys(Module._pathCache).length, Module.globalPaths);
console.log(Module._findPath.name, Module._resolveFilename.name, Module._resolveFilename.length, Error.stackTraceLimit, typeof Error.prepareStackTrace);
console.log(new Error('x').stack);
