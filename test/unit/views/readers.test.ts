import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { extract } from '../../../src/extraction/extract';
import { companionFiles, openJob, validated } from '../../../src/job';
import { Readers } from '../../../src/views/readers';

const TINY = join(import.meta.dirname, '../../fixtures/qwen-vl-tiny-safetensors');

describe('readers of a checkpoint', () => {
  let checkpoint: Checkpoint;
  let isOpen: () => Promise<boolean>;

  beforeEach(async () => {
    checkpoint = await openCheckpoint(TINY);
    const source = checkpoint.files[0]?.source;
    isOpen = async () => source?.readInto(new Uint8Array(8), 0).then(() => true, () => false) ?? false;
  });

  it('an extraction goes on after its checkpoint was closed in favour of another', async () => {
    const readers = new Readers();
    const job = await openJob(checkpoint);
    const folder = await mkdtemp(join(tmpdir(), 'readers-'));
    try {
      const result = await readers.read(checkpoint, async () => {
        await readers.close(checkpoint);
        return extract(job.plan, validated(job).validation, { ...(await companionFiles(job)), out: join(folder, 'out'), format: 'safetensors', dtype: 'keep', overwrite: false });
      });
      assert.equal(result.tensors, job.plan.kept.length);
      assert.equal(await isOpen(), false);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('closes at once what nobody reads, and with the last of several readers', async () => {
    const readers = new Readers();
    let endFirst = (): void => undefined;
    let endSecond = (): void => undefined;
    const first = readers.read(checkpoint, () => new Promise<void>(resolve => { endFirst = resolve; }));
    const second = readers.read(checkpoint, () => new Promise<void>(resolve => { endSecond = resolve; }));
    await readers.close(checkpoint);
    endFirst();
    await first;
    assert.equal(await isOpen(), true);
    endSecond();
    await second;
    assert.equal(await isOpen(), false);

    const other = await openCheckpoint(TINY);
    await readers.close(other);
    await assert.rejects(async () => other.files[0]?.source.readInto(new Uint8Array(8), 0));
  });

  it('closes after a reader that failed, and stays open when nobody asked to close', async () => {
    const readers = new Readers();
    await assert.rejects(readers.read(checkpoint, () => Promise.reject(new Error('broken'))), /broken/);
    assert.equal(await isOpen(), true);
    await assert.rejects(readers.read(checkpoint, async () => {
      await readers.close(checkpoint);
      throw new Error('broken again');
    }), /broken again/);
    assert.equal(await isOpen(), false);
  });
});
