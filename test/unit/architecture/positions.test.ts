import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { resizePositions } from '../../../src/architecture/positions';

/** Prints the reference's table, float32 in base64. */
const TORCH = `
import base64, json, sys, numpy, torch
c = json.load(sys.stdin)
t = torch.from_numpy(numpy.frombuffer(base64.b64decode(c['table']), dtype=numpy.float32).copy())
t = t.reshape(1, *c['from'], c['channels']).permute(0, 3, 1, 2)
r = torch.nn.functional.interpolate(t, size=tuple(c['to']), mode='bicubic', align_corners=False)
print(base64.b64encode(r.permute(0, 2, 3, 1).contiguous().numpy().tobytes()).decode())
`;

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

  it('does what PyTorch does, growing, shrinking and to other proportions', function () {
    this.timeout(60_000);
    const probe = spawnSync('/usr/bin/python3', ['-c', 'import torch, numpy'], { encoding: 'utf8' });
    if (probe.status !== 0) {
      console.log('      NOT RUN: python3-torch is not installed, so there is no PyTorch to compare with.');
      this.skip();
    }
    const cases: [number, number, number, number][] = [[16, 16, 32, 32], [16, 16, 8, 8], [2, 2, 8, 8], [16, 16, 5, 23], [16, 16, 33, 47]];
    for (const [rows, columns, toRows, toColumns] of cases) {
      const stored = table(rows * columns * 3);
      const { stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', TORCH], {
        encoding: 'utf8', env: { ...process.env, OMP_NUM_THREADS: '1' },
        input: JSON.stringify({ table: Buffer.from(stored.buffer).toString('base64'), from: [rows, columns], to: [toRows, toColumns], channels: 3 }),
      });
      assert.ok(stdout.length > 0, stderr);
      const bytes = Buffer.from(stdout, 'base64');
      const reference = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      const resized = resizePositions(stored, 3, { rows, columns }, { rows: toRows, columns: toColumns });
      assert.equal(resized.length, reference.length);
      const worst = resized.reduce((most, value, i) => Math.max(most, Math.abs(value - (reference[i] ?? NaN))), 0);
      assert.ok(worst < 5e-6, `${rows}x${columns} to ${toRows}x${toColumns}: ${worst}`);
    }
  });
});
