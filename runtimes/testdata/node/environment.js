console.log(Object.entries(process.env).sort());
console.log(require('child_process').execSync('env | sort').toString());
console.log(new Date(0).toString());
