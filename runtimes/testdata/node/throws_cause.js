const error = new Error('outer', { cause: new Error('inner') });
error.code = 'EX';
throw error;
