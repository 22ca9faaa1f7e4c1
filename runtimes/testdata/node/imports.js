import('node:path').then((path) => console.log(path.basename(__filename)));
import('./module_.mjs').catch((error) => console.log(error));
