import * as z from 'zod';
import { DEVICE_CHOICES, KEPT_LAYERS, MAX_ADDRESSES, MAX_COPIED, MAX_PICTURE_BYTES, SIDE_SECTIONS } from './previewLimits';

/**
 * The typed messages between the preview panel (a webview) and the extension host. Each side validates what it gets:
 * the host with `fromWebviewSchema`, the page with `toWebviewSchema` and `answerSchemas`.
 */

/** -1 is the patch embedding, 0 to layers - 1 the blocks' hidden states, `layers` the encoder's output (`features`), and then what mergers make of it (`merged` of the model). */
const layer = z.number().int().min(-1).max(4096);
const index = z.number().int().min(0).max(1 << 24);
const count = z.number().int().nonnegative();
const id = z.string().min(1).max(64);
const name = z.string().max(1024);

/** The encoder that is previewed, and another one that it may be compared with on the same pictures. */
export const ENCODER_SLOTS = ['main', 'other'] as const;
const slot = z.enum(ENCODER_SLOTS);
export type EncoderSlot = z.infer<typeof slot>;

/** What an encoder made of a picture. */
const subject = z.strictObject({ picture: id, encoder: slot });
export type Subject = z.infer<typeof subject>;

/** A picture of one number (or one colour) per patch. */
export const mapKindSchema = z.discriminatedUnion('kind', [
  /** The first three principal components of the patch features as red, green and blue, fitted on all that are shown together. */
  z.strictObject({ kind: z.literal('pca'), layer, among: z.array(subject).min(1).max(16) }),
  /** Cosine similarity of every patch to one patch, perhaps of another picture or by the other encoder. */
  z.strictObject({ kind: z.literal('similarity'), layer, patch: index, from: subject.exactOptional() }),
  /** L2 norm of each patch's features. */
  z.strictObject({ kind: z.literal('norm'), layer }),
  /** One channel of the features. */
  z.strictObject({ kind: z.literal('channel'), layer, channel: index }),
  /** Attention of one head (or their mean) in a block, from one patch or, without one, from the class token. */
  z.strictObject({ kind: z.literal('attention'), layer: layer.min(0), head: index.exactOptional(), patch: index.exactOptional() }),
  /** The attention pool's weights of one query. */
  z.strictObject({ kind: z.literal('pool'), query: index }),
  /** How far the other encoder's features are from these, relative to their norm. */
  z.strictObject({ kind: z.literal('difference'), layer }),
]);
export type MapKind = z.infer<typeof mapKindSchema>;

export const deviceChoiceSchema = z.enum(DEVICE_CHOICES);
export type DeviceChoice = z.infer<typeof deviceChoiceSchema>;

export const precisionSchema = z.enum(['float32', 'float16']);

export const keptLayersSchema = z.enum(KEPT_LAYERS);
export type KeptLayers = z.infer<typeof keptLayersSchema>;

/** `model`: as the checkpoint says; `square`: straight to the size; `crop`: the shorter side, then the centre. */
export const resizeModeSchema = z.enum(['model', 'square', 'crop']);
export type ResizeMode = z.infer<typeof resizeModeSchema>;

/** What is chosen of the runs, and kept over a reload. */
export const runChoicesSchema = z.object({
  device: deviceChoiceSchema,
  precision: precisionSchema,
  resize: resizeModeSchema,
  kept: keptLayersSchema,
  /** Pixels that a picture may have at most; the fewest on offer unless told. */
  pixels: count.optional(),
}).readonly();
export type RunChoices = z.infer<typeof runChoicesSchema>;

const bytes = z.custom<Uint8Array>(value => value instanceof Uint8Array && value.byteLength <= MAX_PICTURE_BYTES, 'not the bytes of a picture');
/** VS Code sends messages as JSON, which has null for NaN and infinities. */
const real = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const floats = z.custom<Float32Array>(value => value instanceof Float32Array, 'not a Float32Array');

/** What the panel keeps over a reload of the window. */
export const panelStateSchema = z.strictObject({
  overlay: z.enum(['none', 'pca', 'similarity', 'norm', 'attention', 'pool', 'channel', 'difference']),
  layer,
  head: index.nullable(),
  query: index,
  channel: index,
  /** Of the grid of the patch embedding, whatever layer is shown. */
  patch: index.nullable(),
  /** Whether the patch was chosen in the picture that is compared with. */
  patchOnSecond: z.boolean(),
  opacity: z.number().min(0).max(1),
  arrangement: z.enum(['overlay', 'beside']),
  grid: z.boolean(),
  /** Whether colours span the middle of the patches' values only, so that a few outliers do not wash out the rest. */
  clip: z.boolean(),
  /** Whether all layers are shown beside each other, small. */
  allLayers: z.boolean(),
  /** The side's sections that are folded up. */
  folded: z.array(z.enum(SIDE_SECTIONS)).max(SIDE_SECTIONS.length),
  /** The picture that is shown, and the one beside it. */
  shown: id.nullable(),
  compared: id.nullable(),
  temperature: z.number().min(0.001).max(100).nullable(),
});
export type PanelState = z.infer<typeof panelStateSchema>;

/** What the panel asks about encoded pictures; the encoder's process answers. */
export const questionSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('map'), subject, map: mapKindSchema }),
  z.strictObject({ type: z.literal('statistics'), subject, layer }),
  z.strictObject({ type: z.literal('patch'), subject, layer, patch: index }),
  z.strictObject({ type: z.literal('compare'), pictures: z.array(id).min(2).max(16), temperature: z.number().positive() }),
  z.strictObject({ type: z.literal('errors'), picture: id }),
]);
export type Question = z.infer<typeof questionSchema>;

const pictureFile = z.strictObject({ name, bytes });

export const fromWebviewSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('pick') }),
  z.strictObject({ type: z.literal('pickFolder') }),
  z.strictObject({ type: z.literal('addSample'), picture: id }),
  z.strictObject({ type: z.literal('add'), files: z.array(pictureFile).min(1).max(64) }),
  /** Pictures and folders by their addresses or paths, as other programs and the editor's own lists drop them. */
  z.strictObject({ type: z.literal('addAddresses'), addresses: z.array(z.string().min(1).max(4096)).min(1).max(MAX_ADDRESSES) }),
  z.strictObject({ type: z.literal('addRecent'), picture: id }),
  /** Shows another picture of the folder. */
  z.strictObject({ type: z.literal('flip'), by: z.number().int().min(-1024).max(1024) }),
  z.strictObject({ type: z.literal('remove'), picture: id }),
  /** Encodes a picture again whose run was cancelled or failed. */
  z.strictObject({ type: z.literal('encode'), picture: id }),
  z.strictObject({ type: z.literal('device'), device: deviceChoiceSchema }),
  z.strictObject({ type: z.literal('precision'), precision: precisionSchema }),
  z.strictObject({ type: z.literal('keep'), layers: keptLayersSchema }),
  z.strictObject({ type: z.literal('resize'), mode: resizeModeSchema }),
  /** How many pixels a picture may have at most: one of the model's `resolutions`. */
  z.strictObject({ type: z.literal('resolution'), pixels: count }),
  z.strictObject({ type: z.literal('chooseOther') }),
  z.strictObject({ type: z.literal('closeOther') }),
  z.strictObject({ type: z.literal('cancel') }),
  z.strictObject({ type: z.literal('restart'), device: deviceChoiceSchema.exactOptional() }),
  z.strictObject({ type: z.literal('ask'), request: count, question: questionSchema }),
  z.strictObject({ type: z.literal('copy'), text: z.string().max(MAX_COPIED) }),
  z.strictObject({ type: z.literal('savePng'), name: z.string().max(256), bytes }),
  z.strictObject({ type: z.literal('saveFeatures'), picture: id, format: z.enum(['npy', 'safetensors']) }),
  z.strictObject({ type: z.literal('showLog') }),
  z.strictObject({ type: z.literal('state'), state: panelStateSchema }),
]);
export type FromWebview = z.infer<typeof fromWebviewSchema>;

const grid = z.object({ rows: count, columns: count }).readonly();
/** Shares of the picture's width and height. */
const area = z.object({ x: z.number(), y: z.number(), width: z.number(), height: z.number() }).readonly();

/** What an encoder sees of a picture. */
const encodingSchema = z.object({
  seen: area,
  /** Patches per column and per row of the encoder's input. */
  grid,
  /** By layer, from the patch embedding on, where hidden states have grids of their own; the first is the finest. */
  grids: z.array(grid).readonly().exactOptional(),
  /** What they would be by the model's own rule, where the preview has made the picture smaller. */
  ownGrid: grid.exactOptional(),
  /** Whether it can be asked about. */
  ready: z.boolean(),
  /** Milliseconds of each stage. */
  timings: z.object({ decode: z.number(), resize: z.number(), run: z.number().exactOptional() }).readonly(),
}).readonly();
export type Encoding = z.infer<typeof encodingSchema>;

const pictureInfoSchema = z.object({
  id,
  name,
  status: z.enum(['waiting', 'running', 'ready', 'failed']),
  /** Why it failed. */
  message: z.string().exactOptional(),
  width: count.exactOptional(),
  height: count.exactOptional(),
  encodings: z.object({ main: encodingSchema.exactOptional(), other: encodingSchema.exactOptional() }).readonly(),
  /** Where it stands in the folder that is flipped through. */
  folder: z.object({ name, position: count, count }).readonly().exactOptional(),
}).readonly();
export type PictureInfo = z.infer<typeof pictureInfoSchema>;

const modelInfoSchema = z.object({
  name: z.string(),
  family: z.string(),
  layers: count,
  /** Of the last block. */
  heads: count,
  /** Of the last hidden state. */
  width: count,
  /** By layer, from the patch embedding on, where they differ. */
  stages: z.array(z.object({ heads: count, width: count }).readonly()).readonly().exactOptional(),
  /** Queries of the attention pool; 0 when there is none. */
  queries: count,
  /** Tokens that are no patches: a class token, registers. */
  prefixTokens: count,
  /** Whether the encoder's output has a token for each patch; otherwise it is an attention pool's. */
  outputPerPatch: z.boolean(),
  /** What mergers give, where they were taken in: blocks of patches, in a language model's width. */
  merged: z.object({ names: z.array(z.string()).readonly(), width: count }).readonly().exactOptional(),
  /** How many pixels, and so patches, a picture may have at most, to choose from; the model's own limit is the last. Empty where there is no choice. */
  resolutions: z.array(z.object({ pixels: count, patches: count }).readonly()).readonly(),
  /** The model's own softmax temperature, from its `logit_scale`. */
  temperature: z.number().positive().exactOptional(),
}).readonly();
export type ModelInfo = z.infer<typeof modelInfoSchema>;

const encoderStatusSchema = z.object({
  state: z.enum(['off', 'loading', 'ready', 'running', 'failed']),
  /** What happened, for a person. */
  message: z.string().optional(),
  /** What to mind, with ways out. */
  warning: z.string().optional(),
  /** 0 to 1 while loading or running. */
  progress: z.number().optional(),
  choice: deviceChoiceSchema,
  precision: precisionSchema,
  kept: keptLayersSchema,
  /** The device that really runs. */
  device: z.string().optional(),
  /** Better devices that do not run, and why. */
  rejected: z.array(z.object({ device: z.string(), reason: z.string() }).readonly()).readonly().optional(),
  /** Of the encoder's process. */
  memoryBytes: z.number().optional(),
  resize: resizeModeSchema,
  /** How many pixels a picture may have at most; undefined where the model leaves no choice. */
  pixels: count.optional(),
  /** Whose rule prepares the pictures under `model`, and what to know of it. */
  rule: z.string(),
  /** The encoder that is compared with. */
  other: z.object({ name: z.string(), device: z.string().optional(), failure: z.string().optional() }).readonly().optional(),
}).readonly();
export type EncoderStatus = z.infer<typeof encoderStatusSchema>;

/** A map as the panel draws it. */
const patchMapSchema = z.object({
  rows: count,
  columns: count,
  /** One number per patch; absent for colours. */
  values: floats.exactOptional(),
  /** Red, green, blue, opacity per patch; absent for numbers. */
  colours: z.custom<Uint8ClampedArray>(value => value instanceof Uint8ClampedArray, 'not a Uint8ClampedArray').exactOptional(),
  /** PCA: the share of the variance that each of the three components explains. */
  explained: z.array(z.number()).readonly().exactOptional(),
}).readonly();
export type PatchMap = z.infer<typeof patchMapSchema>;

const featureStatisticsSchema = z.object({
  shape: z.array(count).readonly(),
  statistics: z.object({ count, mean: real, standardDeviation: real, min: real, max: real, zeros: count, nans: count, infinities: count }).readonly(),
  histogram: z.object({ low: z.number(), high: z.number(), counts: z.custom<Uint32Array | Float64Array>(value => value instanceof Uint32Array || value instanceof Float64Array, 'not an array of counts') }).readonly(),
}).readonly();
export type FeatureStatistics = z.infer<typeof featureStatisticsSchema>;

const numberRows = z.array(z.array(real).readonly()).readonly();
const comparisonSchema = z.object({
  names: z.array(z.string()).readonly(),
  /** Cosine of the pooled embeddings, row by row. */
  cosine: numberRows,
  /** Softmax of each row's cosines over the temperature. */
  softmax: numberRows,
}).readonly();
export type Comparison = z.infer<typeof comparisonSchema>;

/** ‖other - main‖ / ‖main‖ of each layer both have: the patch embedding, the blocks, the output. */
const layerErrorsSchema = z.object({ errors: z.array(real).readonly() }).readonly();
export type LayerErrors = z.infer<typeof layerErrorsSchema>;

/** The answer to each kind of question. */
export const answerSchemas = {
  map: patchMapSchema,
  statistics: featureStatisticsSchema,
  patch: floats,
  compare: comparisonSchema,
  errors: layerErrorsSchema,
} as const;
export type Answers = { readonly [Type in keyof typeof answerSchemas]: z.infer<(typeof answerSchemas)[Type]> };

const offeredSchema = z.object({ id, name, thumbnail: bytes }).readonly();
export type OfferedPicture = z.infer<typeof offeredSchema>;

export const toWebviewSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('model'), model: modelInfoSchema, state: panelStateSchema.optional() }),
  z.object({ type: z.literal('encoder'), status: encoderStatusSchema }),
  z.object({
    type: z.literal('pictures'), pictures: z.array(pictureInfoSchema).readonly(),
    /** The picture that the person has just asked for. */
    show: id.optional(),
  }),
  /** The picture to draw, encoded in a form that a browser shows; sent once per picture. */
  z.object({ type: z.literal('pixels'), picture: id, mime: z.string(), bytes }),
  /** The extension's own pictures. */
  z.object({ type: z.literal('samples'), samples: z.array(offeredSchema).readonly() }),
  /** Pictures of before, newest first. */
  z.object({ type: z.literal('recent'), recent: z.array(offeredSchema).readonly() }),
  /** The answer's own schema is the question's. */
  z.object({ type: z.literal('reply'), request: count, reply: z.union([z.object({ answer: z.unknown() }), z.object({ failure: z.string() })]) }),
]);
export type ToWebview = z.infer<typeof toWebviewSchema>;
