exports.value = 'found by NODE_PATH';
