import assert from 'node:assert/strict';
import { unpickle } from '../../../../src/checkpoint/torch/pickle';
import { PickleTruncated } from '../../../../src/checkpoint/torch/pickleBytes';
import { dictEntries, PickleDict, PickleList, PickleObject, PickleTuple, type PickleValue } from '../../../../src/checkpoint/torch/pickleValue';
import { UserError } from '../../../../src/errors';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const load = (text: string, allow = true): PickleValue => unpickle(latin1(text), 0, { name: 'x.bin', allowGlobal: () => allow }).value;
const fails = (text: string, message: RegExp): void => {
  assert.throws(() => load(text), error => error instanceof UserError && message.test(error.message));
};

describe('unpickle', () => {
  // What Python's pickle.loads gives for each.
  const scalars: readonly [string, string, PickleValue][] = [
    ['INT', 'I-42\n.', -42],
    ['INT true', 'I01\n.', true],
    ['BININT', 'J\xff\xff\xff\xff.', -1],
    ['BININT1 and BININT2', 'M\x01\x02.', 513],
    ['LONG', 'L119547037146038801333356L\n.', 119547037146038801333356n],
    ['LONG1 negative', '\x8a\x01\x80.', -128],
    ['LONG1 of no bytes', '\x8a\x00.', 0],
    ['LONG4', '\x8b\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01.', 2n ** 64n],
    ['FLOAT', 'F1.5e3\n.', 1500],
    ['FLOAT inf', 'F-inf\n.', -Infinity],
    ['BINFLOAT', 'G\x3f\xf8\x00\x00\x00\x00\x00\x00.', 1.5],
    ['STRING', 'S\'a\\\'b\\n\\x41\'\n.', 'a\'b\nA'],
    ['SHORT_BINSTRING that is UTF-8', 'U\x02\xc3\xa9.', 'é'],
    ['UNICODE', 'Va\\u20acb\n.', 'a€b'],
    ['BINUNICODE8', '\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.', 'a'],
    ['BINUNICODE with a lone surrogate', 'X\x05\x00\x00\x00a\xed\xa0\x80b.', 'a\ud800b'],
    ['NONE', 'N.', null],
    ['FRAME and MEMOIZE', '\x80\x04\x95\x04\x00\x00\x00\x00\x00\x00\x00K\x07\x94.', 7],
    ['POP, DUP, POP_MARK', 'K\x01K\x020(K\x03K\x0412.', 1],
    ['PUT and GET by text', 'K\x05p7\n0g7\n.', 5],
  ];
  for (const [name, pickle, expected] of scalars) {
    it(`reads ${name}`, () => { assert.deepEqual(load(pickle), expected); });
  }

  it('reads bytes as bytes, and a Python 2 str that is not UTF-8 too', () => {
    assert.deepEqual(Buffer.from(load('C\x02\x00\xff.') as Uint8Array), Buffer.from([0, 255]));
    assert.deepEqual(Buffer.from(load('U\x01\xff.') as Uint8Array), Buffer.from([255]));
  });

  it('reads lists, tuples, dicts', () => {
    const value = load('](K\x01K\x02K\x03\x86e.');
    assert.ok(value instanceof PickleList);
    assert.equal(value.items[0], 1);
    assert.deepEqual(value.items[1], new PickleTuple([2, 3]));
    const dict = load('(X\x01\x00\x00\x00aK\x01K\x02K\x03d.');
    assert.ok(dict instanceof PickleDict);
    assert.deepEqual([...dict.entries], [['a', 1], [2, 3]]);
  });

  it('keeps calls as names and arguments', () => {
    const value = load('\x80\x02cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01sb.');
    assert.ok(value instanceof PickleObject);
    assert.equal(value.callable.path, 'argparse.Namespace');
    assert.ok(value.state instanceof PickleDict);
  });

  it('reads an OrderedDict as Python 2 and Python 3 write it', () => {
    const python2 = load('ccollections\nOrderedDict\n](](X\x01\x00\x00\x00aK\x01ee\x85R.');
    const python3 = load('ccollections\nOrderedDict\n)RX\x01\x00\x00\x00aK\x01s.');
    for (const value of [python2, python3]) assert.deepEqual([...dictEntries(value) ?? []], [['a', 1]]);
  });

  it('asks about every global, however it is named', () => {
    const names: string[] = [];
    for (const pickle of ['cos\nsystem\n.', '\x8c\x02os\x8c\x06system\x93.', '(ios\nsystem\n.', '(cos\nsystem\no.', '\x80\x02c__builtin__\neval\n.']) {
      assert.throws(() => unpickle(latin1(pickle), 0, { name: 'x.bin', allowGlobal: global => { names.push(global.path); return false; } }),
        error => error instanceof UserError && error.message.includes('x.bin wants Python to import'));
    }
    assert.deepEqual(names, ['os.system', 'os.system', 'os.system', 'os.system', 'builtins.eval']);
  });

  it('refuses what is broken', () => {
    fails('K\x01', /ends in the middle/);
    fails('X\xff\xff\xff\xffa.', /ends in the middle/);
    fails('\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.', /ends in the middle/);
    fails('.', /takes more from its stack/);
    fails('R.', /takes more from its stack/);
    fails('(K\x01(R.', /takes more from its stack/);
    fails('t.', /needs a MARK/);
    fails('h\x05.', /memo 5, which was never stored/);
    fails('}(K\x01u.', /a key without a value/);
    fails('}]K\x01s.', /list, dict or set as the key/);
    fails('K\x01K\x02\x85R.', /not a global/);
    fails('N}b.', /not an object/);
    fails('\x80\x06N.', /protocol 6/);
    fails('\x82\x01.', /extension registry/);
    fails('\x97.', /buffers from outside/);
    fails('\xff.', /0xff is not a pickle instruction/);
    fails('X\x01\x00\x00\x00\xff.', /not UTF-8/);
    fails('X\x02\x00\x00\x00\xed\x9f.', /not UTF-8/);
    fails('\x8b\x00\x00\x01\x00.', /a number of 65536 bytes/);
    fails('Iabc\n.', /a number is expected/);
    fails('Fabc\n.', /a number is expected/);
    fails('Sabc\n.', /a quoted text is expected/);
  });

  it('tells a pickle that goes on from one that is broken', () => {
    assert.throws(() => load('(K\x01'), PickleTruncated);
    assert.throws(() => load('t.'), error => !(error instanceof PickleTruncated));
  });

  it('stops pickles that would fill the memory', () => {
    const options = { name: 'x.bin', allowGlobal: () => true };
    assert.throws(() => unpickle(Buffer.alloc(8_200_000, ']0'), 0, options), /more than 4000000 objects/);
    assert.throws(() => unpickle(Buffer.alloc(4_100_000, 'N'), 0, options), /grows without bound/);
    assert.throws(() => unpickle(Buffer.concat([latin1('N'), Buffer.alloc(4_100_000, 0x94)]), 0, options), /memo grows without bound/);
  }).timeout(20000);

  it('reads a hundred thousand nested lists and a list within itself', () => {
    assert.ok(load(`${']'.repeat(100_000)}${'a'.repeat(99_999)}.`) instanceof PickleList);
    const self = load(']q\x00h\x00a.');
    assert.ok(self instanceof PickleList && self.items[0] === self);
  });
});
