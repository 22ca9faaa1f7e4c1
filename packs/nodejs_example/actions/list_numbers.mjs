// Writes many results: with output_format jsonl each line is one.
import { json } from 'node:stream/consumers';

const { start, count } = await json(process.stdin);

for (let number = start; number < start + count; number++) {
  console.log(JSON.stringify({ number, square: number * number }));
}
