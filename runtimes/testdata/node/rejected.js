Promise.reject(new Error('nobody cared'));
setTimeout(() => console.log('never printed'), 50);
