import { gridOf } from '../architecture/forwardGraphs';
import type { GraphSpec } from '../architecture/graphSpec';
import type { Grid } from '../architecture/positions';
import { cosine, cosinesTo, matchProbabilities, meanToken } from '../features/similarity';
import { tokenNorms } from '../features/norms';
import { colourScale, pcaColours } from '../features/pcaColours';
import { fitPca, projectOnto, type Pca } from '../features/pca';
import { histogram, summarize } from '../features/statistics';
import { token, tokenMatrix, type TokenMatrix } from '../features/tokenMatrix';
import { seenArea, type Rectangle } from '../image/geometry';
import { decodeImage } from '../image/decode';
import { preprocess, type PreprocessSpec } from '../image/preprocess';
import { UserError } from '../errors';
import type { Comparison, FeatureStatistics, MapKind, PatchMap, Question } from '../protocol';
import { encodeDisplay } from './display';
import type { Array32, LoadedEncoder, RunHooks } from './encoder';

/** What is known of a picture before it is encoded. */
export interface OpenedPicture {
  readonly width: number;
  readonly height: number;
  /** What the encoder sees of it, as shares of its width and height. */
  readonly seen: Rectangle;
  /** The patches that it is cut into. */
  readonly grid: Grid;
  /** PNG, small enough for a screen. */
  readonly display: Uint8Array;
  readonly decodeMs: number;
  readonly resizeMs: number;
}

/** A loaded encoder, with what its graph says of it. */
export interface Running {
  readonly encoder: LoadedEncoder;
  /** Attention heads of a block. */
  readonly heads: number;
}

interface Picture {
  readonly name: string;
  readonly pixels: Array32;
  readonly grid: Grid;
  /** By output name; empty until the picture is encoded. */
  values: Map<string, Array32>;
}

const HISTOGRAM_BINS = 48;

/**
 * The pictures of a preview with what the encoder made of them. It lives in the encoder's process: a full-size
 * encoder's hidden states are hundreds of megabytes per picture, so the questions come here, and only what is
 * drawn goes back.
 */
export class Gallery {
  private readonly pictures = new Map<string, Picture>();
  private pca: { readonly layer: number; readonly ids: string; readonly fitted: Pca } | undefined;
  private attention: { readonly name: string; readonly map: Float32Array } | undefined;

  /** @throws UserError when it is no picture that can be decoded */
  async open(id: string, name: string, bytes: Uint8Array, graph: GraphSpec, spec: PreprocessSpec): Promise<OpenedPicture> {
    const started = performance.now();
    const image = await decodeImage(bytes, { name });
    const decoded = performance.now();
    const { pixels, geometry } = preprocess(image, spec);
    const resized = performance.now();
    const grid = gridOf(graph, geometry.height, geometry.width);
    this.close(id);
    this.pictures.set(id, { name, pixels: { shape: [1, 3, geometry.height, geometry.width], data: pixels }, grid, values: new Map() });
    const { x, y, width, height } = seenArea(geometry);
    return {
      width: image.width,
      height: image.height,
      seen: { x: x / image.width, y: y / image.height, width: width / image.width, height: height / image.height },
      grid,
      display: await encodeDisplay(image),
      decodeMs: decoded - started,
      resizeMs: resized - decoded,
    };
  }

  /** Runs the encoder on an opened picture and keeps every hidden state. Gives the milliseconds that it took. */
  async encode(id: string, encoder: LoadedEncoder, outputs: readonly string[], hooks: Omit<RunHooks, 'onOutput'>): Promise<number> {
    const picture = this.picture(id);
    const values = new Map<string, Array32>();
    const started = performance.now();
    await encoder.run(picture.pixels, outputs, { ...hooks, onOutput: (name, value) => { values.set(name, value); return Promise.resolve(); } });
    picture.values = values;
    this.pca = undefined;
    return performance.now() - started;
  }

  close(id: string): void {
    this.pictures.delete(id);
    this.pca = undefined;
    this.attention = undefined;
  }

  /** Forgets what the encoder made of the pictures: another encoder takes its place. */
  forgetValues(): void {
    for (const picture of this.pictures.values()) picture.values = new Map();
    this.pca = undefined;
    this.attention = undefined;
  }

  /** The values of a picture that are worth keeping on disk, with the pixels that gave them. */
  values(id: string): ReadonlyMap<string, Array32> {
    const { pixels, values } = this.picture(id);
    return new Map([['pixel_values', pixels], ...values]);
  }

  async answer(question: Question, running: Running): Promise<PatchMap | FeatureStatistics | Float32Array | Comparison> {
    switch (question.type) {
      case 'map': return this.map(question.picture, question.map, running);
      case 'statistics': return this.statistics(question.picture, question.layer);
      case 'patch': return token(this.hidden(question.picture, question.layer), question.patch).slice();
      case 'compare': return this.compare(question.pictures, question.temperature);
    }
  }

  private async map(id: string, map: MapKind, running: Running): Promise<PatchMap> {
    const { grid } = this.picture(id);
    switch (map.kind) {
      case 'pca': return this.pcaMap(id, map.layer);
      case 'norm': return onGrid(tokenNorms(this.hidden(id, map.layer)), grid);
      case 'similarity': return onGrid(cosinesTo(this.hidden(id, map.layer), token(this.hidden(map.from ?? id, map.layer), map.patch)), grid);
      case 'channel': {
        const { data, tokens, channels } = this.hidden(id, map.layer);
        return onGrid(Float32Array.from({ length: tokens }, (_, index) => data[index * channels + map.channel] ?? NaN), grid);
      }
      case 'attention': return onGrid(await this.attentionFrom(id, map.layer, map.head, map.patch, running), grid);
      case 'pool': return onGrid(token(matrixOf(this.value(id, 'attn_pool.weights')), map.query).slice(), grid);
    }
  }

  /** Fitted on all encoded pictures together, so that a colour means the same in each. */
  private pcaMap(id: string, layer: number): PatchMap {
    const encoded = [...this.pictures].filter(([, { values }]) => values.size > 0).map(([each]) => each);
    const ids = encoded.join();
    if (this.pca?.layer !== layer || this.pca.ids !== ids) {
      this.pca = { layer, ids, fitted: fitPca(encoded.map(each => this.hidden(each, layer))) };
    }
    const { fitted } = this.pca;
    const projections = new Map(encoded.map(each => [each, projectOnto(fitted, this.hidden(each, layer))]));
    const own = projections.get(id) ?? projectOnto(fitted, this.hidden(id, layer));
    return { ...this.picture(id).grid, colours: pcaColours(own, colourScale([...projections.values()])), explained: fitted.explainedVarianceRatio };
  }

  private async attentionFrom(id: string, layer: number, head: number | undefined, patch: number, { encoder, heads }: Running): Promise<Float32Array> {
    const input = this.value(id, layer === 0 ? 'embeddings' : `hidden_states.${layer - 1}`);
    const name = `${id} ${layer} ${head ?? 'mean'}`;
    if (this.attention?.name !== name) {
      const wanted = head === undefined ? Array.from({ length: heads }, (_, each) => each) : [head];
      let sum: Float32Array | undefined;
      for (const each of wanted) {
        const { data } = await encoder.attention(layer, each, input, this.picture(id).grid);
        if (sum === undefined) sum = data.slice();
        else for (let at = 0; at < sum.length; at++) sum[at] = (sum[at] ?? 0) + (data[at] ?? 0);
      }
      const map = sum ?? new Float32Array();
      this.attention = { name, map: map.map(value => value / wanted.length) };
    }
    const tokens = Math.sqrt(this.attention.map.length);
    return this.attention.map.slice(patch * tokens, (patch + 1) * tokens);
  }

  private statistics(id: string, layer: number | 'pooled'): FeatureStatistics {
    const { shape, data } = this.value(id, layer === 'pooled' ? 'features' : nameOf(layer));
    return { shape, statistics: summarize(data), histogram: histogram(data, HISTOGRAM_BINS) };
  }

  private compare(ids: readonly string[], temperature: number): Comparison {
    const pooled = ids.map(id => meanToken(matrixOf(this.value(id, 'features'))));
    const cosines = Float32Array.from(pooled.flatMap(a => pooled.map(b => cosine(a, b))));
    return {
      names: ids.map(id => this.picture(id).name),
      cosine: rowsOf(cosines, ids.length),
      softmax: rowsOf(matchProbabilities(cosines, ids.length, temperature), ids.length),
    };
  }

  private hidden(id: string, layer: number): TokenMatrix {
    return matrixOf(this.value(id, nameOf(layer)));
  }

  private value(id: string, name: string): Array32 {
    const { values, name: title } = this.picture(id);
    const value = values.get(name);
    if (value === undefined) throw new UserError(`${title} has no ${name}: it is not encoded yet, or this encoder has none.`);
    return value;
  }

  private picture(id: string): Picture {
    const picture = this.pictures.get(id);
    if (picture === undefined) throw new UserError('The picture is no longer open. Add it again.');
    return picture;
  }
}

/** The output that holds a layer's hidden state; -1 is the patch embedding. */
function nameOf(layer: number): string {
  return layer < 0 ? 'embeddings' : `hidden_states.${layer}`;
}

/** The first picture of a batch, one row per token. */
function matrixOf({ shape, data }: Array32): TokenMatrix {
  const [, tokens = 0, channels = 0] = shape;
  return tokenMatrix(data.subarray(0, tokens * channels), tokens, channels);
}

function onGrid(values: Float32Array, grid: Grid): PatchMap {
  return { ...grid, values };
}

function rowsOf(values: Float32Array, columns: number): number[][] {
  return Array.from({ length: values.length / columns }, (_, row) => [...values.subarray(row * columns, (row + 1) * columns)]);
}
