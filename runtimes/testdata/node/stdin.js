let text = '';
process.stdin.on('data', (chunk) => { text += chunk; });
process.stdin.on('end', () => console.log(text.length, JSON.parse(text.split('\n')[0]).name, process.argv.slice(2)));
