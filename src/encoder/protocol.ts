import * as z from 'zod';
import { deviceChoiceSchema, ENCODER_SLOTS, precisionSchema, questionSchema } from '../protocol';
import { graphSpecSchema } from '../architecture/graphSpec';
import { isDtype, type Dtype } from '../checkpoint/dtype';
import { FILTERS } from '../image/resize';

/** The messages between the host and the encoder's process. Each side validates what it gets. */

const id = z.number().int().nonnegative();
const count = z.number().int().nonnegative();
const gridSchema = z.object({ rows: z.number().int().positive(), columns: z.number().int().positive() });

const array32 = z.object({ shape: z.array(count).readonly(), data: z.custom<Float32Array>(value => value instanceof Float32Array) });

const storedWeight = z.object({
  key: z.string(),
  dtype: z.custom<Dtype>(value => typeof value === 'string' && isDtype(value)),
  shape: z.array(count).readonly(),
  offset: count,
  length: count,
  path: z.string(),
  indirect: z.object({
    strides: z.array(z.number().int()).readonly().exactOptional(),
    deflate: z.object({ offset: count, compressedLength: count, length: count }).exactOptional(),
    bigEndian: z.literal(true).exactOptional(),
  }).exactOptional(),
});

const positive = z.number().positive();
const triple = z.tuple([z.number(), z.number(), z.number()]).readonly();
const preprocessSpec = z.object({
  padToSquare: triple.exactOptional(),
  resize: z.discriminatedUnion('kind', [z.object({ kind: z.literal('exact'), width: positive, height: positive }), z.object({ kind: z.enum(['shortestEdge', 'longestEdge']), size: positive, least: positive.exactOptional() }),
    z.object({ kind: z.literal('area'), multiple: positive, minPixels: positive, maxPixels: positive, growFirst: z.boolean() }),
    z.object({ kind: z.literal('within'), longest: positive, multiple: positive }),
    z.object({ kind: z.enum(['patches', 'naflex']), patch: positive, limit: positive }),
    z.object({ kind: z.literal('tiles'), tile: positive, most: positive })]).exactOptional(),
  padTo: positive.exactOptional(),
  filter: z.enum(FILTERS),
  unrounded: z.literal(true).exactOptional(),
  crop: z.object({ width: positive, height: positive, torchvision: z.literal(true).exactOptional() }).exactOptional(),
  fill: triple.exactOptional(),
  rescale: z.number(),
  normalize: z.object({ mean: triple, std: triple }).exactOptional(),
});

const model = z.object({
  name: z.string(),
  family: z.string(),
  sizes: z.record(z.string(), z.number()),
  graph: graphSpecSchema,
  weights: z.map(z.string(), storedWeight).readonly(),
});

export const providerSchema = z.enum(['cpu', 'cuda', 'webgpu', 'dml', 'coreml']);
const encoder = z.enum(ENCODER_SLOTS);
const extent = z.object({ blocks: count, held: count }).readonly();

export const requestSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('load'), id, encoder, model, device: deviceChoiceSchema, precision: precisionSchema, batch: count.exactOptional(), extent: extent.exactOptional() }),
  /** Makes ready for runs of another extent; what is kept of pictures beyond `layers` is forgotten. Answered like a load. */
  z.object({ type: z.literal('fit'), id, encoder, extent, layers: z.array(count).readonly() }),
  z.object({ type: z.literal('unload'), id, encoder }),
  z.object({ type: z.literal('run'), id, pixels: array32, outputs: z.array(z.string()).readonly() }),
  z.object({ type: z.literal('attention'), id, layer: count, head: count, hidden: array32, grid: gridSchema }),
  z.object({ type: z.literal('memory'), id }),
  /** Makes the encoder's input of a picture; it is answered with the output `pixel_values`. Needs no model. */
  z.object({ type: z.literal('preprocess'), id, name: z.string(), bytes: z.custom<Uint8Array>(value => value instanceof Uint8Array), spec: preprocessSpec }),
  z.object({ type: z.literal('openPicture'), id, picture: z.string(), name: z.string(), bytes: z.custom<Uint8Array>(value => value instanceof Uint8Array), encoder, spec: preprocessSpec }),
  /** Runs the encoder on an opened picture and keeps the hidden states of `layers` in the process. */
  z.object({ type: z.literal('encodePicture'), id, picture: z.string(), encoder, layers: z.array(count).readonly() }),
  z.object({ type: z.literal('closePicture'), id, picture: z.string() }),
  /** Hands out what is kept of a picture. */
  z.object({ type: z.literal('pictureValues'), id, picture: z.string(), names: z.array(z.string()).readonly() }),
  z.object({ type: z.literal('ask'), id, question: questionSchema }),
  /** Stops the request `id` at its next stage. */
  z.object({ type: z.literal('cancel'), id }),
]);
export type Request = z.infer<typeof requestSchema>;

const report = z.object({
  device: providerSchema,
  precision: precisionSchema,
  rejected: z.array(z.object({ device: providerSchema, reason: z.string() })).readonly(),
  warning: z.string().exactOptional(),
});

const openedPicture = z.object({
  width: count,
  height: count,
  seen: z.object({ x: z.number(), y: z.number(), width: z.number(), height: z.number() }),
  grid: gridSchema,
  grids: z.array(gridSchema).readonly().exactOptional(),
  display: z.custom<Uint8Array>(value => value instanceof Uint8Array),
  thumbnail: z.custom<Uint8Array>(value => value instanceof Uint8Array),
  decodeMs: z.number(),
  resizeMs: z.number(),
});

export const replySchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('progress'), id, done: z.number(), total: z.number(), label: z.string() }),
  z.object({ type: z.literal('output'), id, name: z.string(), value: array32 }),
  z.object({ type: z.literal('loaded'), id, report }),
  z.object({ type: z.literal('memory'), id, residentBytes: z.number(), peakBytes: z.number() }),
  z.object({ type: z.literal('picture'), id, picture: openedPicture, warning: z.string().exactOptional() }),
  z.object({ type: z.literal('preprocessed'), id, decodeMs: z.number(), resizeMs: z.number() }),
  z.object({ type: z.literal('encoded'), id, runMs: z.number() }),
  /** One of the panel's Answers; the host hands it on unread. */
  z.object({ type: z.literal('answer'), id, answer: z.unknown() }),
  z.object({ type: z.literal('done'), id }),
  z.object({ type: z.literal('failed'), id, kind: z.enum(['user', 'cancelled', 'defect']), message: z.string(), detail: z.string().exactOptional() }),
]);
export type Reply = z.infer<typeof replySchema>;
