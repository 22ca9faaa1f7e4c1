process.stdout.write('x'.repeat(300000) + '\n');
console.error('done');
