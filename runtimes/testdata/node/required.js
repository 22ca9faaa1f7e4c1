console.log(require('by-node-path').value);
