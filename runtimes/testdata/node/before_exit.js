process.once('beforeExit', (code) => { console.log('before exit', code); setImmediate(() => console.log('once more')); });
