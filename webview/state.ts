import type { MapKind, ModelInfo, PanelState } from '../src/protocol';

export const INITIAL_STATE: PanelState = {
  overlay: 'pca', layer: 0, head: null, query: 0, channel: 0, patch: null, opacity: 0.6, arrangement: 'beside', grid: false,
};

/** The state bounded to what the model has: a saved one may come from another model. */
export function fitState(state: PanelState, model: ModelInfo): PanelState {
  return {
    ...state,
    // One step past the last block stands for the pooled output.
    layer: Math.min(state.layer, model.layers),
    head: state.head === null ? null : Math.min(state.head, model.heads - 1),
    query: Math.min(state.query, model.queries - 1),
    channel: Math.min(state.channel, model.width - 1),
  };
}

export function isPooled(state: PanelState, model: ModelInfo): boolean {
  return state.layer >= model.layers;
}

/** The layer slider's value in words. */
export function sayLayer(layer: number, model: ModelInfo): string {
  if (layer < 0) return 'patch embedding';
  return layer >= model.layers ? 'pooled output' : `block ${layer} of 0…${model.layers - 1}`;
}

/** The map that the state asks for; undefined when it needs a patch and none is chosen. */
export function mapFor(state: PanelState, model: ModelInfo, patch: number | undefined, from: string | undefined): MapKind | undefined {
  const { overlay, head, query, channel } = state;
  const layer = Math.min(state.layer, model.layers - 1);
  if (overlay === 'none') return undefined;
  if (isPooled(state, model) || overlay === 'pool') return { kind: 'pool', query };
  if (overlay === 'pca') return { kind: 'pca', layer };
  if (overlay === 'norm') return { kind: 'norm', layer };
  if (overlay === 'channel') return { kind: 'channel', layer, channel };
  if (patch === undefined) return undefined;
  if (overlay === 'similarity') return from === undefined ? { kind: 'similarity', layer, patch } : { kind: 'similarity', layer, patch, from };
  // Attention belongs to a block; the patch embedding has none before block 0's.
  return { kind: 'attention', layer: Math.max(0, layer), patch, ...(head === null ? {} : { head }) };
}
