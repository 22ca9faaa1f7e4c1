// The same as an ES module: import, and await at the top.
import { text } from 'node:stream/consumers';
import { nanoid } from 'nanoid';

const { name } = JSON.parse(await text(process.stdin));

console.log(JSON.stringify({ greeting: `Hello, ${name}!`, id: nanoid() }));
