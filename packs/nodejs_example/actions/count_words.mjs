// Counts words in a handler: what stands outside of it is done once.
let served = 0;

export default function ({ text }, { logger }) {
  const words = {};
  for (const [word] of text.toLowerCase().matchAll(/[\p{L}\p{N}_]+/gu)) words[word] = (words[word] ?? 0) + 1;
  logger.info('%d words', Object.keys(words).length);
  return { words, served: ++served };
}
