import { InferenceSession, Tensor } from 'onnxruntime-node';
import { forwardGraph } from '../src/architecture/forwardGraphs';
import { qwenVlGraph } from '../src/architecture/qwenVlGraph';
import { GraphBuilder } from '../src/onnx/graphBuilder';
const graph = qwenVlGraph({ width: 1664, layers: 48, heads: 16, patch_size: 14, mlp_size: 8192, output_dim: 4096, image_size: 448, n_queries: 256 });
function build(fused: boolean, init: boolean) {
  const b = new GraphBuilder({ products: 'F32', fused });
  const parts = new Map<string, readonly number[]>();
  const input = b.input('input', 'F32', ['rows', 1664]);
  const out = graph.block(b, part => { const name = part.key; if (!parts.has(name)) { parts.set(name, part.shape); const n = part.shape.reduce((a,c)=>a*c,1); if (init) b.initialiser(name, 'F32', part.shape, new Uint8Array(values(n).buffer)); else b.input(name, 'F32', part.shape); } return name; }, input);
  b.output('out', out, 'F32');
  return { bytes: b.toModel({ name: 's', producer: 's' }), parts };
}
function values(n: number) { const v = new Float32Array(n); for (let i = 0; i < n; i++) v[i] = Math.sin(i * 0.7) * 0.03; return v; }
async function main() {
  const V: Record<string, [boolean, boolean, object, number]> = {
    'fed': [true, false, {}, 1],
    'fed, no spinning': [true, false, { extra: { session: { intra_op: { allow_spinning: '0' } } } }, 1],
    'fed, 2 threads': [true, false, { intraOpNumThreads: 2 }, 1],
    'fed, 1 thread': [true, false, { intraOpNumThreads: 1 }, 1],
    'fed, no arena': [true, false, { enableCpuMemArena: false }, 1],
    'fed, no mem pattern': [true, false, { enableMemPattern: false }, 1],
    'fed, plain attention': [false, false, {}, 1],
    'initialisers, prepacked': [true, true, {}, 1],
    'fed, batch 4': [true, false, {}, 4],
  };
  const S: { name: string; s: InferenceSession; feeds: Record<string, Tensor>; batch: number; wall: number[]; cpu: number[] }[] = [];
  for (const [name, [fused, init, options, batch]] of Object.entries(V)) {
    const { bytes, parts } = build(fused, init);
    const s = await InferenceSession.create(bytes, { executionProviders: ['cpu'], graphOptimizationLevel: 'all', ...options });
    const feeds: Record<string, Tensor> = { input: new Tensor('float32', values(batch * 1024 * 1664), [batch * 1024, 1664]) };
    if (!init) for (const [k, shape] of parts) feeds[k] = new Tensor('float32', values(shape.reduce((a, c) => a * c, 1)), shape);
    S.push({ name, s, feeds, batch, wall: [], cpu: [] });
  }
  for (let round = 0; round < 7; round++) for (const o of S) {
    const c = process.cpuUsage(); const t = performance.now();
    await o.s.run(o.feeds);
    const w = performance.now() - t; const u = process.cpuUsage(c);
    if (round > 0) { o.wall.push(w / o.batch); o.cpu.push((u.user + u.system) / 1000 / o.batch); }
  }
  const med = (a: number[]) => [...a].sort((x, y) => x - y)[a.length >> 1]!;
  for (const o of S) console.log(o.name.padEnd(28), 'wall med', med(o.wall).toFixed(0), 'min', Math.min(...o.wall).toFixed(0), 'cpu med', med(o.cpu).toFixed(0), 'min', Math.min(...o.cpu).toFixed(0));
}
void main();
