console.log('nobody reads');
