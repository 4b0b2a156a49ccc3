import { forwardGraph } from '../architecture/forwardGraphs';
import type { RunOptions } from '../progress';
import type { EncoderClient } from './client';
import type { Array32 } from './encoder';
import type { EncoderModel } from './model';

/** What of an encoder's values a person wants, as the command line writes it. */
export interface FeatureChoice {
  /** Blocks whose hidden state is wanted. */
  readonly layers: 'all' | readonly number[];
  readonly attentionPool: boolean;
}

/** The names of the outputs for a choice: `features` always, then hidden states in order, then the pool's weights. */
export function featureOutputs(model: EncoderModel, choice: FeatureChoice): string[] {
  const { layers } = forwardGraph(model.graph);
  const wanted = choice.layers === 'all' ? Array.from({ length: layers }, (_, layer) => layer) : choice.layers;
  return ['features', ...wanted.map(layer => `hidden_states.${layer}`), ...(choice.attentionPool ? ['attn_pool.weights'] : [])];
}

/**
 * Runs many pictures, some at a time, and puts each output together batch first.
 * Progress counts pictures, with fractions while a batch runs.
 * @param pixels one picture each, (1, 3, imageSize, imageSize); taken as they are needed
 */
export async function runPictures(encoder: Pick<EncoderClient, 'run'>, pixels: AsyncIterable<Array32>, count: number, outputs: readonly string[], batchSize: number, options: RunOptions = {}): Promise<Map<string, Array32>> {
  const parts = new Map<string, Array32[]>();
  let done = 0;
  const flush = async (batch: readonly Array32[]): Promise<void> => {
    const results = await encoder.run(concatenate(batch), outputs, {
      ...options,
      onProgress: ({ done: stages, total, label }) => { options.onProgress?.({ done: done + batch.length * stages / total, total: count, ...(label !== undefined && { label }) }); },
    });
    for (const [name, value] of results) parts.set(name, [...(parts.get(name) ?? []), value]);
    done += batch.length;
  };
  let batch: Array32[] = [];
  for await (const picture of pixels) {
    options.signal?.throwIfAborted();
    batch.push(picture);
    if (batch.length < batchSize) continue;
    await flush(batch);
    batch = [];
  }
  if (batch.length > 0) await flush(batch);
  return new Map([...parts].map(([name, arrays]) => [name, concatenate(arrays)]));
}

/** Joins arrays along their first dimension. */
export function concatenate(arrays: readonly Array32[]): Array32 {
  const [first] = arrays;
  if (first === undefined) throw new RangeError('There is nothing to join.');
  if (arrays.length === 1) return first;
  const data = new Float32Array(arrays.reduce((sum, one) => sum + one.data.length, 0));
  let offset = 0;
  for (const one of arrays) {
    data.set(one.data, offset);
    offset += one.data.length;
  }
  return { shape: [arrays.reduce((sum, { shape: [rows = 0] }) => sum + rows, 0), ...first.shape.slice(1)], data };
}
