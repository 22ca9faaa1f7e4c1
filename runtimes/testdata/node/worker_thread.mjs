import { Worker, isMainThread, parentPort } from 'node:worker_threads';
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url));
  worker.on('message', (m) => console.log('from the thread', m));
} else {
  parentPort.postMessage([process.execArgv, process.argv.length]);
}
