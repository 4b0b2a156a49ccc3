import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import type { Detection, ExpectedTensor, Family, Hyperparameter, Hyperparameters, Observed } from './family';
import { checkSettingNames } from './hyperparameters';
import { keyIndex } from './keyIndex';

/**
 * A guess for encoders that no family describes: the subtree that has a patch embedding and numbered blocks.
 * It can be marked and extracted; validation can only tell whether the blocks agree with each other.
 */
const TITLE = t('unknown vision encoder');

export const generic: Family = {
  id: 'generic',
  title: TITLE,
  models: t('any other: the likely encoder is proposed, as a guess'),
  support: 'validate',
  notRun: t('It can be extracted, but not run: no tensor shows its heads, its activation, and in what order its parts work.'),
  hyperparameters: [],
  recipe: prefix => ({
    version: 1,
    name: t('Likely vision encoder'),
    family: 'generic',
    rules: [prefix === ''
      ? { mark: 'keep', pattern: '**', why: t('A guess: the checkpoint looks like a vision encoder alone.') }
      : { mark: 'strip', module: prefix, why: t('A guess: it has a patch embedding and numbered blocks.') }],
    overrides: [],
    settings: {},
  }),
  detect,
  acceptsConfig: () => false,
  observe: seen,
  resolve: (_, settings, observed = {}) => {
    checkSettingNames([], settings);
    return new Map(Object.entries(observed).map(([name, value]): [string, Hyperparameter] => [name, { name, value, origin: { kind: 'checkpoint' } }]));
  },
  expectedTensors: (_, kept = new Map()) => agreed(kept),
  suggest: () => undefined,
  encoderConfig,
  preprocessorConfig: () => ({ do_resize: true, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], resample: 3 }),
};

/** How patch embeddings are named where shapes do not show them. */
const PATCH_NAME = /(^|\.)(patch_?embed\w*|patch_?conv\w*|patchifier)(\.[a-z_]+)?\.weight$/;

function isPatchEmbedding({ key, shape }: Tensor): boolean {
  if (shape.length < 4) return shape.length <= 2 && PATCH_NAME.test(key);
  const [channels = 0, ...sides] = shape.slice(1);
  return channels <= 4 && sides.every(side => side >= 1) && (sides.at(-1) ?? 0) >= 7 && sides.at(-1) === sides.at(-2);
}

/** `encoder.layers.11.norm1.weight` -> path encoder.layers, block 11, rest norm1.weight. */
const BLOCK = /^(?:(.*?)\.)?(\d{1,6})\.(.+)$/;
/** Fewer numbered modules than this may be the layers of a Sequential, which have nothing in common. */
const STACK = 6;

function detect(tensors: readonly Tensor[]): Detection | undefined {
  const patches = [...keyIndex(tensors).byKey.values()].filter(isPatchEmbedding).map(({ key }) => key);
  if (patches.length === 0) return undefined;
  const depths = stackDepths(tensors.map(({ key }) => key));
  const found = patches.flatMap(key => {
    const segments = key.split('.');
    // The nearest module around the patch embedding that holds numbered blocks too.
    for (let length = segments.length - 2; length >= 0; length--) {
      const prefix = segments.slice(0, length).join('.');
      const stacks = [...depths].filter(([path]) => prefix === '' || path.startsWith(`${prefix}.`));
      const depth = Math.max(0, ...stacks.map(([, blocks]) => blocks));
      if (depth >= 2) return [{ prefix, depth }];
    }
    return [];
  }).sort((a, b) => b.depth - a.depth || a.prefix.length - b.prefix.length)[0];
  if (found === undefined) return undefined;
  const where = found.prefix === '' ? t('The checkpoint') : t`The module ${found.prefix}`;
  return { prefix: found.prefix, confidence: 0.2, reason: t`A guess: ${where} has a patch embedding and ${found.depth} numbered blocks, so it is likely a vision encoder, of a kind that is not known. Check the marks before extracting.` };
}

/** Paths of numbered stacks with how many blocks each has, outermost numbers only. */
function stackDepths(keys: Iterable<string>): Map<string, number> {
  const depths = new Map<string, number>();
  for (const key of keys) {
    const match = BLOCK.exec(key);
    if (match === null) continue;
    const [, path = '', block = '0'] = match;
    depths.set(path, Math.max(depths.get(path) ?? 0, Number(block) + 1));
  }
  return depths;
}

function seen(kept: ReadonlyMap<string, readonly number[]>): Observed {
  const patch = [...kept].find(([key, shape]) => isPatchEmbedding({ key, shape, dtype: 'F32', file: 0, offset: 0, length: 0 }) && shape.length >= 4)?.[1];
  const layers = Math.max(0, ...stackDepths(kept.keys()).values());
  const width = patch?.[0];
  const mlp = [...kept].find(([key, shape]) => BLOCK.test(key) && shape.length === 2 && shape[1] === width && shape[0] !== undefined && width !== undefined && shape[0] > width && /mlp|ffn|feed_forward|fc/.test(key))?.[1][0];
  const patchSize = patch?.at(-1);
  return {
    ...(width !== undefined && { width }),
    ...(layers > 0 && { layers }),
    ...(patchSize !== undefined && { patch_size: patchSize }),
    ...(mlp !== undefined && { mlp_size: mlp }),
  };
}

/** The kept tensors, with each stack made whole: what more than half of its blocks have, all should have, in the commonest shape. */
function agreed(kept: ReadonlyMap<string, readonly number[]>): ExpectedTensor[] {
  const depths = stackDepths(kept.keys());
  const members = new Map<string, { readonly path: string; readonly rest: string; readonly shapes: Map<string, number> }>();
  const expected: ExpectedTensor[] = [];
  for (const [key, shape] of kept) {
    const [, path = '', , rest = ''] = BLOCK.exec(key) ?? [];
    if ((depths.get(path) ?? 0) < STACK) {
      expected.push({ key, shape, dimensions: shape });
      continue;
    }
    const member = members.get(`${path} ${rest}`) ?? { path, rest, shapes: new Map<string, number>() };
    const text = JSON.stringify(shape);
    member.shapes.set(text, (member.shapes.get(text) ?? 0) + 1);
    members.set(`${path} ${rest}`, member);
  }
  for (const { path, rest, shapes } of members.values()) {
    const blocks = depths.get(path) ?? 0;
    const [commonest = '[]'] = [...shapes].sort((a, b) => b[1] - a[1])[0] ?? [];
    const common = JSON.parse(commonest) as number[];
    const inMost = total(shapes) > blocks / 2;
    for (let block = 0; block < blocks; block++) {
      const key = `${path === '' ? '' : `${path}.`}${block}.${rest}`;
      const shape = inMost ? common : kept.get(key);
      if (shape !== undefined) expected.push({ key, shape, dimensions: shape, existsBy: 'layers' });
    }
  }
  return expected;
}

function total(shapes: ReadonlyMap<string, number>): number {
  return [...shapes.values()].reduce((sum, count) => sum + count, 0);
}

function encoderConfig(hyperparameters: Hyperparameters): Record<string, unknown> {
  const fields = { width: 'hidden_size', layers: 'num_hidden_layers', mlp_size: 'intermediate_size', patch_size: 'patch_size' };
  return Object.fromEntries(Object.entries(fields).flatMap(([name, field]) => {
    const value = hyperparameters.get(name)?.value;
    return value === undefined ? [] : [[field, value] as const];
  }));
}
