// Mocha's spec output, and at the end the counts as JSON in the file that TEST_REPORT names.
const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      writeFileSync(process.env.TEST_REPORT, JSON.stringify({ passed: passes, failed: failures, skipped: pending }));
    });
  }
};
