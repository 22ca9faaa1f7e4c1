for (const s of [process.stdout, process.stderr]) console.log(s.fd, s.isTTY, s.constructor.name, s.writableHighWaterMark, s._type);
console.log(process.stdin.fd, process.stdin.isTTY, process.stdin.constructor.name);
