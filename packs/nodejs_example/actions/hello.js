// Greets somebody: parameters come on stdin, the result goes to stdout.
const fs = require('node:fs');
const ms = require('ms');

const { name } = JSON.parse(fs.readFileSync(0, 'utf8'));

console.error(`greeting ${name}`); // stderr is the log

console.log(JSON.stringify({
  greeting: `Hello, ${name}!`,
  node: process.version,
  started_in: ms(Math.round(process.uptime() * 1000)),
}));
