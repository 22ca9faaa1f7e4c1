const { spawnSync } = require('child_process');
console.log(spawnSync('ls', ['/proc/self/fd'], { encoding: 'utf8' }).stdout.split('\n').filter((fd) => fd && fd < 5));
