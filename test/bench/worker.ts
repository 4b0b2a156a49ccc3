/**
 * One piece of work for the bench, in a process of its own. Prints what it measured within the process as JSON.
 *   make FOLDER FORMAT DTYPE SHARDS KEYS KEPT TOTAL   writes a checkpoint: random bytes to be kept, holes for the rest
 *   extract CHECKPOINT OUT [DTYPE] [FORMAT]           opens and extracts
 *   open|keys CHECKPOINT                              opens; marks, shows and filters
 */
import { mkdirSync, openSync, closeSync, fsyncSync, readSync, writeSync, writeFileSync, ftruncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { dtypeBits, isDtype } from '../../src/checkpoint/dtype';
import { openCheckpoint } from '../../src/checkpoint/open';
import { extract } from '../../src/extraction/extract';
import { partLength, type OutputTensor } from '../../src/extraction/fileLayout';
import { safetensorsLayout } from '../../src/extraction/safetensorsWriter';
import { torchLayout } from '../../src/extraction/torchWriter';
import { makePlan, type Plan } from '../../src/recipe/plan';
import type { Recipe } from '../../src/recipe/recipe';
import type { Validation } from '../../src/validation/validation';
import { matching } from '../../src/views/keyFilter';
import { groupStats, KeyTree, nodeChanged, type KeyNode } from '../../src/views/treeModel';

const VALID: Validation = {
  valid: true, family: 'none', config: undefined, hyperparameters: new Map(), expectedCount: 0, matchedCount: 0,
  missing: [], unexpected: [], mismatched: [], duplicates: [], warnings: [],
};
const recipe = (rules: Recipe['rules']): Recipe => ({ version: 1, name: 'bench', family: 'none', rules, overrides: [], settings: {} });
const VISUAL = recipe([{ mark: 'strip', module: 'visual' }]);

function make([folder = '', format = '', dtype = '', ...numbers]: readonly string[]): void {
  const [shards = 1, keys = 1, kept = 0, total = 0] = numbers.map(Number);
  if (!isDtype(dtype)) throw new Error(dtype);
  const element = dtypeBits(dtype) / 8;
  const visual = Math.max(1, Math.round(keys * kept / total));
  const name = (i: number): string => i < visual ? `visual.blocks.${Math.floor(i / 12)}.part${i % 12}.weight` : `model.layers.${Math.floor(i / 900)}.experts.${Math.floor(i / 3) % 300}.w${i % 3}.weight`;
  // As in a vision transformer, most bytes are in a few large matrices of each block.
  const share = (i: number): number => i % 12 < 4 ? 0.2499 : 0.0004 / 8;
  const elements = (i: number): number => Math.max(1, Math.floor((i < visual ? kept / Math.ceil(visual / 12) * share(i) : (total - kept) / Math.max(1, keys - visual)) / element));
  const noise = Buffer.alloc(1 << 24);
  // Finite floats in every dtype: no exponent is all ones.
  for (let i = 0; i < noise.length; i += 4) noise.writeUInt32LE((Math.imul(i + 1, 2654435761) & 0xbfffbfff) >>> 0, i);
  mkdirSync(folder);
  const weightMap: Record<string, string> = {};
  const extension = format === 'torch' ? 'bin' : 'safetensors';
  for (let shard = 0; shard < shards; shard++) {
    const file = `model-${String(shard + 1).padStart(5, '0')}-of-${String(shards).padStart(5, '0')}.${extension}`;
    const tensors: OutputTensor[] = [];
    for (let i = shard; i < keys; i += shards) {
      tensors.push({ key: name(i), dtype, shape: [elements(i)], length: elements(i) * element });
      weightMap[name(i)] = file;
    }
    const layout = format === 'torch' ? torchLayout(tensors, 'archive') : safetensorsLayout(tensors);
    const fd = openSync(join(folder, file), 'w');
    let position = 0;
    for (const part of layout.parts) {
      if (part.kind !== 'tensor') writeSync(fd, part.bytes, 0, part.bytes.length, position);
      else if (tensors[part.index]?.key.startsWith('visual.') === true) {
        for (let done = 0; done < part.length; done += noise.length) writeSync(fd, noise, 0, Math.min(noise.length, part.length - done), position + done);
      }
      position += partLength(part);
    }
    ftruncateSync(fd, position);
    fsyncSync(fd);
    closeSync(fd);
  }
  writeFileSync(join(folder, format === 'torch' ? 'pytorch_model.bin.index.json' : 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

/** Seconds to open a checkpoint, and to read the same bytes of its files again with nothing around. */
async function measureOpening(location: string): Promise<{ ours: number; bare: number }> {
  const probe = await open(join(location, '..'), 'r');
  const { prototype } = probe.constructor as { prototype: { read: (this: { fd: number }, buffer: Uint8Array, offset: number, length: number, position: number) => unknown } };
  await probe.close();
  const reads: { fd: number; length: number; position: number }[] = [];
  const { read } = prototype;
  prototype.read = function (buffer, offset, length, position) {
    reads.push({ fd: this.fd, length, position });
    return read.call(this, buffer, offset, length, position);
  };
  const started = performance.now();
  const checkpoint = await openCheckpoint(location);
  const opened = performance.now();
  for (const { fd, length, position } of reads) readSync(fd, Buffer.allocUnsafe(length), 0, length, position);
  const reread = performance.now();
  await checkpoint.close();
  return { ours: (opened - started) / 1000, bare: (reread - opened) / 1000 };
}

async function measureKeys(location: string): Promise<Record<string, number>> {
  const checkpoint = await openCheckpoint(location);
  const timed = <T>(work: () => T): { result: T; seconds: number } => {
    const started = performance.now();
    const result = work();
    return { result, seconds: (performance.now() - started) / 1000 };
  };
  // What is on the screen: two levels, with their counts.
  const rows = (tree: KeyTree): KeyNode[] => tree.roots().flatMap(root => root.kind === 'group' ? [root, ...tree.children(root)] : [root]);
  const draw = (nodes: readonly KeyNode[], plan: Plan): void => {
    for (const node of nodes) if (node.kind === 'group') groupStats(node.indices, plan.tensors);
  };
  const shown = timed(() => {
    const first = { tree: new KeyTree(checkpoint.tensors), plan: makePlan(checkpoint, VISUAL) };
    draw(rows(first.tree), first.plan);
    return first;
  });
  const { tree, plan } = shown.result;
  const marked = timed(() => {
    const changed = makePlan(checkpoint, recipe([{ mark: 'keep', pattern: 'model.layers.*.experts.7.**' }, ...VISUAL.rules]));
    draw(rows(tree).filter(node => nodeChanged(node, plan.tensors, changed.tensors)), changed);
  });
  const typed = 'experts.29';
  const filtered = Array.from(typed, (_, length) => timed(() => {
    draw(rows(new KeyTree(checkpoint.tensors, matching(plan.tensors, { text: typed.slice(0, length + 1), states: undefined }))), plan);
  }).seconds);
  await checkpoint.close();
  return { show: shown.seconds, mark: marked.seconds, filter: Math.max(...filtered) };
}

async function main([what, ...args]: readonly string[]): Promise<void> {
  const [location = '', out = '', dtype, format] = args;
  if (what === 'make') make(args);
  else if (what === 'open') console.log(JSON.stringify(await measureOpening(location)));
  else if (what === 'keys') console.log(JSON.stringify(await measureKeys(location)));
  else {
    const checkpoint = await openCheckpoint(location);
    const targets = ['f32', 'f16', 'bf16'] as const;
    await extract(makePlan(checkpoint, VISUAL), VALID, {
      out, format: format === 'torch' ? 'torch' : 'safetensors', dtype: targets.find(target => target === dtype) ?? 'keep', config: {}, preprocessor: {},
    });
    await checkpoint.close();
  }
}

void main(process.argv.slice(2));
