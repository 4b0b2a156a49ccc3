import assert from 'node:assert/strict';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { BindWeight } from '../../../src/architecture/forwardGraph';
import { forwardGraph } from '../../../src/architecture/forwardGraphs';
import { wantedOutputs } from '../../../src/architecture/outputs';
import { elementCount } from '../../../src/checkpoint/dtype';
import { Weights } from '../../../src/encoder/weights';
import { segmentModel } from '../../../src/onnx/encoderGraph';
import { GraphBuilder, PLAIN, type Value } from '../../../src/onnx/graphBuilder';
import { expected, relativeError, TINY, tinyModel } from './fixture';

/**
 * Rounds what goes into every product and comes out of it to float16's eleven bits, in float32 arithmetic: ONNX Runtime's
 * CPU provider has no half precision, and takes the casts around its products away.
 */
class Rounding extends GraphBuilder {
  override product(...[op, inputs, label, attributes, domain]: Parameters<GraphBuilder['product']>): Value {
    return this.rounded(this.node(op, inputs.map(input => this.rounded(input)), label, attributes, domain));
  }

  /** Veltkamp's splitting: x times 2^13 + 1 leaves 24 - 13 bits. */
  private rounded(value: Value): Value {
    const times = this.node('Mul', [value, this.scalar(2 ** 13 + 1)], 'times');
    return this.node('Sub', [times, this.node('Sub', [times, value], 'low')], 'rounded');
  }
}

describe('half precision', () => {
  for (const name of TINY) {
    it(`costs ${name} less than 2e-3`, async () => {
      const [model, known] = [await tinyModel(name), await expected(name)];
      const graph = forwardGraph(model.graph);
      const weights = new Weights(model, 0);
      const reader = weights.withTables(graph.derivedTables);
      const b = new Rounding(PLAIN);
      const stored = new Map<string, { key: string; shape: readonly number[]; firstRow: number }>();
      const bind: BindWeight = part => {
        const label = `${part.key} ${part.firstRow}`;
        if (!stored.has(label)) stored.set(label, { ...part, key: b.input(label, 'F32', part.shape) });
        return label;
      };
      const pixels = known.get('pixel_values')!;
      let hidden = graph.embeddings(b, bind, b.input('pixel_values', 'F32', pixels.shape));
      for (let layer = 0; layer < graph.layers; layer++) {
        hidden = graph.block(b, part => bind({ ...part, key: `${graph.blockPath(layer)}.${part.key}` }), hidden, layer);
        b.output(`hidden_states.${layer}`, hidden, 'F32');
      }
      for (const [output, value] of graph.pool(b, bind, hidden, ['features', 'attn_pool.weights'], [])) b.output(output, value, 'F32');
      const session = await InferenceSession.create(b.toModel({ name: 'rounding', producer: 'test' }));
      try {
        const feeds: Record<string, Tensor> = { pixel_values: new Tensor('float32', pixels.data, pixels.shape) };
        for (const [label, part] of stored) feeds[label] = new Tensor('float32', await reader.float32({ ...part, key: label.split(' ')[0] ?? '' }), part.shape);
        const results = await session.run(feeds);
        for (const [key, { data }] of known) {
          if (key === 'pixel_values') continue;
          const error = relativeError(results[key]?.data as Float32Array, data);
          assert.ok(error < 2e-3, `${key}: ${error}`);
          assert.ok(error > 1e-5, `${key} was not rounded: ${error}`);
        }
      } finally {
        await session.release();
        await weights.close();
      }
    });

    it(`runs ${name} as a graph whose types fit together, with outputs in float32`, async () => {
      const graph = forwardGraph((await tinyModel(name)).graph);
      const bytes = segmentModel(graph, {
        segment: { from: 0, to: graph.layers }, wanted: wantedOutputs(graph, ['features', 'hidden_states.1', 'attentions.0.1', 'attn_pool.weights']), handOn: false, products: 'F16',
        locate: ({ shape }) => ({ type: 'F16', data: new Uint8Array(2 * elementCount(shape)) }),
      });
      // ONNX Runtime refuses a graph in which the types of a node do not fit. Level 3: errors alone are printed.
      const session = await InferenceSession.create(bytes, { logSeverityLevel: 3 });
      assert.ok(session.outputMetadata.length === 4 && session.outputMetadata.every(output => output.isTensor && output.type === 'float32'));
      await session.release();
    });
  }
});
