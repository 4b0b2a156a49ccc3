import { keptLayers, runsToEnd } from '../src/previewLimits';
import type { Encoding, EncoderStatus, MapKind, ModelInfo, PanelState, PictureInfo, Subject } from '../src/protocol';

export const INITIAL_STATE: PanelState = {
  overlay: 'pca', layer: 0, head: null, query: 0, channel: 0, patch: null, patchOnSecond: false, opacity: 0.65, arrangement: 'beside', grid: false, clip: false, allLayers: false, folded: ['keyboard'],
  shown: null, compared: null, temperature: null,
};

/** The state bounded to what the model has: a saved one may come from another model. */
export function fitState(state: PanelState, model: ModelInfo): PanelState {
  return {
    ...state,
    overlay: state.overlay === 'pool' && model.queries === 0 ? 'pca' : state.overlay,
    // One step past the last block stands for the output, those after it for what mergers make of it.
    layer: Math.min(state.layer, model.layers + (model.merged?.names.length ?? 0)),
    head: state.head === null ? null : Math.min(state.head, Math.max(...sizesOf(model).map(({ heads }) => heads)) - 1),
    query: Math.min(state.query, Math.max(0, model.queries - 1)),
    channel: Math.min(state.channel, Math.max(...sizesOf(model).map(({ width }) => width), model.merged?.width ?? 0) - 1),
  };
}

/** Whether the state stands at an output that has no features for each patch: an attention pool's. */
export function isPooled(state: PanelState, model: ModelInfo): boolean {
  return state.layer >= model.layers && !model.outputPerPatch;
}

/** The overlays that make sense, in the order in which they are offered. */
export function overlaysFor(model: ModelInfo, status: EncoderStatus): PanelState['overlay'][] {
  return [
    'pca', 'similarity', 'norm', 'attention',
    ...(model.queries > 0 && runsToEnd(status.kept) ? ['pool' as const] : []),
    'channel',
    ...(comparesEncoders(status) ? ['difference' as const] : []),
    'none',
  ];
}

export function comparesEncoders({ other }: EncoderStatus): boolean {
  return other !== undefined && other.failure === undefined;
}

/** The layers whose features are there: the patch embedding, what is kept, and where the encoder runs to its end the output and what mergers make of it. */
export function viewedLayers({ layers, merged }: ModelInfo, { kept }: EncoderStatus): number[] {
  const after = [layers, ...(merged?.names ?? []).map((_, index) => layers + 1 + index)];
  return [-1, ...keptLayers(layers, kept), ...(runsToEnd(kept) ? after : [])];
}

/** Heads and channels by layer, from the patch embedding on; one for all where they do not differ. */
export function sizesOf({ stages, heads, width }: ModelInfo): NonNullable<ModelInfo['stages']> {
  return stages ?? [{ heads, width }];
}

/** Heads and channels of the layer that the state stands at; after the blocks the last one's, but for what mergers give. */
export function sizesAt({ layer }: Pick<PanelState, 'layer'>, model: ModelInfo): { readonly heads: number; readonly width: number } {
  const { heads, width } = atLayer(sizesOf(model), layer) ?? model;
  return { heads, width: layer > model.layers ? model.merged?.width ?? width : width };
}

/** The patches that a layer has of a picture. */
export function gridAt({ grid, grids }: Encoding, layer: number): Encoding['grid'] {
  return atLayer(grids ?? [grid], layer) ?? grid;
}

function atLayer<T>(values: readonly T[], layer: number): T | undefined {
  return values[Math.min(layer + 1, values.length - 1)];
}

/** The patch of another grid at the middle of `patch`. */
export function patchIn(to: Encoding['grid'], patch: number, from: Encoding['grid']): number {
  const row = Math.floor((Math.floor(patch / from.columns) + 0.5) * to.rows / from.rows);
  const column = Math.floor((patch % from.columns + 0.5) * to.columns / from.columns);
  return row * to.columns + column;
}

/** The state bounded to what there is to see. Attention is of a block that runs, whether its features are kept or not. */
export function fitLayers(state: PanelState, model: ModelInfo, status: EncoderStatus): PanelState {
  const overlay = overlaysFor(model, status).includes(state.overlay) || state.overlay === 'difference' ? state.overlay : 'pca';
  const last = Math.max(...viewedLayers(model, status));
  return { ...state, overlay, layer: overlay === 'attention' ? Math.min(state.layer, last) : nearestViewed(state.layer, model, status) };
}

/** The nearest layer whose features are there. */
export function nearestViewed(layer: number, model: ModelInfo, status: EncoderStatus): number {
  return viewedLayers(model, status).reduce((best, each) => Math.abs(each - layer) < Math.abs(best - layer) ? each : best);
}

/** What is in view: the picture, and beside it another picture, or the same one by the other encoder. */
export function subjectsFor(state: PanelState, status: EncoderStatus, pictures: readonly PictureInfo[]): Subject[] {
  const { shown, compared, overlay } = state;
  if (shown === null || !pictures.some(({ id }) => id === shown)) return [];
  const main: Subject = { picture: shown, encoder: 'main' };
  if (compared !== null && compared !== shown && pictures.some(({ id }) => id === compared)) return [main, { picture: compared, encoder: 'main' }];
  return comparesEncoders(status) && overlay !== 'difference' ? [main, { picture: shown, encoder: 'other' }] : [main];
}

/**
 * The map that the state asks for; undefined when it needs a patch and none is chosen.
 * @param subject whose map it is, among all that are in view
 */
export function mapFor(state: PanelState, model: ModelInfo, reference: Reference | undefined, subject: Subject, among: readonly Subject[]): MapKind | undefined {
  const { head, query, channel, layer } = state;
  const overlay = shownOverlay(state, model);
  switch (overlay) {
    case 'none': return undefined;
    case 'pool': return { kind: 'pool', query };
    case 'pca': return { kind: 'pca', layer, among: [...among] };
    case 'norm': return { kind: 'norm', layer };
    case 'channel': return { kind: 'channel', layer, channel: Math.min(channel, sizesAt(state, model).width - 1) };
    case 'difference': return { kind: 'difference', layer: isPooled(state, model) ? model.layers - 1 : layer };
    case 'similarity': {
      if (reference === undefined) return undefined;
      const { patch, subject: from } = reference;
      return from === subject ? { kind: 'similarity', layer, patch } : { kind: 'similarity', layer, patch, from };
    }
    case 'attention': {
      // Where another picture's patch looks is not asked; the other encoder's of the same picture is.
      const patch = reference?.subject.picture === subject.picture ? reference.patch : undefined;
      if (patch === undefined && model.prefixTokens === 0) return undefined;
      return { kind: 'attention', layer: attendingBlock(state, model), ...(patch !== undefined && { patch }), ...(head !== null && { head: Math.min(head, sizesAt(state, model).heads - 1) }) };
    }
  }
}

/** Whether the overlay in view has a map for every layer. */
export function hasLayers({ overlay }: PanelState): boolean {
  return overlay !== 'none' && overlay !== 'pool';
}

/** The block that attention is shown of: the patch embedding has none before block 0's, and the output none after the last's. */
export function attendingBlock({ layer }: PanelState, { layers }: ModelInfo): number {
  return Math.min(layers - 1, Math.max(0, layer));
}

/** What the map in view is of: an attention pool's output has its weights only. */
export function shownOverlay(state: PanelState, model: ModelInfo): PanelState['overlay'] {
  return isPooled(state, model) && state.overlay !== 'difference' && state.overlay !== 'none' ? 'pool' : state.overlay;
}

/** The patch that similarity and attention start from, and what it is a patch of. */
export interface Reference {
  readonly patch: number;
  readonly subject: Subject;
}
