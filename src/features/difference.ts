import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { token, type TokenMatrix } from './tokenMatrix';

/**
 * ‖values - reference‖ / ‖reference‖: 0 for equal ones, Infinity where only the reference is zero.
 *
 * @throws UserError when they are not of one length.
 */
export function relativeError(values: Float32Array, reference: Float32Array): number {
  if (values.length !== reference.length) throw new UserError(t`${values.length} and ${reference.length} values cannot be compared: the encoders' outputs differ in size.`);
  const difference = distance(values, reference);
  return difference === 0 ? 0 : difference / Math.sqrt(reference.reduce((sum, value) => sum + value * value, 0));
}

/** The relative error of each layer's hidden state, the patch embedding's first. */
export function layerErrors(layers: readonly TokenMatrix[], reference: readonly TokenMatrix[]): number[] {
  if (layers.length !== reference.length) throw new UserError(t`${layers.length} and ${reference.length} layers cannot be compared one by one.`);
  return reference.map((matrix, i) => {
    const other = layers[i] ?? matrix;
    checkShapes(other, matrix);
    return relativeError(other.data, matrix.data);
  });
}

/** ‖a - b‖ of each token, for a map over the picture; `relative` divides it by the reference token's norm. */
export function differenceMap(matrix: TokenMatrix, reference: TokenMatrix): { readonly absolute: Float32Array; readonly relative: Float32Array } {
  checkShapes(matrix, reference);
  const absolute = new Float32Array(matrix.tokens);
  const relative = new Float32Array(matrix.tokens);
  for (let i = 0; i < matrix.tokens; i++) {
    absolute[i] = distance(token(matrix, i), token(reference, i));
    relative[i] = relativeError(token(matrix, i), token(reference, i));
  }
  return { absolute, relative };
}

function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
  return Math.sqrt(sum);
}

function checkShapes(a: TokenMatrix, b: TokenMatrix): void {
  if (a.tokens === b.tokens && a.channels === b.channels) return;
  throw new UserError(t`Features of ${a.tokens} x ${a.channels} and ${b.tokens} x ${b.channels} cannot be compared: choose two encoders with the same patch grid and width.`);
}
