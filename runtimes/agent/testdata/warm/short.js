// Prints what it was given.
const fs = require('fs');
const input = fs.readFileSync(0, 'utf8');
console.log('out', input, ...process.argv.slice(2), process.env.GREETING, process.cwd());
console.error('err');
fs.writeFileSync(process.env.HOME + '/left', 'left', { flag: 'wx' });
process.exitCode = Number(process.argv[2]);
