console.log(typeof require, this, import.meta.url.endsWith('/typed.js'));
