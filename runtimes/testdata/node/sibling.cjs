console.log(require.main === module, typeof exports);
