process.exitCode = 6;
process.on('exit', (code) => console.log('exit', code));
