import * as z from 'zod';
import type { HeatMap } from './inspection/matrix';
import type { Distribution } from './features/statistics';

/**
 * The typed messages between the page that looks inside a weights file (a webview) and the extension host.
 * What comes from the page is validated on arrival with `fromInspectorSchema`.
 */

const count = z.number().int().nonnegative();

export const inspectorQuestionSchema = z.discriminatedUnion('type', [
  /** Statistics and histogram of a tensor, by its place in the list. */
  z.strictObject({ type: z.literal('statistics'), tensor: count }),
  /** A picture of one of the matrices that a tensor is made of, or of a rectangle of it. */
  z.strictObject({ type: z.literal('heatMap'), tensor: count, matrix: count, region: z.strictObject({ row: count, column: count, rows: count, columns: count }).optional() }),
]);
export type InspectorQuestion = z.infer<typeof inspectorQuestionSchema>;

export const fromInspectorSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('ask'), request: count, question: inspectorQuestionSchema }),
  z.strictObject({ type: z.literal('cancel'), request: count }),
  /** Opens the file as a checkpoint, in the views. */
  z.strictObject({ type: z.literal('open') }),
  z.strictObject({ type: z.literal('reload') }),
  z.strictObject({ type: z.literal('copy'), text: z.string().max(1 << 16) }),
]);
export type FromInspector = z.infer<typeof fromInspectorSchema>;

export interface ListedTensor {
  readonly key: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly bytes: number;
  readonly file: number;
  readonly offset: number;
}

export interface InspectedFile {
  readonly name: string;
  readonly location: string;
  /** Whether values are read over a network. */
  readonly remote: boolean;
  /** The files that hold the tensors: one, or a sharded checkpoint's. */
  readonly files: readonly { readonly name: string; readonly format: string; readonly bytes: number; readonly metadata: readonly (readonly [string, string])[] }[];
  readonly tensors: readonly ListedTensor[];
  readonly others: readonly { readonly key: string; readonly description: string }[];
  readonly warnings: readonly string[];
}

export interface InspectorAnswers {
  readonly statistics: Distribution;
  readonly heatMap: HeatMap;
}

export type InspectorReply = { readonly answer: InspectorAnswers[keyof InspectorAnswers] } | { readonly failure: string };

export type ToInspector =
  | { readonly type: 'file'; readonly file: InspectedFile }
  /** The file cannot be read: why, in a sentence. */
  | { readonly type: 'unreadable'; readonly name: string; readonly message: string }
  /** It has changed on the disk since it was read. */
  | { readonly type: 'changed' }
  /** Shows a tensor. */
  | { readonly type: 'select'; readonly key: string }
  | { readonly type: 'progress'; readonly request: number; readonly share: number }
  | { readonly type: 'reply'; readonly request: number; readonly reply: InspectorReply };
