import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../../../src/errors';
import { Attempts, type Outcome } from '../../fuzz/attempt';
import { Random } from '../../fuzz/random';
import { judge } from '../../fuzz/safetensorsModel';
import { TARGETS } from '../../fuzz/targets';

/** The same inputs every time; FUZZ_SEED=7 tries others. `npm run fuzz` tries many more. */
const SEED = Number(process.env.FUZZ_SEED ?? 1);
const INPUTS = 400;

describe(`fuzzing, a short run (FUZZ_SEED=${SEED})`, () => {
  for (const target of TARGETS) {
    it(`${target.name}: ${INPUTS} mutated inputs are read or refused with a sentence`, async () => {
      const attempts = new Attempts();
      const outcomes = { read: 0, refused: 0 };
      try {
        for (let index = 0; index < INPUTS; index++) {
          const bytes = target.make(new Random(SEED, target.name, index));
          const outcome = await attempts.read(target, bytes);
          if (outcome.kind === 'finding') assert.fail(`input ${index}: ${outcome.what}\n${bytes.subarray(0, 400).toString('latin1')}`);
          outcomes[outcome.kind]++;
        }
        await new Promise(resolve => { setImmediate(resolve); });
      } finally {
        attempts.close();
      }
      assert.ok(outcomes.read > 0, 'no input got as far as a result');
      assert.ok(outcomes.refused > 0 || ['journal', 'folder index'].includes(target.name), 'no input was refused');
    });
  }
});

describe('the fuzzing harness sees', () => {
  const seen = async (read: (bytes: Buffer) => Promise<void> | void): Promise<Outcome> => {
    const attempts = new Attempts();
    try {
      return await attempts.read({ name: 'made', make: () => Buffer.alloc(1), read }, Buffer.alloc(1));
    } finally {
      attempts.close();
    }
  };
  const finds = async (read: (bytes: Buffer) => Promise<void> | void, what: RegExp): Promise<void> => {
    const outcome = await seen(read);
    assert.ok(outcome.kind === 'finding' && what.test(outcome.what), JSON.stringify(outcome));
  };

  it('errors of ours, code that runs, memory, time, and messages that are no sentences', async () => {
    await finds(() => { throw new TypeError('x is not a function'); }, /x is not a function/);
    // What a parser catches on its way out counts too.
    await finds(() => { try { Reflect.apply(eval, undefined, ['1']); } catch { /* seen by the wire */ } }, /it called eval/);
    await finds(() => { try { spawnSync('true'); } catch { /* seen by the wire */ } }, /it called spawnSync/);
    let kept = Buffer.alloc(0);
    await finds(() => { kept = Buffer.alloc(64 << 20); }, /it allocated 67\d+ bytes for an input of 1/);
    assert.equal(kept.length, 64 << 20);
    await finds(() => { for (const end = performance.now() + 1100; performance.now() < end;); }, /it took 1\d\d\d ms/);
    await finds(() => { throw new UserError('model.bin holds \u009b31m, which is wrong.'); }, /no sentence/);
    assert.deepEqual(await seen(() => { throw new UserError('model.bin is damaged. Download it again.'); }), { kind: 'refused' });
  });

  it('the same inputs for the same seed, others for another', () => {
    const target = TARGETS[0]!;
    const inputs = (seed: number): Buffer[] => [0, 1, 2].map(index => target.make(new Random(seed, target.name, index)));
    assert.deepEqual(inputs(1), inputs(1));
    assert.notDeepEqual(inputs(1), inputs(2));
  });

  it('what the reference says: its model agrees with the verdicts of the Python library', () => {
    const folder = join(__dirname, '../../fixtures/malformed/safetensors');
    const verdicts = readFileSync(join(folder, 'verdicts.csv'), 'utf8').trim().split('\n').slice(1).map(line => /^([^,]+),\d+,(accept|REJECT)/.exec(line));
    let compared = 0;
    for (const row of verdicts) {
      const [, name = '', said = ''] = row ?? [];
      const file = join(folder, `${name}.safetensors`);
      if (!existsSync(file)) continue;
      const { kind } = judge(readFileSync(file));
      assert.equal(kind, kind === 'undecided' ? kind : said === 'accept' ? 'accepted' : 'rejected', name);
      compared++;
    }
    assert.ok(compared >= 40, `compared ${compared}`);
  });
});
