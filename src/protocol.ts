import * as z from 'zod';
import { DEVICE_CHOICES, MAX_PICTURE_BYTES } from './previewLimits';
import type { Rectangle } from './image/geometry';
import type { Histogram, Statistics } from './features/statistics';

/**
 * The typed messages between the preview panel (a webview) and the extension host.
 * What comes from the webview is validated on arrival with `fromWebviewSchema`.
 */

/** -1 is the patch embedding, 0 to layers-1 the blocks' hidden states. */
const layer = z.number().int().min(-1).max(4096);
const index = z.number().int().min(0).max(1 << 24);
const id = z.string().min(1).max(64);

/** A picture of one number (or one colour) per patch. */
export const mapKindSchema = z.discriminatedUnion('kind', [
  /** The first three principal components of the patch features as red, green and blue. */
  z.strictObject({ kind: z.literal('pca'), layer }),
  /** Cosine similarity of every patch to one patch, perhaps of another picture. */
  z.strictObject({ kind: z.literal('similarity'), layer, patch: index, from: id.optional() }),
  /** L2 norm of each patch's features. */
  z.strictObject({ kind: z.literal('norm'), layer }),
  /** One channel of the features. */
  z.strictObject({ kind: z.literal('channel'), layer, channel: index }),
  /** Attention of one head (or their mean) from one patch, in a block. */
  z.strictObject({ kind: z.literal('attention'), layer: layer.min(0), head: index.optional(), patch: index }),
  /** The attention pool's weights of one query. */
  z.strictObject({ kind: z.literal('pool'), query: index }),
]);
export type MapKind = z.infer<typeof mapKindSchema>;

export const deviceChoiceSchema = z.enum(DEVICE_CHOICES);
export type DeviceChoice = z.infer<typeof deviceChoiceSchema>;

export const resizeModeSchema = z.enum(['model', 'square', 'crop']);
export type ResizeMode = z.infer<typeof resizeModeSchema>;

const pictureBytes = z.custom<Uint8Array>(value => value instanceof Uint8Array && value.byteLength <= MAX_PICTURE_BYTES, 'not the bytes of a picture');

/** What the panel keeps over a reload of the window. */
export const panelStateSchema = z.strictObject({
  overlay: z.enum(['none', 'pca', 'similarity', 'norm', 'attention', 'pool', 'channel']),
  layer,
  head: index.nullable(),
  query: index,
  channel: index,
  patch: index.nullable(),
  opacity: z.number().min(0).max(1),
  arrangement: z.enum(['overlay', 'beside']),
  grid: z.boolean(),
});
export type PanelState = z.infer<typeof panelStateSchema>;

/** What the panel asks about encoded pictures; the encoder's process answers. */
export const questionSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('map'), picture: id, map: mapKindSchema }),
  z.strictObject({ type: z.literal('statistics'), picture: id, layer: z.union([layer, z.literal('pooled')]) }),
  z.strictObject({ type: z.literal('patch'), picture: id, layer, patch: index }),
  z.strictObject({ type: z.literal('compare'), pictures: z.array(id).min(2).max(16), temperature: z.number().positive() }),
]);
export type Question = z.infer<typeof questionSchema>;

export const fromWebviewSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('pick') }),
  z.strictObject({ type: z.literal('sample') }),
  z.strictObject({ type: z.literal('add'), files: z.array(z.strictObject({ name: z.string().max(1024), bytes: pictureBytes })).min(1).max(64) }),
  z.strictObject({ type: z.literal('remove'), picture: id }),
  z.strictObject({ type: z.literal('device'), device: deviceChoiceSchema }),
  z.strictObject({ type: z.literal('resize'), mode: resizeModeSchema }),
  z.strictObject({ type: z.literal('cancel') }),
  z.strictObject({ type: z.literal('restart'), device: deviceChoiceSchema.optional() }),
  z.strictObject({ type: z.literal('ask'), request: z.number().int().min(0), question: questionSchema }),
  z.strictObject({ type: z.literal('savePng'), name: z.string().max(256), bytes: pictureBytes }),
  z.strictObject({ type: z.literal('saveFeatures'), picture: id, format: z.enum(['npy', 'safetensors']) }),
  z.strictObject({ type: z.literal('state'), state: panelStateSchema }),
]);
export type FromWebview = z.infer<typeof fromWebviewSchema>;


export interface PictureInfo {
  readonly id: string;
  readonly name: string;
  readonly status: 'waiting' | 'running' | 'ready' | 'failed';
  /** Why it failed. */
  readonly message?: string;
  readonly width?: number;
  readonly height?: number;
  /** What the encoder sees of it, as shares of its width and height. */
  readonly seen?: Rectangle;
  /** Patches per column and per row of the encoder's input. */
  readonly grid?: { readonly rows: number; readonly columns: number };
  /** Milliseconds of each stage. */
  readonly timings?: { readonly decode: number; readonly resize: number; readonly run: number };
}

export interface ModelInfo {
  readonly name: string;
  readonly family: string;
  readonly layers: number;
  readonly heads: number;
  readonly width: number;
  readonly queries: number;
  readonly outputDim: number;
  readonly imageSize: number;
  readonly patchSize: number;
}

export interface EncoderStatus {
  readonly state: 'off' | 'loading' | 'ready' | 'running' | 'failed';
  /** What happened, or what to mind, for a person. */
  readonly message?: string | undefined;
  /** 0 to 1 while loading or running. */
  readonly progress?: number | undefined;
  readonly choice: DeviceChoice;
  /** The device that really runs. */
  readonly device?: string | undefined;
  /** Better devices that do not run, and why. */
  readonly rejected?: readonly { readonly device: string; readonly reason: string }[] | undefined;
  /** Of the encoder's process. */
  readonly memoryBytes?: number | undefined;
  readonly resize: ResizeMode;
  /** Whose rule prepares the pictures under `model`, and what to know of it. */
  readonly rule: string;
}

/** A map as the panel draws it. */
export interface PatchMap {
  readonly rows: number;
  readonly columns: number;
  /** One number per patch; absent for colours. */
  readonly values?: Float32Array;
  /** Red, green, blue, opacity per patch; absent for numbers. */
  readonly colours?: Uint8ClampedArray;
  /** PCA: the share of the variance that each of the three components explains. */
  readonly explained?: readonly number[];
}

export interface FeatureStatistics {
  readonly shape: readonly number[];
  readonly statistics: Statistics;
  readonly histogram: Histogram;
}

export interface Comparison {
  readonly names: readonly string[];
  /** Cosine of the pooled embeddings, row by row. */
  readonly cosine: readonly (readonly number[])[];
  /** Softmax of each row's cosines over the temperature. */
  readonly softmax: readonly (readonly number[])[];
}

/** The answer to each kind of question. */
export interface Answers {
  readonly map: PatchMap;
  readonly statistics: FeatureStatistics;
  readonly patch: Float32Array;
  readonly compare: Comparison;
}

export type Reply = { readonly answer: Answers[keyof Answers] } | { readonly failure: string };

export type ToWebview =
  | { readonly type: 'model'; readonly model: ModelInfo; readonly state: PanelState | undefined }
  | { readonly type: 'encoder'; readonly status: EncoderStatus }
  | { readonly type: 'pictures'; readonly pictures: readonly PictureInfo[] }
  /** The picture to draw, encoded in a form that a browser shows; sent once per picture. */
  | { readonly type: 'pixels'; readonly picture: string; readonly mime: string; readonly bytes: Uint8Array }
  | { readonly type: 'reply'; readonly request: number; readonly reply: Reply };
