console.log('waits');
await new Promise(() => {});
