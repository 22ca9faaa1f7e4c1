import x from './not-there.mjs';
