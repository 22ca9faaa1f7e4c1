console.log(typeof require, this === module.exports);
