import assert from 'node:assert/strict';
import { readTorchZip } from '../../../../src/checkpoint/torch/torchZip';
import { tensorBytes } from '../../../../src/checkpoint/tensorBytes';
import { collect, floats, p, rejects, torchFile } from './support';

const storage = p.storage('0', 24);
const tensor = p.tensor(storage, 0, [2, 3], [3, 1]);
const data = { 0: floats(24) };

async function keys(body: Buffer): Promise<string[]> {
  return (await readTorchZip(torchFile(body, data))).tensors.map(({ key }) => key);
}

describe('the state dict in a pickle', () => {
  it('joins nested dicts and lists with dots', async () => {
    assert.deepEqual(await keys(p.dict({ a: p.dict({ b: tensor, c: p.list(tensor, tensor) }), d: tensor })), ['a.b', 'a.c.0', 'a.c.1', 'd']);
  });

  it('unwraps a training checkpoint and shows what stands beside the weights', async () => {
    const parsed = await readTorchZip(torchFile(p.dict({
      epoch: p.int(3),
      args: p.op(p.global('argparse', 'Namespace'), ')\x81', p.dict({ lr: p.int(1) }), 'b'),
      state_dict: p.dict({ 'visual.proj': tensor }),
      optimizer: p.dict({ state: p.list(tensor) }),
    }), data));
    assert.deepEqual(parsed.tensors.map(({ key }) => key), ['visual.proj']);
    assert.deepEqual(parsed.others, [
      { key: 'epoch', description: 'int 3' },
      { key: 'args', description: 'argparse.Namespace (not loaded)' },
      { key: 'optimizer', description: 'dict of 1 value with tensors, not part of the model\'s weights' },
    ]);
  });

  it('takes `model` for a wrapper only beside training state', async () => {
    assert.deepEqual(await keys(p.dict({ model: p.dict({ w: tensor }), optimizer: p.list(tensor) })), ['w']);
    assert.deepEqual(await keys(p.dict({ module: p.dict({ model: p.dict({ w: tensor }) }) })), ['w']);
    assert.deepEqual(await keys(p.dict({ model: p.dict({ w: tensor }), lm_head: tensor })), ['model.w', 'lm_head']);
  });

  it('tells a key that is there twice, nested and spelt out', async () => {
    const parsed = await readTorchZip(torchFile(p.dict({ a: p.dict({ b: tensor }), 'a.b': p.tensor(storage, 1, [1], [1]) }), data));
    assert.deepEqual(parsed.tensors.map(({ shape }) => shape), [[2, 3]]);
    assert.match(parsed.warnings.join(), /"a\.b" twice/);
  });

  it('walks shared parts without end only so far', async () => {
    // Forty lists, each of which holds the one before twice, around one tensor.
    const bomb = p.op(p.list(tensor), ...Array.from({ length: 40 }, () => p.op('q\x00]h\x00ah\x00a')));
    await rejects(readTorchZip(torchFile(bomb, data)), /more than 1000000 tensors/);
    const deep = p.op(p.list(tensor), ...Array.from({ length: 1000 }, () => p.op('q\x00]h\x00a')));
    await rejects(readTorchZip(torchFile(deep, data)), /more than 64 levels deep/);
    const self = p.op(']q\x00', tensor, 'ah\x00a');
    assert.deepEqual(await keys(self), ['0']);
    const wrapped = p.op('}q\x00', p.str('state_dict'), p.op('}q\x01', p.str('state_dict'), 'h\x00s', p.str('w'), tensor, 's'), 's');
    assert.deepEqual(await keys(wrapped), ['w']);
  });

  it('tied tensors keep one offset', async () => {
    const parsed = await readTorchZip(torchFile(p.dict({ a: p.tensor(p.op(storage, 'q\x07'), 0, [24], [1]), b: p.tensor(p.op('h\x07'), 0, [24], [1]), c: p.tensor(p.op('h\x07'), 6, [2], [1]) }), data));
    const [a, b, c] = parsed.tensors;
    assert.equal(a?.offset, b?.offset);
    assert.equal(c?.offset, (a?.offset ?? 0) + 24);
  });

  it('a Parameter and a subclass are the tensor inside', async () => {
    const parameter = p.op(p.global('torch._utils', '_rebuild_parameter'), p.tuple(tensor, p.op('\x88'), p.dict({})), 'R');
    const subclass = p.op(p.global('torch._tensor', '_rebuild_from_type_v2'), p.tuple(
      p.global('torch._utils', '_rebuild_tensor_v2'), p.global('torch.nn.parameter', 'Parameter'),
      p.tuple(storage, p.int(0), p.tuple(p.int(4)), p.tuple(p.int(1)), p.op('\x88'), p.dict({})), p.dict({})), 'R');
    const parsed = await readTorchZip(torchFile(p.dict({ a: parameter, b: subclass }), data));
    assert.deepEqual(parsed.tensors.map(({ key, shape }) => [key, shape]), [['a', [2, 3]], ['b', [4]]]);
  });

  it('version 3 tensors name their dtype over an untyped storage', async () => {
    const v3 = (dtype: string, shape: number[], strides: number[], offset = 0): Buffer => p.op(p.global('torch._utils', '_rebuild_tensor_v3'), p.tuple(
      p.op(p.tuple(p.str('storage'), p.global('torch.storage', 'UntypedStorage'), p.str('0'), p.str('cpu'), p.int(96)), 'Q'),
      p.int(offset), p.tuple(...shape.map(p.int)), p.tuple(...strides.map(p.int)), p.op('\x89'), p.dict({}), p.global('torch', dtype)), 'R');
    const parsed = await readTorchZip(torchFile(p.dict({
      e4m3: v3('float8_e4m3fn', [96], [1]), u16: v3('uint16', [4], [1], 2), f4: v3('float4_e2m1fn_x2', [2, 4], [4, 1]), odd: v3('complex32', [2], [1]),
    }), data));
    const base = parsed.tensors[0]?.offset ?? 0;
    assert.deepEqual(parsed.tensors.map(({ key, dtype, shape, offset, length }) => [key, dtype, shape, offset - base, length]), [
      ['e4m3', 'F8_E4M3', [96], 0, 96], ['u16', 'U16', [4], 4, 8], ['f4', 'F4', [2, 8], 0, 8],
    ]);
    assert.match(parsed.others[0]?.description ?? '', /complex32 values, a dtype that safetensors does not have/);
  });

  it('what cannot be extracted is shown with a warning', async () => {
    const conj = p.tensor(p.storage('0', 24), 0, [1], [1], p.dict({ neg: p.op('\x88') }));
    const quantised = p.op(p.global('torch._utils', '_rebuild_qtensor'), p.tuple(storage), 'R');
    const parsed = await readTorchZip(torchFile(p.dict({ w: tensor, conj, quantised }), data));
    assert.deepEqual(parsed.others.map(({ key }) => key), ['conj', 'quantised']);
    assert.match(parsed.others[0]?.description ?? '', /the negative of what is stored/);
    assert.equal(parsed.warnings.length, 2);
  });

  it('refuses views that leave their storage, and impossible shapes', async () => {
    const reject = (offset: number, shape: number[], strides: number[], message: RegExp): Promise<void> =>
      rejects(readTorchZip(torchFile(p.dict({ w: p.tensor(storage, offset, shape, strides) }), data)), message);
    await reject(0, [25], [1], /reaches up to element 24, and its storage "0" has 24/);
    await reject(20, [2, 3], [3, 1], /reaches up to element 25/);
    await reject(0, [2], [24], /reaches up to element 24/);
    await reject(0, [2 ** 30, 2 ** 30], [0, 0], /product is too large/);
    await reject(0, [2], [1, 1], /strides that do not fit/);
    await reject(-1, [2], [1], /impossible offset/);
  });

  it('an empty tensor may begin anywhere, dimensions of size 1 may have any stride', async () => {
    const parsed = await readTorchZip(torchFile(p.dict({ empty: p.tensor(storage, 999, [0, 5], [5, 1]), one: p.tensor(storage, 0, [1, 3], [77, 1]), scalar: p.tensor(storage, 23, [], []) }), data));
    assert.deepEqual(parsed.tensors.map(({ length, indirect }) => [length, indirect]), [[0, undefined], [12, undefined], [4, undefined]]);
  });

  it('the same bytes come out of stored, deflated and big-endian archives', async () => {
    const body = p.dict({ t: p.tensor(storage, 2, [3, 4], [1, 5]), c: p.tensor(storage, 4, [4], [1]) });
    const swapped = Buffer.from(data[0]).swap32();
    const sources = [torchFile(body, data), torchFile(body, data, { deflated: true }), torchFile(body, { 0: swapped }, { byteOrder: 'big' }), torchFile(body, { 0: swapped }, { byteOrder: 'big', deflated: true })];
    const values = await Promise.all(sources.map(async source => {
      const parsed = await readTorchZip(source);
      return Promise.all(parsed.tensors.map(async t => {
        const bytes = await collect(tensorBytes(source, t, { chunkBytes: 8 }));
        return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
      }));
    }));
    for (const value of values) assert.deepEqual(value, [[2, 7, 12, 17, 3, 8, 13, 18, 4, 9, 14, 19], [4, 5, 6, 7]]);
  });
});
