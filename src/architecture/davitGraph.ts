import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { BindWeight, ForwardGraph, HiddenState, PoolOutput } from './forwardGraph';
import type { DavitSpec } from './graphSpec';
import { activation, attend, attentionWeights, layerNorm, linear } from './operators';
import type { Grid } from './positions';
import { inverseOrder, paddedWindows } from './windows';

/** Of every norm; the classes leave PyTorch's. */
const EPSILON = 1e-5;
/** Side of the depthwise convolutions' kernels. */
const DEPTHWISE = 3;

type Stage = DavitSpec['stages'][number];
type Names = DavitSpec['spatial'];

/** How many pixels a patch of the last of `stages` has on its side. */
export function loweredBy(stages: readonly Stage[]): number {
  return stages.reduce((product, { stride }) => product * stride, 1);
}

/**
 * The forward pass of DaViT (arXiv 2204.03645) as Florence-2 has it: microsoft/Florence-2-large, modeling_florence2.py, and
 * Florence2VisionBackbone of transformers (models/florence2), which differ in names alone. A block here is a pair of theirs: a
 * spatial block, then a channel block; the first of a stage takes the convolution before the stage with it. What is
 * missing of a window at the lower and right edges is zeros after the norm, which are attended to.
 * @param grid patches of the last stage
 */
export function davitGraph(spec: DavitSpec, grid: Grid): ForwardGraph {
  const { stages, window: side } = spec;
  const patch = loweredBy(stages);
  const states = stages.map(({ width, heads }, index): HiddenState => {
    const times = loweredBy(stages.slice(index + 1));
    const own = { rows: grid.rows * times, columns: grid.columns * times };
    return { grid: own, width, tokens: own.rows * own.columns, heads };
  });
  /** The stage of each block, and its number there. */
  const places = stages.flatMap(({ blocks }, stage) => Array.from({ length: blocks }, (_, index) => ({ stage, index })));
  const placeOf = (layer: number): { readonly stage: number; readonly index: number } => places[layer] ?? { stage: 0, index: 0 };

  function stateOf(stage: number): HiddenState {
    const state = states[stage];
    if (state === undefined) throw new Error(`The encoder has no stage ${stage}.`);
    return state;
  }

  /** Rows (batch * tokens, width) as (batch, width, rows, columns). */
  function toMaps(b: GraphBuilder, { grid: { rows, columns }, width, tokens }: HiddenState, hidden: Value): Value {
    const flat = b.node('Transpose', [b.node('Reshape', [hidden, b.integers([-1, tokens, width])], 'maps.batched')], 'maps.flat', { perm: [0, 2, 1] });
    return b.node('Reshape', [flat, b.integers([-1, width, rows, columns])], 'maps');
  }

  function toRows(b: GraphBuilder, { width, tokens }: HiddenState, maps: Value): Value {
    const flat = b.node('Reshape', [maps, b.integers([-1, width, tokens])], 'rows.flat');
    return b.node('Reshape', [b.node('Transpose', [flat], 'rows.batched', { perm: [0, 2, 1] }), b.integers([-1, width])], 'rows');
  }

  /** The convolution before a stage, with its norm, of pixels or of the stage before. */
  function lowered(b: GraphBuilder, weight: BindWeight, number: number, input: Value): Value {
    const { kernel, stride, normFirst } = stages[number] ?? { kernel: 1, stride: 1, normFirst: false };
    const state = stateOf(number);
    const before = number === 0 ? undefined : stateOf(number - 1);
    const normed = (path: string, width: number, rows: Value): Value => layerNorm(b, weight, path, width, EPSILON, rows);
    const maps = before === undefined ? input : toMaps(b, before, normFirst ? normed(`convs.${number}.norm`, before.width, input) : input);
    const path = `convs.${number}.${spec.conv}`;
    const matrix = weight({ key: `${path}.weight`, shape: [state.width, before?.width ?? 3, kernel, kernel], firstRow: 0 });
    const bias = weight({ key: `${path}.bias`, shape: [state.width], firstRow: 0 });
    const padding = Math.floor(kernel / 2);
    const convolved = b.product('Conv', [maps, matrix, bias], path, { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [padding, padding, padding, padding] });
    const rows = toRows(b, state, convolved);
    return normFirst ? rows : normed(`convs.${number}.norm`, state.width, rows);
  }

  /** What goes into block `layer`, of its own stage's grid. */
  function entering(b: GraphBuilder, weight: BindWeight, before: Value, layer: number): Value {
    const { stage } = placeOf(layer);
    return isFirst(layer) ? lowered(b, weight, stage, before) : before;
  }

  /** Whether block `layer` takes the convolution before its stage with it; the first stage's is the patch embedding. */
  function isFirst(layer: number): boolean {
    const { stage, index } = placeOf(layer);
    return stage > 0 && index === 0;
  }

  function blockModule(layer: number): string {
    const { stage, index } = placeOf(layer);
    return `blocks.${stage}.${index}`;
  }

  /** The module path before the keys of a spatial or channel block, where blocks are not asked for within their own. */
  function pathOf(layer: number, kind: 'spatial_block' | 'channel_block'): string {
    return isFirst(layer) ? `${blockModule(layer)}.${kind}` : kind;
  }

  /** A position encoding by convolution: each channel's 3 x 3 surroundings, added. */
  function placed(b: GraphBuilder, weight: BindWeight, path: string, state: HiddenState, hidden: Value): Value {
    const { width } = state;
    const kernel = weight({ key: `${path}.weight`, shape: [width, 1, DEPTHWISE, DEPTHWISE], firstRow: 0 });
    const bias = weight({ key: `${path}.bias`, shape: [width], firstRow: 0 });
    const maps = b.product('Conv', [toMaps(b, state, hidden), kernel, bias], path, { kernel_shape: [DEPTHWISE, DEPTHWISE], pads: [1, 1, 1, 1], group: width });
    return b.node('Add', [hidden, toRows(b, state, maps)], `${path}.added`);
  }

  /** Queries (0), keys (1) or values (2) of rows, or only some of their channels. */
  function project(b: GraphBuilder, weight: BindWeight, path: string, { width }: HiddenState, part: 0 | 1 | 2, rows: Value, some = { first: 0, count: width }): Value {
    return linear(b, weight, path, some.count, width, rows, part * width + some.first);
  }

  /** Rows by window, padded: (batch * windows * side^2, width). */
  function byWindow(b: GraphBuilder, { grid: own, width, tokens }: HiddenState, rows: Value): Value {
    const order = paddedWindows(own, side);
    const batched = b.node('Reshape', [rows, b.integers([-1, tokens, width])], 'windows.batched');
    const batch = b.node('Shape', [batched], 'windows.batch', { start: 0, end: 1 });
    const zeros = (): Value => b.node('Expand', [b.scalar(0), b.node('Concat', [batch, b.integers([1, width])], 'windows.zeros_shape', { axis: 0 })], 'windows.zeros');
    // -1, the padding, is the last row.
    const source = order.length === tokens ? batched : b.node('Concat', [batched, zeros()], 'windows.with_zeros', { axis: 1 });
    const gathered = b.node('Gather', [source, b.indices(`windows.order.${tokens}`, [order.length], () => order)], 'windows.cut', { axis: 1 });
    return b.node('Reshape', [gathered, b.integers([-1, width])], 'windows.rows');
  }

  /** The reverse, of `columns` values a token: (batch, tokens, columns). */
  function backInOrder(b: GraphBuilder, { grid: own, tokens }: HiddenState, columns: number, windows: Value): Value {
    const order = paddedWindows(own, side);
    const whole = b.node('Reshape', [windows, b.integers([-1, order.length, columns])], 'windows.whole');
    return b.node('Gather', [whole, b.indices(`windows.back.${tokens}`, [tokens], () => inverseOrder(order))], 'windows.ordered', { axis: 1 });
  }

  /** What the spatial block's attention takes. */
  function spatialInput(b: GraphBuilder, weight: BindWeight, state: HiddenState, path: string, hidden: Value): { readonly placedRows: Value; readonly windows: Value } {
    const placedRows = placed(b, weight, `${path}.${spec.spatial.conv1}`, state, hidden);
    return { placedRows, windows: byWindow(b, state, layerNorm(b, weight, `${path}.${spec.spatial.norm1}`, state.width, EPSILON, placedRows)) };
  }

  function spatial(b: GraphBuilder, weight: BindWeight, state: HiddenState, path: string, hidden: Value): Value {
    const { width } = state;
    const { placedRows, windows } = spatialInput(b, weight, state, path, hidden);
    const [q = '', k = '', v = ''] = ([0, 1, 2] as const).map(part => b.node('Reshape', [project(b, weight, `${path}.${spec.spatial.qkv}`, state, part, windows), b.integers([-1, side * side, width])], 'windows.projected'));
    const context = backInOrder(b, state, width, attend(b, state, q, k, v, side * side, side * side));
    return rest(b, weight, spec.spatial, state, path, placedRows, b.node('Reshape', [context, b.integers([-1, width])], 'windows.context'));
  }

  /** Channels attend to the others of their group: their values at all tokens are what is compared. */
  function channels(b: GraphBuilder, weight: BindWeight, state: HiddenState, groups: number, path: string, hidden: Value): Value {
    const { width, tokens } = state;
    const names = spec.channel;
    const placedRows = placed(b, weight, `${path}.${names.conv1}`, state, hidden);
    const normed = layerNorm(b, weight, `${path}.${names.norm1}`, width, EPSILON, placedRows);
    const grouped = (part: 0 | 1 | 2, label: string, perm: readonly number[]): Value =>
      b.node('Transpose', [b.node('Reshape', [project(b, weight, `${path}.${names.qkv}`, state, part, normed), b.integers([-1, tokens, groups, width / groups])], `${label}.by_group`)], `${label}.4d`, { perm });
    const weights = attentionWeights(b, 'channels', tokens, grouped(0, 'channels.q', [0, 2, 3, 1]), grouped(1, 'channels.k', [0, 2, 1, 3]));
    const context = b.product('MatMul', [weights, grouped(2, 'channels.v', [0, 2, 3, 1])], 'channels.context');
    const rows = b.node('Reshape', [b.node('Transpose', [context], 'channels.by_token', { perm: [0, 3, 1, 2] }), b.integers([-1, width])], 'channels.rows');
    return rest(b, weight, names, state, path, placedRows, rows);
  }

  /** A block after its attention's context. */
  function rest(b: GraphBuilder, weight: BindWeight, names: Names, state: HiddenState, path: string, placedRows: Value, context: Value): Value {
    const { width } = state;
    const attended = b.node('Add', [placedRows, linear(b, weight, `${path}.${names.out}`, width, width, context)], 'attended');
    const again = placed(b, weight, `${path}.${names.conv2}`, state, attended);
    const inner = linear(b, weight, `${path}.${names.fc1}`, 4 * width, width, layerNorm(b, weight, `${path}.${names.norm2}`, width, EPSILON, again));
    return b.node('Add', [again, linear(b, weight, `${path}.${names.fc2}`, width, 4 * width, activation(b, spec.activation, inner))], 'block');
  }

  function block(b: GraphBuilder, weight: BindWeight, before: Value, layer: number): Value {
    const { stage } = placeOf(layer);
    const state = stateOf(stage);
    const between = spatial(b, weight, state, pathOf(layer, 'spatial_block'), entering(b, weight, before, layer));
    return channels(b, weight, state, stages[stage]?.groups ?? 1, pathOf(layer, 'channel_block'), between);
  }

  function attention(b: GraphBuilder, weight: BindWeight, before: Value, layer: number, head: number): Value {
    const state = stateOf(placeOf(layer).stage);
    const path = pathOf(layer, 'spatial_block');
    const headDim = state.width / state.heads;
    const { windows } = spatialInput(b, weight, state, path, entering(b, weight, before, layer));
    const of = (part: 0 | 1): Value => b.node('Reshape', [project(b, weight, `${path}.${spec.spatial.qkv}`, state, part, windows, { first: head * headDim, count: headDim }), b.integers([-1, side * side, headDim])], 'head.windows');
    const weights = attentionWeights(b, 'head', headDim, of(0), b.node('Transpose', [of(1)], 'head.kT', { perm: [0, 2, 1] }));
    return backInOrder(b, state, side * side, weights);
  }

  const last = stateOf(stages.length - 1);

  function pool(b: GraphBuilder, _: BindWeight, hidden: Value, wanted: readonly PoolOutput[]): ReadonlyMap<PoolOutput, Value> {
    return wanted.includes('features') ? new Map([['features', b.node('Reshape', [hidden, b.integers([-1, last.tokens, last.width])], 'features.batched')]]) : new Map();
  }

  function windowOf(layer: number, token: number): readonly number[] {
    const { grid: { rows, columns } } = stateOf(placeOf(layer).stage);
    const [top, left] = [Math.floor(token / columns), token % columns].map(at => at - at % side);
    return Array.from({ length: side * side }, (_, place) => {
      const [row, column] = [(top ?? 0) + Math.floor(place / side), (left ?? 0) + place % side];
      return row < rows && column < columns ? row * columns + column : -1;
    });
  }

  return {
    ...last, layers: places.length,
    inputShape: [3, grid.rows * patch, grid.columns * patch],
    stages: { stateAt: layer => stateOf(placeOf(layer).stage), columns: side * side, windowOf },
    prefixTokens: 0, idleTokens: 0, queries: 0, outputDim: last.width,
    poolShapes: new Map([['features', [last.tokens, last.width]]]), pooledStates: [], blockOutputs: [], derivedTables: [],
    blockPath: layer => (isFirst(layer) ? '' : blockModule(layer)),
    blockKind: layer => `stage ${placeOf(layer).stage}${isFirst(layer) ? ', first' : ''}`,
    embeddings: (b, weight, pixels) => lowered(b, weight, 0, pixels),
    block, attention, pool,
  };
}
