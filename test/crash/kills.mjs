// `npm run crash [-- --kills 100 --megabytes 200 --cli dist/cli.js]`: kills extractions at moments spread over their life, and looks at what is left.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

/** How an extraction is run, in turn. `onto`: there is an output already, which is replaced. */
const WAYS = [
  { name: 'safetensors', args: [] },
  { name: 'torch', args: ['--format', 'torch'] },
  { name: 'shards', args: ['--max-shard-size', '20MB'] },
  { name: 'overwrite', args: ['--overwrite', '--max-shard-size', '20MB'], onto: true },
  { name: 'SIGTERM', args: [], signal: 'SIGTERM' },
];

const GOLDEN = (Math.sqrt(5) - 1) / 2;

const isPartial = name => name.startsWith('.vision-encoder-partial-');

/** A checkpoint of one tower in the layout of InternViT that keeps `megabytes`, with its config. */
export function makeCheckpoint(folder, megabytes) {
  const side = 1024;
  const count = Math.max(1, Math.round(megabytes * 1e6 / (side * side * 2)));
  const entries = {};
  const tensor = Buffer.alloc(side * side * 2);
  for (let i = 0; i < tensor.length; i += 4) tensor.writeUInt32LE(Math.imul(i + 1, 2654435761) >>> 0, i);
  for (let i = 0; i < count; i++) entries[`visual.blocks.${i}.weight`] = { dtype: 'BF16', shape: [side, side], data_offsets: [i * tensor.length, (i + 1) * tensor.length] };
  const header = Buffer.from(JSON.stringify(entries));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path.join(folder, 'model.safetensors'), Buffer.concat([length, header, ...Array.from({ length: count }, () => tensor)]));
  writeFileSync(path.join(folder, 'config.json'), '{"model_type":"made"}');
}

/** Files of a folder by name, with their digests; nothing that is hidden. */
function digests(folder) {
  if (!existsSync(folder)) return undefined;
  return Object.fromEntries(readdirSync(folder).filter(name => !isPartial(name)).sort().map(name => [name, createHash('sha256').update(readFileSync(path.join(folder, name))).digest('hex')]));
}

/** As `digests`, but for the manifest, which holds the time. */
function weights(folder) {
  const found = digests(folder);
  if (found === undefined) return undefined;
  return Object.fromEntries(Object.entries(found).filter(([name]) => name !== 'manifest.json'));
}

/**
 * Kills `kills` extractions by `cli` and checks after each one: the output is whole and verified, or what was there before
 * (nothing, or the earlier output); and the next run succeeds, verifies, and leaves nothing else behind.
 * @returns counts of what was found
 */
export async function killExtractions({ cli, kills, megabytes, log = () => undefined }) {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'crash-'));
  const found = { killed: 0, whole: 0, before: 0, betweenRenames: 0, leftovers: 0 };
  try {
    const checkpoint = path.join(scratch, 'checkpoint');
    mkdirSync(checkpoint);
    makeCheckpoint(checkpoint, megabytes);
    const recipe = path.join(scratch, 'all.recipe.json');
    writeFileSync(recipe, JSON.stringify({ version: 1, name: 'All', family: 'generic', rules: [{ mark: 'keep', pattern: '**' }] }));
    const command = (out, args) => [cli, 'extract', checkpoint, '--recipe', recipe, '--out', out, ...args];
    const run = args => spawnSync(process.execPath, args, { encoding: 'utf8' });
    const durations = new Map();
    const expected = new Map();
    for (const { name, args } of WAYS) {
      const out = path.join(scratch, `expected-${name}`);
      const started = performance.now();
      const ended = run(command(out, args));
      assert.equal(ended.status, 0, ended.stderr);
      durations.set(name, performance.now() - started);
      expected.set(name, weights(out));
      rmSync(out, { recursive: true });
    }
    for (let kill = 0; kill < kills; kill++) {
      const { name, args, onto, signal = 'SIGKILL' } = WAYS[kill % WAYS.length];
      const place = path.join(scratch, 'place');
      mkdirSync(place);
      const out = path.join(place, 'out');
      if (onto) assert.equal(run(command(out, [])).status, 0);
      const before = digests(out);
      // Spread over the whole life of every way, however few kills there are (multiples of the golden ratio), and by chance
      // around that; the last part is the densest, where files are moved.
      const share = (kill * GOLDEN) % 1;
      const moment = durations.get(name) * Math.min(1.02, 0.1 + 0.9 * Math.sqrt(share) + Math.random() * 0.12);
      const child = spawn(process.execPath, command(out, args), { stdio: 'ignore' });
      const ended = new Promise(resolve => { child.once('exit', (code, by) => { resolve(by ?? code); }); });
      const timer = setTimeout(() => { child.kill(signal); }, moment);
      const how = await ended;
      clearTimeout(timer);
      if (how === 'SIGKILL') found.killed++;

      const after = digests(out);
      const left = [...readdirSync(place), ...existsSync(out) ? readdirSync(out) : []].filter(isPartial);
      const isWhole = after !== undefined && 'manifest.json' in after && JSON.stringify(weights(out)) === JSON.stringify(expected.get(name));
      const isBefore = JSON.stringify(after) === JSON.stringify(before);
      if (isWhole) {
        const verified = run([cli, 'verify', out]);
        assert.equal(verified.status, 0, `${name} at ${moment} ms: ${verified.stderr}`);
        found.whole++;
      } else if (isBefore) found.before++;
      else {
        // Of an output that replaces another, some files had moved: the next run puts all back first.
        assert.ok(onto && after !== undefined && !('manifest.json' in after), `${name}, ended by ${how} after ${moment.toFixed(0)} ms, left ${JSON.stringify(after)}`);
        found.betweenRenames++;
      }
      if (left.length > 0) found.leftovers++;
      if (signal === 'SIGTERM') assert.deepEqual(left, [], 'SIGTERM leaves nothing behind');

      const next = run(command(out, [...args.filter(arg => arg !== '--overwrite'), '--overwrite']));
      assert.equal(next.status, 0, `${name}: ${next.stderr}`);
      assert.deepEqual(weights(out), expected.get(name), `${name}: the next run`);
      assert.deepEqual([readdirSync(place), readdirSync(out).filter(isPartial)], [['out'], []]);
      log(`${kill + 1}/${kills} ${name}: ${how} after ${moment.toFixed(0)} ms: ${isWhole ? 'whole' : isBefore ? 'as before' : 'between renames'}`);
      rmSync(place, { recursive: true });
    }
    return found;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: {
    kills: { type: 'string', default: '100' }, megabytes: { type: 'string', default: '200' },
    cli: { type: 'string', default: path.resolve(import.meta.dirname, '../../dist/cli.js') },
  } });
  const found = await killExtractions({ cli: values.cli, kills: Number(values.kills), megabytes: Number(values.megabytes), log: console.log });
  console.log(JSON.stringify(found));
}
