import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { findStateDict } from '../../../src/checkpoint/torch/stateDict';
import { readTorchZip } from '../../../src/checkpoint/torch/torchZip';
import { unpickle } from '../../../src/checkpoint/torch/pickle';
import { UserError } from '../../../src/errors';
import { parseRecipe } from '../../../src/recipe/recipe';
import { HttpClient } from '../../../src/remote/http';
import { HttpSource } from '../../../src/remote/httpSource';
import { rejects, p, torchFile, zipFile } from '../checkpoint/torch/support';
import { ENCODERS, targetNamed } from '../../fuzz/targets';
import { MemorySource } from '../checkpoint/memorySource';

const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/; // eslint-disable-line no-control-regex -- what is looked for

describe('what fuzzing found stays mended', () => {
  it('a global in a module called toString is refused like any other', async () => {
    const body = p.op(p.str('toString'), p.str('x'), 0x93);
    await rejects(readTorchZip(torchFile(body)), /wants Python to import "toString\.x"/);
    await rejects(readTorchZip(torchFile(p.global('constructor', 'x'))), /wants Python to import "constructor\.x"/);
  });

  it('an entry that claims what it cannot hold gets no memory', async () => {
    const bytes = zipFile([{ name: 'a/data.pkl', data: p.whole(p.dict({})), deflated: true }, { name: 'a/version', data: Buffer.from('3') }]);
    const central = bytes.indexOf('PK\x01\x02', 0, 'latin1');
    bytes.writeUInt32LE(99_999_999, central + 24);
    const before = process.memoryUsage().arrayBuffers;
    await rejects(readTorchZip(new MemorySource(bytes)), /hold 99999999, which is impossible/);
    assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 24);
  });

  it('references that multiply a tensor are refused, shared modules are not', () => {
    const tensor = p.tensor(p.storage('0', 1), 0, [1], [1]);
    const read = (doublings: number): unknown => findStateDict('model.bin', unpickle(p.whole(p.op(tensor, '2\x86'.repeat(doublings))), 0, { name: 'model.bin', allowGlobal: () => true }).value);
    assert.equal((read(3) as { tensors: unknown[] }).tensors.length, 8);
    assert.throws(() => read(19), (error: unknown) => error instanceof UserError && error.message.includes('names its 1 tensors 524288 times'));
  });

  it('no message holds what a terminal would obey', async () => {
    const hostile = 'x\u009b31m\u202e\u0007';
    const messages: string[] = [];
    const keep = (error: unknown): boolean => { messages.push(error instanceof UserError ? error.message : assert.fail(String(error))); return true; };
    await assert.rejects(readTorchZip(torchFile(p.global(`os${hostile.replace('\u0007', '')}`, 'system'))), keep);
    await assert.rejects(readTorchZip(torchFile(p.str(hostile))), keep);
    await assert.rejects(readTorchZip(new MemorySource(zipFile([{ name: `a/${hostile}`, data: new Uint8Array(1) }]))), keep);
    for (const text of [`{"version": ${hostile}`, `{"version":1,"${hostile}":2}`, JSON.stringify({ version: 1, name: 'x', family: 'x', rules: [], settings: { [hostile]: 'x' } }), `{} ${hostile}`]) {
      assert.throws(() => parseRecipe(text, 'x.recipe.json'), keep);
    }
    for (const message of messages) assert.doesNotMatch(message, CONTROLS);
    assert.equal(messages.length, 7);
  });

  it('an answer of a negative length is refused with a sentence', async () => {
    const client = new HttpClient({ fetch: () => Promise.resolve(new Response('x', { status: 200, headers: { 'content-length': '-1' } })), attempts: 1 });
    const url = new URL('https://host.example/model.safetensors');
    await rejects(HttpSource.open(client, { name: 'model.safetensors', url, explain: () => new UserError('no') }), /does not say how long model\.safetensors is/);
  });

  it('a config\'s list of blocks is told without what would turn the text around', async () => {
    for (const field of ['fullatt_block_indexes', 'rope_theta']) {
      const which = ENCODERS.indexOf('qwen2.5-vl');
      const config = JSON.parse(readFileSync('test/fixtures/families/qwen2.5-vl/config.json', 'utf8')) as { vision_config: Record<string, unknown> };
      config.vision_config[field] = ['\u202e'];
      await assert.rejects(async () => targetNamed('graph').read(Buffer.concat([Buffer.from([which]), Buffer.from(JSON.stringify(config))])), (error: unknown) => {
        assert.ok(error instanceof UserError && error.message.includes(`config's ${field} is`), String(error));
        assert.doesNotMatch(error.message, CONTROLS);
        return true;
      });
    }
  });
});
