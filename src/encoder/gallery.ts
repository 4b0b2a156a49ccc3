import { t } from '@vscode/l10n';
import { differenceMap, relativeError } from '../features/difference';
import { cosine, cosinesTo, matchProbabilities, meanToken } from '../features/similarity';
import { tokenNorms } from '../features/norms';
import { colourScale, pcaColours, type ColourScale } from '../features/pcaColours';
import { fitPca, projectOnto, type Pca } from '../features/pca';
import { histogram, summarize } from '../features/statistics';
import { token, tokenMatrix, type TokenMatrix } from '../features/tokenMatrix';
import { seenArea, type Rectangle } from '../image/geometry';
import { decodeImage } from '../image/decode';
import { preprocess, type PreprocessSpec } from '../image/preprocess';
import { stateAt, type ForwardGraph, type HiddenState } from '../architecture/forwardGraph';
import { forwardGraph, gridOf } from '../architecture/forwardGraphs';
import { mergedNames } from '../architecture/outputs';
import type { GraphSpec } from '../architecture/graphSpec';
import type { Grid } from '../architecture/positions';
import { UserError } from '../errors';
import type { Answers, Comparison, EncoderSlot, FeatureStatistics, MapKind, PatchMap, Question, ResizeMode, Subject } from '../protocol';
import { encodeDisplay, encodeThumbnail } from './display';
import type { Array32, LoadedEncoder, RunHooks } from './encoder';

/** How pictures are prepared, by what the person chose. */
export type Preprocessing = Readonly<Record<ResizeMode, PreprocessSpec>>;

/** What is known of a picture before it is encoded. */
export interface OpenedPicture {
  readonly width: number;
  readonly height: number;
  /** What the encoder sees of it, as shares of its width and height. */
  readonly seen: Rectangle;
  /** Patches of the encoder's input. */
  readonly grid: Grid;
  /** By layer, from the patch embedding on, where hidden states have grids of their own. */
  readonly grids?: readonly Grid[];
  /** PNG, small enough for a screen. */
  readonly display: Uint8Array;
  /** PNG, small enough for a list. */
  readonly thumbnail: Uint8Array;
  readonly decodeMs: number;
  readonly resizeMs: number;
}

/** A loaded encoder with its forward pass. */
export interface Running {
  readonly encoder: LoadedEncoder;
  readonly spec: GraphSpec;
  /** For its usual picture; what depends on the grid is asked of `spec`. */
  readonly graph: ForwardGraph;
}

interface Encoded {
  readonly pixels: Array32;
  readonly grid: Grid;
  readonly graph: ForwardGraph;
  /** By output name; empty until the picture is encoded. */
  values: ReadonlyMap<string, Array32>;
}

interface Picture {
  readonly name: string;
  readonly encoded: Map<EncoderSlot, Encoded>;
}

interface FittedColours {
  readonly pca: Pca;
  readonly scale: ColourScale;
}

const HISTOGRAM_BINS = 48;
/** One vector for a picture: the best that an encoder has. */
const EMBEDDINGS = ['projected', 'pooled', 'features'] as const;

/**
 * The pictures of a preview with what one or two encoders made of them. It lives in the encoder's process: a full-size
 * encoder's hidden states are hundreds of megabytes per picture, so the questions come here, and only what is
 * drawn goes back.
 */
export class Gallery {
  private readonly pictures = new Map<string, Picture>();
  /** By layer and subjects; scrubbing goes back and forth. */
  private readonly colours = new Map<string, FittedColours>();
  private attention: { readonly name: string; readonly map: Float32Array } | undefined;

  /** @throws UserError when it is no picture that can be decoded, or the encoder does not take its size */
  async open(id: string, name: string, bytes: Uint8Array, slot: EncoderSlot, { spec: model }: Pick<Running, 'spec'>, spec: PreprocessSpec): Promise<OpenedPicture> {
    const started = performance.now();
    const image = await decodeImage(bytes, { name });
    const decoded = performance.now();
    const { pixels, geometry } = preprocess(image, spec);
    const resized = performance.now();
    const grid = gridOf(model, geometry.height, geometry.width);
    const picture = this.pictures.get(id) ?? { name, encoded: new Map<EncoderSlot, Encoded>() };
    const graph = forwardGraph(model, grid);
    picture.encoded.set(slot, { pixels: { shape: [1, 3, geometry.height, geometry.width], data: pixels }, grid, graph, values: new Map() });
    this.pictures.set(id, picture);
    this.forgetDerived();
    const { x, y, width, height } = seenArea(geometry);
    return {
      width: image.width,
      height: image.height,
      seen: { x: x / image.width, y: y / image.height, width: width / image.width, height: height / image.height },
      grid,
      ...(graph.stages && { grids: Array.from({ length: graph.layers + 1 }, (_, index) => stateAt(graph, index - 1).grid) }),
      display: await encodeDisplay(image),
      thumbnail: await encodeThumbnail(image),
      decodeMs: decoded - started,
      resizeMs: resized - decoded,
    };
  }

  /**
   * Runs the encoder on an opened picture and keeps the hidden states of `layers`, and its outputs when the last block is among them:
   * otherwise it runs no further than it must. Gives the milliseconds that it took.
   */
  async encode(id: string, slot: EncoderSlot, { encoder, graph }: Running, layers: readonly number[], hooks: Omit<RunHooks, 'onOutput'>): Promise<number> {
    const encoded = this.encoded({ picture: id, encoder: slot });
    const values = new Map<string, Array32>();
    const started = performance.now();
    await encoder.run(encoded.pixels, outputsFor(graph, layers), { ...hooks, onOutput: (name, value) => { values.set(name, value); return Promise.resolve(); } });
    encoded.values = values;
    this.forgetDerived();
    return performance.now() - started;
  }

  /** Forgets the hidden states of other blocks than these, and the outputs where the last block is not among them. */
  keepLayers(slot: EncoderSlot, layers: readonly number[]): void {
    for (const { encoded } of this.pictures.values()) {
      const one = encoded.get(slot);
      if (one === undefined || one.values.size === 0) continue;
      const kept = new Set(outputsFor(one.graph, layers));
      one.values = new Map([...one.values].filter(([name]) => kept.has(name)));
    }
    this.forgetDerived();
  }

  close(id: string): void {
    this.pictures.delete(id);
    this.forgetDerived();
  }

  /** Forgets what an encoder made of the pictures: another takes its place, or none. */
  forget(slot: EncoderSlot): void {
    for (const picture of this.pictures.values()) picture.encoded.delete(slot);
    this.forgetDerived();
  }

  /** What the main encoder made of a picture, with the pixels that it saw. */
  values(id: string): ReadonlyMap<string, Array32> {
    const { pixels, values } = this.encoded({ picture: id, encoder: 'main' });
    return new Map([['pixel_values', pixels], ...values]);
  }

  /** @param running the loaded encoders, for attention maps, which are computed when asked for */
  async answer(question: Question, running: ReadonlyMap<EncoderSlot, Running>): Promise<Answers[Question['type']]> {
    switch (question.type) {
      case 'map': return this.map(question.subject, question.map, running);
      case 'statistics': return this.statistics(question.subject, question.layer);
      case 'patch': return token(this.patches(question.subject, question.layer), question.patch).slice();
      case 'compare': return this.compare(question.pictures, question.temperature);
      case 'errors': return { errors: this.errors(question.picture) };
    }
  }

  private async map(subject: Subject, map: MapKind, running: ReadonlyMap<EncoderSlot, Running>): Promise<PatchMap> {
    const numbers = (values: Float32Array): PatchMap => ({ ...this.stateOf(subject, 'layer' in map ? map.layer : undefined).grid, values });
    switch (map.kind) {
      case 'pca': return this.pcaMap(subject, map.layer, map.among);
      case 'norm': return numbers(tokenNorms(this.patches(subject, map.layer)));
      case 'similarity': return numbers(this.similarity(subject, map.layer, map.patch, map.from ?? subject));
      case 'channel': {
        const { data, tokens, channels } = this.patches(subject, map.layer);
        return numbers(Float32Array.from({ length: tokens }, (_, index) => data[index * channels + map.channel] ?? NaN));
      }
      case 'attention': return numbers(await this.attentionFrom(subject, map.layer, map.head, map.patch, running));
      case 'pool': return numbers(this.patchesOf(subject, token(matrixOf(this.value(subject, 'attn_pool.weights')), map.query)));
      case 'difference': return numbers(differenceMap(this.patches({ ...subject, encoder: 'other' }, map.layer), this.patches({ ...subject, encoder: 'main' }, map.layer)).relative);
    }
  }

  private similarity(subject: Subject, layer: number, patch: number, from: Subject): Float32Array {
    const matrix = this.patches(subject, layer);
    const reference = this.patches(from, layer);
    if (reference.channels !== matrix.channels) throw new UserError(t`The encoders' features are ${reference.channels} and ${matrix.channels} wide, so a patch of one has no similarity to those of the other.`);
    return cosinesTo(matrix, token(reference, patch));
  }

  /** Fitted on all that are shown together, so that a colour means the same in each. Only what is equally wide can be. */
  private pcaMap(subject: Subject, layer: number, among: readonly Subject[]): PatchMap {
    const own = this.patches(subject, layer);
    const together = among.map(each => [each, this.patches(each, layer)] as const).filter(([, { channels }]) => channels === own.channels);
    const key = [layer, ...together.map(([{ picture, encoder }]) => `${encoder} ${picture}`)].join();
    let fitted = this.colours.get(key);
    if (fitted === undefined) {
      const pca = fitPca(together.map(([, matrix]) => matrix));
      fitted = { pca, scale: colourScale(together.map(([, matrix]) => projectOnto(pca, matrix))) };
      this.colours.set(key, fitted);
    }
    const { pca, scale } = fitted;
    return { ...this.stateOf(subject, layer).grid, colours: pcaColours(projectOnto(pca, own), scale), explained: pca.explainedVarianceRatio };
  }

  private async attentionFrom(subject: Subject, layer: number, head: number | undefined, patch: number | undefined, running: ReadonlyMap<EncoderSlot, Running>): Promise<Float32Array> {
    const encoder = running.get(subject.encoder)?.encoder;
    const { stages, prefixTokens, idleTokens } = this.encoded(subject).graph;
    const { heads, tokens } = this.stateOf(subject, layer);
    if (encoder === undefined) throw new UserError(t('The encoder is not loaded any more. Start it again.'));
    if (patch === undefined && prefixTokens === idleTokens) throw new UserError(t('This encoder has no class token, so attention is shown from a patch: choose one.'));
    const { pixels, values, grid } = this.encoded(subject);
    const name = [subject.encoder, subject.picture, layer, head ?? 'mean'].join(' ');
    let map = this.attention?.name === name ? this.attention.map : undefined;
    if (map === undefined) {
      const wanted = head === undefined ? Array.from({ length: heads }, (_, each) => each) : [head];
      map = await meanAttention(encoder, layer, wanted, values.get(layer === 0 ? 'embeddings' : `hidden_states.${layer - 1}`), { pixels, grid });
      this.attention = { name, map };
    }
    const from = patch === undefined ? idleTokens : prefixTokens + patch;
    const columns = map.length / tokens;
    const row = map.subarray(from * columns, (from + 1) * columns);
    if (stages === undefined) return this.patchesOf(subject, row);
    // Beyond its window a token attends to nothing, and what it gives to padding is on no patch.
    const spread = new Float32Array(tokens);
    for (const [place, to] of stages.windowOf(layer, from).entries()) if (to >= 0) spread[to] = row[place] ?? 0;
    return spread;
  }

  private statistics(subject: Subject, layer: number): FeatureStatistics {
    const { shape: [batch = 1, tokens = 0, channels = 0], data } = this.layer(subject, layer);
    const { tokens: all, idleTokens } = this.encoded(subject).graph;
    const idle = tokens === all ? idleTokens : 0;
    const seen = data.subarray(idle * channels);
    return { shape: [batch, tokens - idle, channels], statistics: summarize(seen), histogram: histogram(seen, HISTOGRAM_BINS) };
  }

  private compare(ids: readonly string[], temperature: number): Comparison {
    const pooled = ids.map(picture => this.embedding({ picture, encoder: 'main' }));
    const cosines = Float32Array.from(pooled.flatMap(a => pooled.map(b => cosine(a, b))));
    return {
      names: ids.map(id => this.picture(id).name),
      cosine: rowsOf(cosines, ids.length),
      softmax: rowsOf(matchProbabilities(cosines, ids.length, temperature), ids.length),
    };
  }

  /** The picture's one vector; the mean of the output's tokens where the encoder has none. */
  private embedding(subject: Subject): Float32Array {
    const { values } = this.encoded(subject);
    const name = EMBEDDINGS.find(each => values.has(each)) ?? 'features';
    const value = this.value(subject, name);
    return name === 'features' ? meanToken(matrixOf(value)) : value.data;
  }

  private errors(picture: string): number[] {
    const main = this.encoded({ picture, encoder: 'main' }).values;
    const other = this.encoded({ picture, encoder: 'other' }).values;
    const { graph } = this.encoded({ picture, encoder: 'main' });
    const names = ['embeddings', ...Array.from({ length: graph.layers }, (_, layer) => `hidden_states.${layer}`), 'features', ...mergedNames(graph)];
    // Layers that were not kept, or that one encoder has in another size, have no error.
    return names.map(name => {
      const [reference, values] = [main.get(name)?.data, other.get(name)?.data];
      return reference === undefined || values?.length !== reference.length ? NaN : relativeError(values, reference);
    });
  }

  /** A layer's patches without the tokens before them. */
  private patches(subject: Subject, layer: number): TokenMatrix {
    const { graph } = this.encoded(subject);
    const { grid: { rows, columns }, tokens: all } = this.stateOf(subject, layer);
    const { data, tokens, channels } = matrixOf(this.layer(subject, layer));
    if (layer > graph.layers && tokens > 0) return ofBlocks({ data, tokens, channels }, { rows, columns });
    // The patches are the last of the tokens.
    if (tokens !== all && tokens !== all - graph.idleTokens) throw new UserError(t('This layer has no features for each patch.'));
    return tokenMatrix(data.subarray((tokens - rows * columns) * channels), rows * columns, channels);
  }

  /** The patches' part of one value per token. */
  private patchesOf(subject: Subject, values: Float32Array): Float32Array {
    const { grid: { rows, columns }, graph: { prefixTokens } } = this.encoded(subject);
    return values.slice(prefixTokens, prefixTokens + rows * columns);
  }

  /** The hidden state of a layer; after the blocks, and for what is of no layer, the last one. */
  private stateOf(subject: Subject, layer: number | undefined): HiddenState {
    const { graph } = this.encoded(subject);
    return stateAt(graph, Math.min(layer ?? graph.layers, graph.layers - 1));
  }

  private layer(subject: Subject, layer: number): Array32 {
    const { graph } = this.encoded(subject);
    const { layers } = graph;
    return this.value(subject, layer < 0 ? 'embeddings' : layer < layers ? `hidden_states.${layer}` : ['features', ...mergedNames(graph)][layer - layers] ?? 'an output after these');
  }

  private value(subject: Subject, name: string): Array32 {
    const value = this.encoded(subject).values.get(name);
    if (value === undefined) throw new UserError(t`${this.picture(subject.picture).name} has no ${name}: it is not encoded yet, only the first blocks ran, or this encoder has none.`);
    return value;
  }

  private encoded({ picture, encoder }: Subject): Encoded {
    const encoded = this.picture(picture).encoded.get(encoder);
    if (encoded === undefined) throw new UserError(t`${this.picture(picture).name} is not encoded yet.`);
    return encoded;
  }

  private picture(id: string): Picture {
    const picture = this.pictures.get(id);
    if (picture === undefined) throw new UserError(t('The picture is no longer open. Add it again.'));
    return picture;
  }

  private forgetDerived(): void {
    this.colours.clear();
    this.attention = undefined;
  }
}

/** What is kept of a picture with the hidden states of `layers`: the outputs too, when the last block is among them. */
function outputsFor(graph: ForwardGraph, layers: readonly number[]): string[] {
  const pooled = layers.includes(graph.layers - 1) ? [...graph.blockOutputs.map(({ name }) => name), ...[...graph.poolShapes.keys()].filter(name => name !== 'attn_pool.head_weights')] : [];
  return ['embeddings', ...layers.map(layer => `hidden_states.${layer}`), ...pooled];
}

/** Tokens of blocks of patches, told of each patch of its block: they are looked at patch by patch like any layer. */
function ofBlocks(merged: TokenMatrix, { rows, columns }: Grid): TokenMatrix {
  // Where a projector takes class tokens too, they come first.
  const others = Math.max(0, merged.tokens - rows * columns);
  const blocks = others === 0 ? merged : tokenMatrix(merged.data.subarray(others * merged.channels), rows * columns, merged.channels);
  const side = Math.sqrt(rows * columns / blocks.tokens);
  const data = new Float32Array(rows * columns * blocks.channels);
  for (let index = 0; index < rows * columns; index++) {
    const block = Math.floor(Math.floor(index / columns) / side) * (columns / side) + Math.floor(index % columns / side);
    data.set(token(blocks, block), index * blocks.channels);
  }
  return tokenMatrix(data, rows * columns, blocks.channels);
}

/** Whether a question can be answered without running the encoder: then it need not wait for a run that is under way. */
export function isQuick(question: Question): boolean {
  return question.type !== 'map' || question.map.kind !== 'attention';
}

/**
 * The mean of the heads' attention maps, (tokens, tokens), or (tokens, places of a window).
 * @param input what goes into the block; when it was not kept, the encoder runs anew from the pixels
 */
async function meanAttention(encoder: LoadedEncoder, layer: number, heads: readonly number[], input: Array32 | undefined, { pixels, grid }: Pick<Encoded, 'pixels' | 'grid'>): Promise<Float32Array> {
  let sum: Float64Array | undefined;
  const add = ({ data }: Array32): void => {
    sum ??= new Float64Array(data.length);
    for (let at = 0; at < sum.length; at++) sum[at] = (sum[at] ?? 0) + (data[at] ?? 0);
  };
  if (input !== undefined) for (const head of heads) add(await encoder.attention(layer, head, input, grid));
  else {
    await encoder.run(pixels, heads.map(head => `attentions.${layer}.${head}`), {
      onProgress: () => undefined, check: () => undefined,
      onOutput: (_, value) => { add(value); return Promise.resolve(); },
    });
  }
  return Float32Array.from(sum ?? [], value => value / heads.length);
}

/** The first picture of a batch, one row per token. */
function matrixOf({ shape, data }: Array32): TokenMatrix {
  const [, tokens = 0, channels = 0] = shape;
  return tokenMatrix(data.subarray(0, tokens * channels), tokens, channels);
}

function rowsOf(values: Float32Array, columns: number): number[][] {
  return Array.from({ length: values.length / columns }, (_, row) => [...values.subarray(row * columns, (row + 1) * columns)]);
}

