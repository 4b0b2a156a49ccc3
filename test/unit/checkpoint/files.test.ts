import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readBytes } from '../../../src/checkpoint/byteSource';
import { mapConcurrently } from '../../../src/checkpoint/concurrent';
import { openFile } from '../../../src/checkpoint/fileSource';
import { localStore } from '../../../src/checkpoint/localStore';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { isAbort, UserError } from '../../../src/errors';
import { inFolder, userError } from './support';

describe('openFile', () => {
  it('reads any range and nothing outside', () => inFolder(async folder => {
    const path = join(folder, 'a.bin');
    await writeFile(path, 'abcdef');
    const source = await openFile(path);
    try {
      assert.deepEqual([source.name, source.path, source.size], [path, path, 6]);
      assert.equal(Buffer.from(await readBytes(source, 2, 3)).toString(), 'cde');
      assert.equal((await readBytes(source, 6, 0)).length, 0);
      await assert.rejects(readBytes(source, 4, 3), userError(/Bytes 4 to 7 lie outside .*6 bytes long/));
      await assert.rejects(readBytes(source, -1, 3), userError(/lie outside/));
      await assert.rejects(readBytes(source, 0, 3, AbortSignal.abort()), isAbort);
      await truncate(path, 3);
      await assert.rejects(readBytes(source, 0, 6), userError(/ended at byte 3 although it was 6 bytes/));
    } finally {
      await source.close();
    }
  }));

  it('says why a file cannot be opened', () => inFolder(async folder => {
    await writeFile(join(folder, 'file'), '');
    await symlink('blobs/gone', join(folder, 'dangling'));
    await symlink('loop', join(folder, 'loop'));
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    await assert.rejects(openFile(join(folder, 'none'), 'none'), userError(/^none does not exist\.$/));
    await assert.rejects(openFile(join(folder, 'file/below'), 'file/below'), userError(/part of its path is a file/));
    await assert.rejects(openFile(folder, 'folder'), userError(/^folder is a folder, not a file/));
    await assert.rejects(openFile(join(folder, 'dangling'), 'dangling'), userError(/symbolic link to blobs\/gone, which does not exist/));
    await assert.rejects(openFile(join(folder, 'loop'), 'loop'), userError(/leads back to itself/));
    await assert.rejects(openFile(join(folder, 'pipe'), 'pipe'), userError(/not a regular file/));
  }));
});

describe('permissions', () => {
  /** The superuser may read everything, so the test puts that off meanwhile. */
  async function asNobody(use: () => Promise<void>): Promise<void> {
    const user = process.geteuid?.();
    if (user === 0) process.seteuid?.(65534);
    try {
      await use();
    } finally {
      if (user === 0) process.seteuid?.(0);
    }
  }

  it('are told as such, for files and for folders', () => inFolder(async folder => {
    await chmod(folder, 0o755);
    await writeFile(join(folder, 'closed.bin'), 'x', { mode: 0 });
    await mkdir(join(folder, 'closed'));
    await writeFile(join(folder, 'closed/model.safetensors'), 'x');
    await chmod(join(folder, 'closed'), 0);
    await asNobody(async () => {
      await assert.rejects(openFile(join(folder, 'closed.bin'), 'closed.bin'), userError(/^closed\.bin may not be read: your user has no permission/));
      await assert.rejects(localStore(join(folder, 'closed')).list(), userError(/closed may not be read: .*this folder/));
      await assert.rejects(openCheckpoint(join(folder, 'closed')), userError(/closed may not be read/));
      await assert.rejects(openCheckpoint(join(folder, 'closed/model.safetensors')), userError(/model\.safetensors may not be read/));
    });
    await chmod(join(folder, 'closed'), 0o755);
  }));
});

describe('localStore', () => {
  it('lists the files directly inside, links of a Hugging Face cache included', () => inFolder(async folder => {
    await mkdir(join(folder, 'blobs'));
    await mkdir(join(folder, 'snapshots/rev'), { recursive: true });
    await writeFile(join(folder, 'blobs/123'), 'weights');
    await symlink('../../blobs/123', join(folder, 'snapshots/rev/model.safetensors'));
    await symlink('../../blobs/gone', join(folder, 'snapshots/rev/gone.safetensors'));
    await writeFile(join(folder, 'snapshots/rev/config.json'), '{}');
    const store = localStore(join(folder, 'snapshots/rev'));
    assert.deepEqual(await store.list(), [{ name: 'config.json', size: 2 }, { name: 'model.safetensors', size: 7 }]);
    const source = await store.open('model.safetensors');
    assert.equal(Buffer.from(await readBytes(source, 0, source.size)).toString(), 'weights');
    assert.equal(source.name, 'model.safetensors');
    await source.close();
  }));

  it('never leads out of its folder by a name', () => inFolder(async folder => {
    await mkdir(join(folder, 'inside/unet'), { recursive: true });
    await writeFile(join(folder, 'secret'), 'x');
    await writeFile(join(folder, 'inside/unet/..model'), 'x');
    const store = localStore(join(folder, 'inside'));
    for (const name of ['../secret', 'unet/../../secret', '..', join(folder, 'secret'), '..\\secret', 'C:\\secret', 'c:secret', '\\\\host\\share', '', 'a\0b', 'a\nb']) {
      await assert.rejects(store.open(name), userError(/is refused: it does not lie inside/), name);
    }
    await (await store.open('unet/..model')).close();
  }));

  it('says why a folder cannot be listed', () => inFolder(async folder => {
    await writeFile(join(folder, 'file'), '');
    await assert.rejects(localStore(join(folder, 'none')).list(), userError(/none does not exist/));
    await assert.rejects(localStore(join(folder, 'file')).list(), userError(/is a file, not a folder/));
  }));
});

describe('mapConcurrently', () => {
  it('keeps the order and the limit', async () => {
    let underWay = 0;
    let most = 0;
    const result = await mapConcurrently([5, 1, 4, 2, 3], 2, async number => {
      most = Math.max(most, ++underWay);
      await new Promise(done => setTimeout(done, number));
      underWay--;
      return number * 2;
    });
    assert.deepEqual(result, [10, 2, 8, 4, 6]);
    assert.equal(most, 2);
  });

  it('throws the first failure after the calls under way, and begins no more', async () => {
    const begun: number[] = [];
    const ended: number[] = [];
    await assert.rejects(mapConcurrently([0, 1, 2, 3], 2, async number => {
      begun.push(number);
      if (number === 0) throw new UserError('No.');
      await new Promise(done => setTimeout(done, 5));
      ended.push(number);
    }), userError(/^No\.$/));
    assert.deepEqual([begun, ended], [[0, 1], [1]]);
  });
});
