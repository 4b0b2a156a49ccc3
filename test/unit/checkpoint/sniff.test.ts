import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { sniff } from '../../../src/checkpoint/sniff';
import { fileWith, FIXTURES, memorySource, safetensorsFile, userError } from './support';

const sniffed = (bytes: Uint8Array | string): Promise<string> => sniff(memorySource(Buffer.from(bytes), 'weights.bin'));

describe('sniff', () => {
  it('knows checkpoints by their content', async () => {
    assert.equal(await sniffed(fileWith(['a'])), 'safetensors');
    assert.equal(await sniffed(safetensorsFile(`${' '.repeat(4096)}{}`)), 'safetensors');
    assert.equal(await sniffed(readFileSync(join(FIXTURES, 'qwen-vl-tiny-safetensors/expected.safetensors'))), 'safetensors');
    const tooLong = fileWith(['a']);
    tooLong.writeBigUInt64LE(100_000_001n);
    assert.equal(await sniffed(tooLong), 'safetensors', 'the reader tells of the limit');
    assert.equal(await sniffed('PK\x03\x04 and so on'), 'torch-zip');
    // The first pickle of torch.save's legacy format under each protocol.
    const magic = '8a0a6cfc9c46f9206aa850192e';
    for (const hex of [`8002${magic}`, `8003${magic}`, `8004950d00000000000000${magic}`, `8005950d00000000000000${magic}`]) {
      assert.equal(await sniffed(Buffer.from(hex, 'hex')), 'torch-legacy');
    }
    assert.equal(await sniffed('L119547037146038801333356L\n.M\xe9\x03.'), 'torch-legacy');
  });

  for (const [shard, size] of [
    ['qwen2-vl-olmocr/model-00001-of-00004.safetensors', '4966659944 bytes long, 4.97 GB'],
    ['qwen3-vl-reason2/model-00001-of-00004.safetensors', ' bytes long, '],
    ['llava-lisa-7b/pytorch_model-00001-of-00002.bin', ' bytes long, '],
  ] as const) {
    it(`names the Git LFS pointer ${shard}`, async () => {
      const bytes = readFileSync(join(FIXTURES, 'real/models', shard));
      const trueSize = /size (\d+)/.exec(bytes.toString())?.[1] ?? 'none';
      await assert.rejects(sniffed(bytes), userError(/Git LFS pointer/, /git lfs pull/, new RegExp(trueSize), new RegExp(size)));
    });
  }

  const tar = Buffer.alloc(1024);
  tar.write('model/data', 0);
  tar.write('ustar', 257);
  const others: readonly (readonly [what: string, bytes: Uint8Array | string, reason: RegExp])[] = [
    ['an empty file', '', /is empty/],
    ['a web page', '\n<!DOCTYPE html><html lang="en"><title>Sign in</title>', /is a web page/],
    ['an XML error', '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /is a web page/],
    ['GGUF', 'GGUF\x03\0\0\0', /is a GGUF file/],
    ['GGML', 'lmgg\0\0', /is a GGML file/],
    ['HDF5', Buffer.from('\x89HDF\r\n\x1a\n\0\0', 'latin1'), /is an HDF5 file/],
    ['gzip', gzipSync('weights'), /is gzip-compressed/],
    ['gzip whose first bytes are a possible header length', Buffer.from('1f8b0800000000000003cb48cd', 'hex'), /is gzip-compressed/],
    ['zstd', Buffer.from('28b52ffd00', 'hex'), /is zstd-compressed/],
    ['7z', Buffer.from('377abcaf271c0004', 'hex'), /is a 7z archive/],
    ['tar', tar, /is a tar archive.*PyTorch before 0\.1\.10/],
    ['NumPy', Buffer.from('\x93NUMPY\x01\0', 'latin1'), /is a NumPy array/],
    ['ONNX', Buffer.from([0x08, 0x08, 0x12, 0x07, ...Buffer.from('pytorch')]), /is an ONNX model/],
    ['a bare pickle', Buffer.from('80057d942e', 'hex'), /is a Python pickle but not one that torch\.save writes/],
    ['a protocol 0 pickle', 'ccollections\nOrderedDict\np0\n.', /is a Python pickle/],
    ['JSON', ' {"weight_map": {}}', /is a JSON file, not weights/],
    ['text', 'Not found: модель\n', /is a text file, not weights; it begins with "Not found: модель"/],
    ['zeros', Buffer.alloc(4096), /begins with zeros only/],
    ['a stub', Buffer.from([1, 2, 3]), /only 3 bytes long/],
    ['anything else', Buffer.from('ffd8ffe000104a464946000101', 'hex'), /neither safetensors nor a PyTorch checkpoint.*ff d8 ff e0/],
  ];
  for (const [what, bytes, reason] of others) {
    it(`names ${what}`, () => assert.rejects(sniffed(bytes), userError(/^weights\.bin /, reason)));
  }
});
