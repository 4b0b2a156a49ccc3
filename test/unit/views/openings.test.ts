import assert from 'node:assert/strict';
import { Openings } from '../../../src/views/openings';

describe('openings that overlap', () => {
  it('the one started last stays, whichever ends first', () => {
    const openings = new Openings();
    const [first, second] = [openings.start(), openings.start()];
    assert.equal(openings.admit(second), true);
    assert.equal(openings.admit(first), false);
    assert.equal(openings.admit(openings.start()), true);
  });

  it('an earlier one is shown meanwhile, and when the later one fails', () => {
    const openings = new Openings();
    const [first, second] = [openings.start(), openings.start()];
    assert.equal(openings.admit(first), true);
    assert.equal(openings.admit(second), true);
  });
});
