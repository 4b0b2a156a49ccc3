import assert from 'node:assert/strict';
import { UserError } from '../../../src/errors';
import { Threads } from '../../../src/extraction/thread/threads';
import type { CopyJob } from '../../../src/extraction/thread/messages';

/** A copy that waits for bytes which only the caller can bring. */
const WAITING: CopyJob = {
  kind: 'copy', out: -1, position: 0, written: undefined, fileCrc: undefined, tensorCrcs: false,
  parts: [{ kind: 'tensor', index: 0, source: { id: 1, length: 8, file: undefined }, from: 'F32', to: 'F32' }],
};

describe('the threads that copy', () => {
  it('end a job in a sentence when they die in the middle of it, and take no other', async () => {
    const threads = new Threads(1);
    const options = { signal: undefined, onAdvance: () => undefined };
    const died = (error: unknown): boolean => error instanceof UserError && error.message.startsWith('A thread that reads and writes the tensors has died');
    let asked = (): void => undefined;
    const asking = new Promise<void>(resolve => { asked = resolve; });
    const running = assert.rejects(threads.run(WAITING, { ...options, pull: () => { asked(); return new Promise(() => undefined); } }), died);
    await asking;
    await threads.close();
    await running;
    await assert.rejects(threads.run(WAITING, { ...options, pull: () => Promise.resolve() }), died);
  });
});
