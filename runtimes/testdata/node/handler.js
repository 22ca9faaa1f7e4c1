process.on('uncaughtException', (error, origin) => console.log('caught', error.message, origin));
setImmediate(() => console.log('goes on'));
throw new Error('x');
