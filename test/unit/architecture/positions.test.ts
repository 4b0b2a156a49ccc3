import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { resizePositions, TABLE_RESIZES, type TableResize } from '../../../src/architecture/positions';

/** Prints the reference's tables, float32 in base64, a line each. */
const TORCH = `
import base64, json, sys, numpy, torch
for c in json.load(sys.stdin):
    t = torch.from_numpy(numpy.frombuffer(base64.b64decode(c['table']), dtype=numpy.float32).copy())
    t = t.reshape(1, *c['from'], c['channels']).permute(0, 3, 1, 2)
    r = torch.nn.functional.interpolate(t, size=tuple(c['to']), **c['how'])
    print(base64.b64encode(r.permute(0, 2, 3, 1).contiguous().numpy().tobytes()).decode())
`;

/** Each way as torch.nn.functional.interpolate calls it. */
const INTERPOLATE: Readonly<Record<TableResize, Readonly<Record<string, unknown>>>> = {
  bicubic: { mode: 'bicubic', align_corners: false },
  corners: { mode: 'bilinear', align_corners: true },
  antialiased: { mode: 'bilinear', align_corners: false, antialias: true },
};

describe('resizePositions', () => {
  const table = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898) * 3);

  it('leaves a table of the right size as it is', () => {
    const stored = table(16 * 2);
    assert.equal(resizePositions(stored, 2, { rows: 4, columns: 4 }, { rows: 4, columns: 4 }), stored);
  });

  it('keeps a constant constant, and weighs neighbours by the cubic kernel at a = -0.75', () => {
    const constant = resizePositions(new Float32Array(16).fill(2), 1, { rows: 4, columns: 4 }, { rows: 7, columns: 9 });
    assert.ok(constant.every(value => Math.abs(value - 2) < 1e-6));
    const impulse = resizePositions(Float32Array.of(0, 0, 1, 0), 1, { rows: 1, columns: 4 }, { rows: 1, columns: 8 });
    // Column 3 of 8 lies at 1.25 of 4; column 4 at 1.75.
    assert.deepEqual([...impulse.subarray(3, 5)], [0.26171875, 0.87890625]);
  });

  it('averages what becomes one position, where it is antialiased', () => {
    // A triangle as wide as the four of them: (5 * 1 + 7 * 3 + 7 * 5 + 5 * 11) / 24.
    const [mean = NaN] = resizePositions(Float32Array.of(1, 3, 5, 11), 1, { rows: 1, columns: 4 }, { rows: 1, columns: 1 }, 'antialiased');
    assert.ok(Math.abs(mean - 116 / 24) < 1e-6, String(mean));
    // Between its stored positions a table that grows is what it is without antialiasing.
    assert.deepEqual([...resizePositions(Float32Array.of(0, 8), 1, { rows: 1, columns: 2 }, { rows: 1, columns: 4 }, 'antialiased')], [0, 2, 6, 8]);
  });

  it('does what PyTorch does, growing, shrinking and to other proportions', function () {
    this.timeout(60_000);
    const probe = spawnSync('/usr/bin/python3', ['-c', 'import torch, numpy'], { encoding: 'utf8' });
    if (probe.status !== 0) {
      console.log('      NOT RUN: python3-torch is not installed, so there is no PyTorch to compare with.');
      this.skip();
    }
    const sides: [number, number, number, number][] = [[16, 16, 32, 32], [16, 16, 8, 8], [2, 2, 8, 8], [16, 16, 5, 23], [16, 16, 33, 47], [16, 16, 1, 61]];
    const cases = TABLE_RESIZES.flatMap(how => sides.map(([rows, columns, toRows, toColumns]) => (
      { how, from: { rows, columns }, to: { rows: toRows, columns: toColumns }, stored: table(rows * columns * 3) })));
    const { stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', TORCH], {
      encoding: 'utf8', env: { ...process.env, OMP_NUM_THREADS: '1' },
      input: JSON.stringify(cases.map(({ how, from, to, stored }) => (
        { table: Buffer.from(stored.buffer).toString('base64'), from: [from.rows, from.columns], to: [to.rows, to.columns], channels: 3, how: INTERPOLATE[how] }))),
    });
    const lines = stdout.trim().split('\n');
    assert.equal(lines.length, cases.length, stderr);
    for (const [index, { how, from, to, stored }] of cases.entries()) {
      const bytes = Buffer.from(lines[index] ?? '', 'base64');
      const reference = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      const resized = resizePositions(stored, 3, from, to, how);
      assert.equal(resized.length, reference.length);
      const worst = resized.reduce((most, value, i) => Math.max(most, Math.abs(value - (reference[i] ?? NaN))), 0);
      // Corners lie where transformers' own linspace puts them, not where interpolate does, which is the same but for rounding.
      assert.ok(worst < 1e-5, `${how}, ${from.rows} x ${from.columns} to ${to.rows} x ${to.columns}: ${worst}`);
    }
  });
});
