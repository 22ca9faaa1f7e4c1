process.on('beforeExit', () => console.log('never'));
console.log('out');
process.exit(7);
