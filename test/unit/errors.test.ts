import assert from 'node:assert/strict';
import { isAbort, systemErrorCode, UserError } from '../../src/errors';

describe('errors', () => {
  it('tells a cancelled run from a failure', () => {
    const controller = new AbortController();
    controller.abort();
    assert.throws(() => { controller.signal.throwIfAborted(); }, isAbort);
    assert.equal(isAbort(new UserError('The file is cut off.')), false);
  });

  it('reads the code of a system error and of nothing else', () => {
    assert.equal(systemErrorCode(Object.assign(new Error('no'), { code: 'ENOSPC' })), 'ENOSPC');
    assert.equal(systemErrorCode(new Error('no')), undefined);
    assert.equal(systemErrorCode('ENOSPC'), undefined);
  });
});
