const crypto = require('crypto');
console.log(crypto.createHash('sha256').update('x').digest('hex'), crypto.getFips());
fetch('http://127.0.0.1:1/').catch((error) => console.log(error.message));
