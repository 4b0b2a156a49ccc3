import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors } from '../../../src/checkpoint/safetensors';
import { encodeFolder, type FolderRequest } from '../../../src/batch/encodeFolder';
import type { EncoderModel } from '../../../src/encoder/model';
import { Disk, type Left } from '../../powerCut/disk';
import { readTree, record, writeTree } from '../../powerCut/record';
import { MemorySource } from '../checkpoint/memorySource';
import { tinyModel } from '../encoder/fixture';
import { fakeEncoder, request, valueOf, writePicture, type IndexJson } from './support';

/** Of the states, each so manyth is gone on from. */
const SAMPLE = 11;

describe('a power cut at any moment of a run over a folder', function () {
  this.timeout(120_000);
  let scratch: string;
  let root: string;
  let folder: string;
  let model: EncoderModel;
  /** What each picture has ever said, as the fake encoder's number. */
  const said = new Map<string, Set<number>>();

  before(async () => {
    model = await tinyModel('qwen-vl-tiny-bin');
    scratch = await mkdtemp(join(tmpdir(), 'power-cut-'));
    [folder, root] = [join(scratch, 'pictures'), join(scratch, 'root')];
    await writeTree(root, new Map());
    for (let index = 0; index < 6; index++) await draw(`p${index}.png`, `picture ${index}`);
  });
  after(() => rm(scratch, { recursive: true }));

  async function draw(name: string, content: string, year?: number): Promise<void> {
    await writePicture(join(folder, name), content, year);
    said.set(name, (said.get(name) ?? new Set()).add(valueOf(content)));
  }

  const run = (out: string, more: Partial<FolderRequest> = {}): Promise<unknown> => encodeFolder(fakeEncoder(), model, request(folder, out, { batchSize: 3, shardPictures: 3, ...more }));

  /** By picture, what an index leads to; undefined when there is none. Fails where it leads to nothing, or to something lost. */
  async function found(left: Left, where: string): Promise<Record<string, number> | undefined> {
    for (const [name, bytes] of left) if (/^out\/(?:features-\d+\.safetensors|index\.json)$/.test(name)) assert.ok(bytes instanceof Buffer, `${where}: ${name} is ${String(bytes)}`);
    const index = left.get('out/index.json');
    if (!(index instanceof Buffer)) return undefined;
    const numbers: Record<string, number> = {};
    for (const [name, { shard, row }] of Object.entries((JSON.parse(index.toString()) as IndexJson).pictures)) {
      const bytes = left.get(`out/${shard}`);
      assert.ok(bytes instanceof Buffer, `${where}: ${name} is in ${shard}, which is ${String(bytes)}`);
      const features = (await readSafetensors(new MemorySource(bytes))).tensors.find(({ key }) => key === 'features');
      assert.ok(features !== undefined && row < features.shape[0]!, `${where}: ${shard} has no row ${row}`);
      numbers[name] = bytes.readFloatLE(features.offset + row * features.length / features.shape[0]!);
      assert.ok(said.get(name)?.has(numbers[name]) === true, `${where}: ${name} is ${numbers[name]}`);
    }
    return numbers;
  }

  async function holds(what: string, more: Partial<FolderRequest> = {}): Promise<void> {
    const before = await readTree(root);
    const operations = await record(root, () => run(join(root, 'out'), more));
    const disk = new Disk(root, before, operations);
    let [states, indexed] = [0, 0];
    const right = await found(await readTree(root), 'in the end');
    for (const { at, left } of disk.states()) {
      const where = `${what}, before operation ${at} of ${operations.length}`;
      if (await found(left, where) !== undefined) indexed++;
      if (states++ % SAMPLE !== 0) continue;
      const again = join(scratch, 'again');
      await writeTree(again, left);
      // The machine has started since, and its lock is nobody's.
      await rm(join(again, 'out', '.vision-encoder-lock'), { force: true });
      await run(join(again, 'out'));
      const tree = await readTree(again);
      assert.deepEqual(await found(tree, where), right, where);
      assert.ok([...tree.keys()].every(name => !name.includes('/.')), [...tree.keys()].join());
      await rm(again, { recursive: true });
    }
    assert.ok(states > 40 && indexed > 0, `${what}: ${states} states, ${indexed} with an index`);
    for (const left of disk.statesAt(operations.length)) assert.deepEqual(await found(left, 'after it'), right);
  }

  it('leaves shards that are whole and an index that leads to the right rows: new, grown, pruned and started over', async () => {
    await holds('new');
    await draw('p1.png', 'another picture', 2002);
    await draw('p6.png', 'a new picture');
    await rm(join(folder, 'p2.png'));
    await holds('grown');
    await holds('pruned', { prune: true });
    const { pictures } = JSON.parse(await readFile(join(root, 'out/index.json'), 'utf8')) as IndexJson;
    assert.deepEqual(Object.keys(pictures).sort(), ['p0.png', 'p1.png', 'p3.png', 'p4.png', 'p5.png', 'p6.png']);
    await holds('started over', { startOver: true });
  });
});
