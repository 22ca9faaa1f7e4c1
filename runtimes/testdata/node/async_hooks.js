const { AsyncLocalStorage, executionAsyncId } = require('async_hooks');
const store = new AsyncLocalStorage();
console.log(executionAsyncId());
store.run(5, () => setImmediate(() => console.log(store.getStore())));
