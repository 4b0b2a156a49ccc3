import { t } from '@vscode/l10n';
import { forwardGraph, pictureSizes } from '../architecture/forwardGraphs';
import type { GraphSpec } from '../architecture/graphSpec';
import { mergedNames } from '../architecture/outputs';
import { UserError } from '../errors';
import { PLAIN, type Target } from './target';

/** The model's file; its weights lie beside it in a file of the same name with .data behind. */
export const ONNX_MODEL = 'encoder.onnx';

/** The model's outputs: the features, and what a merger or projector that was taken in makes of them. */
export function handedOn(spec: GraphSpec): string[] {
  return ['features', ...mergedNames(forwardGraph(spec))];
}

/** ONNX: the forward pass as a model that every ONNX runtime runs, float32 pictures in, float32 features out. */
export const onnx: Target = {
  ...PLAIN,
  id: 'onnx',
  title: 'ONNX',
  writes: () => t`${ONNX_MODEL} with its weights in one file beside it, and preprocessor_config.json`,
  format: 'onnx',
  whyNot: family => (family.graph === undefined ? t`The forward pass of ${family.title} is not known here, so there is no ONNX model of it.` : undefined),
  python: ({ family, hyperparameters, source }) => {
    if (family.graph === undefined) throw new UserError(t`The forward pass of ${family.title} is not known here.`);
    const graph = family.graph(hyperparameters, source);
    const { side, unit } = pictureSizes(graph);
    const outputs = handedOn(graph);
    // transformers' processors cut pictures of free sizes up; the model takes them whole.
    const pixels = unit === undefined ? ['pixel_values are pictures as preprocessor_config.json makes them; their number is free.']
      : [`pixel_values are whole pictures of ${side} x ${side} pixels, scaled and normalised as preprocessor_config.json says,`, 'but not cut into patches or tiles; their number is free. For pictures of another size: vision-encoder export --picture-size'];
    return {
      about: [`${family.title}'s vision encoder as an ONNX model: python FOLDER/load.py`, ...pixels],
      imports: ['import numpy', 'import onnxruntime'],
      ...(outputs.includes('merged') && { projects: 'merged' }),
      load: [
        `session = onnxruntime.InferenceSession(str(folder / '${ONNX_MODEL}'))`,
        `[${outputs.map(name => name.replace('.', '_')).join(', ')}] = session.run([${outputs.map(name => `'${name}'`).join(', ')}], {'pixel_values': numpy.zeros((1, 3, ${side}, ${side}), numpy.float32)})`,
      ],
    };
  },
};
