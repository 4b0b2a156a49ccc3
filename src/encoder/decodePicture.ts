import { t } from '@vscode/l10n';
import { gridOf, takesAnyGrid, usualSide } from '../architecture/forwardGraphs';
import type { Grid } from '../architecture/positions';
import { readBytes } from '../checkpoint/byteSource';
import { openFile } from '../checkpoint/fileSource';
import { isAbort, UserError } from '../errors';
import type { PreprocessSpec } from '../image/preprocess';
import type { EncoderClient } from './client';
import type { Array32 } from './encoder';
import type { EncoderModel } from './model';

export interface DecodedPicture {
  /** (1, 3, height, width), float32. */
  readonly pixels: Array32;
  readonly grid: Grid;
  readonly decodeMs: number;
  readonly resizeMs: number;
}

/** Larger files are no pictures that anybody wants to send through an encoder; decodeImage has the same limit. */
const MOST_BYTES = 256 * 2 ** 20;

/**
 * Reads a picture's file and makes the encoder's input of it, in the encoder's process.
 * @throws UserError when it cannot be read or decoded, or the encoder does not take what becomes of it; AbortError when cancelled
 */
export async function decodePicture(client: Pick<EncoderClient, 'preprocess' | 'pid'>, model: EncoderModel, path: string, spec: PreprocessSpec, signal?: AbortSignal): Promise<DecodedPicture> {
  const source = await openFile(path);
  let bytes: Uint8Array;
  try {
    if (source.size > MOST_BYTES) throw new UserError(t`${path} is too large for a picture. Make it smaller first.`);
    bytes = await readBytes(source, 0, source.size, signal);
  } finally {
    await source.close();
  }
  try {
    const decoded = await client.preprocess(path, bytes, spec, { ...(signal && { signal }) });
    return { ...decoded, grid: gridFor(model, path, decoded.pixels.shape.slice(1)) };
  } catch (error) {
    if (isAbort(error) || !(error instanceof UserError) || client.pid !== undefined) throw error;
    throw new UserError(t`${path} cannot be decoded: it made the decoder crash. Convert it to PNG or JPEG with another program.`, { detail: error.message, cause: error });
  }
}

function gridFor(model: EncoderModel, picture: string, [, height = 0, width = 0]: readonly number[]): Grid {
  try {
    return gridOf(model.graph, height, width);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const side = usualSide(model.graph);
    const wants = takesAnyGrid(model.graph) ? `. ${error.message}` : t`, but the encoder takes ${side} x ${side}.`;
    throw new UserError(t`${picture} becomes ${width} x ${height} pixels by the checkpoint's preprocessor_config.json${wants} Correct its size or crop_size.`, { remedy: 'choose a resize', cause: error });
  }
}
