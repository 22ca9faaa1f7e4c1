console.log(require.main === module, module.id, __filename, __dirname, module.parent, module.paths, module.children.length, process.mainModule === module);
console.log(process.argv, process.execArgv, process.argv0, process.title, process.cwd(), process.execPath);
console.log(Object.keys(require.cache), module.filename, module.loaded);
console.log(require('./neighbour').value, module.children.map((m) => m.id));
