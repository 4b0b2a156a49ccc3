import assert from 'node:assert/strict';
import { ProtoWriter } from '../../../src/onnx/protobuf';

const hex = (writer: ProtoWriter): string => Buffer.from(writer.finish()).toString('hex');

describe('ProtoWriter', () => {
  it('writes the examples of the format\'s documentation', () => {
    assert.equal(hex(new ProtoWriter().varint(1, 150)), '089601');
    assert.equal(hex(new ProtoWriter().string(2, 'testing')), '120774657374696e67');
    assert.equal(hex(new ProtoWriter().message(3, inner => inner.varint(1, 150))), '1a03089601');
    assert.equal(hex(new ProtoWriter().packedVarints(6, [3, 270, 86942])), '3206038e029ea705');
  });

  it('writes negative and large numbers as 64 bits', () => {
    assert.equal(hex(new ProtoWriter().varint(1, -1)), '08ffffffffffffffffff01');
    assert.equal(hex(new ProtoWriter().varint(1, 2 ** 40)), '08808080808020');
    assert.equal(hex(new ProtoWriter().varint(1, 0)), '0800');
  });

  it('nests messages of any number of fields', () => {
    const fields = 150_000;
    const bytes = new ProtoWriter().message(1, message => { for (let i = 0; i < fields; i++) message.varint(1, 7); }).finish();
    assert.deepEqual([...bytes.subarray(0, 6)], [10, 0xe0, 0xa7, 0x12, 8, 7]);
    assert.equal(bytes.length, 4 + 2 * fields);
  });

  it('writes floats little-endian, long fields and field numbers above 15', () => {
    assert.equal(hex(new ProtoWriter().float(2, 1e-6)), '15bd378635');
    assert.equal(hex(new ProtoWriter().varint(20, 7)), 'a00107');
    const long = new ProtoWriter().bytes(9, new Uint8Array(300)).finish();
    assert.deepEqual([...long.subarray(0, 3)], [0x4a, 0xac, 0x02]);
    assert.equal(long.length, 303);
  });
});
