exports.value = 'the file beside';
