const { fork } = require('child_process');
if (process.argv[2] === 'child') {
  process.send([process.execArgv, process.argv.slice(2)]);
} else {
  const child = fork(__filename, ['child']);
  child.on('message', (m) => { console.log('from the child', m); child.disconnect(); });
  child.on('exit', (code) => console.log('child ended', code));
}
