// Where the code runs from its sources, as in tests; in the build the bundle of ./entry.ts has this name.
/* global require */
require('tsx/cjs');
require('./entry.ts');
