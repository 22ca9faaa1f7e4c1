import fs from 'node:fs';
import neighbour from './neighbour.js';
console.log(import.meta.url, import.meta.dirname, import.meta.filename, process.argv.slice(1), typeof require, neighbour.value);
console.log(await new Promise((resolve) => setTimeout(resolve, 1, 'top-level await')), import.meta.main);
console.log(import.meta.resolve('./neighbour.js'), fs.existsSync(new URL(import.meta.url)));
