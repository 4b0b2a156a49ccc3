/** One piece of work for the bench, in a process of its own: `worker extract|all|open|mark|filter CHECKPOINT [OUT] [DTYPE]`. */
import { openCheckpoint } from '../../src/checkpoint/open';
import { extract, type ExtractOptions } from '../../src/extraction/extract';
import { makePlan } from '../../src/recipe/plan';
import type { Recipe } from '../../src/recipe/recipe';
import type { Validation } from '../../src/validation/validation';

const VALID: Validation = {
  valid: true, family: 'none', config: undefined, hyperparameters: new Map(), expectedCount: 0, matchedCount: 0,
  missing: [], unexpected: [], mismatched: [], duplicates: [], warnings: [],
};

const recipe = (rules: Recipe['rules']): Recipe => ({ version: 1, name: 'bench', family: 'none', rules, overrides: [], settings: {} });
const VISUAL = recipe([{ mark: 'strip', module: 'visual' }]);
const ALL = recipe([{ mark: 'keep', pattern: '**' }]);

async function main([what, location = '', out = '', dtype]: readonly string[]): Promise<void> {
  const started = performance.now();
  const checkpoint = await openCheckpoint(location);
  const seconds = (from: number): void => { process.stdout.write(String((performance.now() - from) / 1000)); };
  try {
    if (what === 'open') seconds(started);
    else if (what === 'mark') {
      makePlan(checkpoint, VISUAL);
      const marked = performance.now();
      makePlan(checkpoint, ALL);
      seconds(marked);
    } else if (what === 'filter') {
      const { tensors } = makePlan(checkpoint, VISUAL);
      const filtered = performance.now();
      if (tensors.filter(({ tensor }) => tensor.key.toLowerCase().includes('.99')).length === 0) throw new Error('Nothing was found.');
      seconds(filtered);
    } else {
      await extract(makePlan(checkpoint, what === 'all' ? ALL : VISUAL), VALID, {
        out, format: what === 'all' ? 'torch' : 'safetensors', dtype: dtype === 'f32' || dtype === 'f16' ? dtype : 'keep', config: {}, preprocessor: {},
      } satisfies ExtractOptions);
    }
  } finally {
    await checkpoint.close();
  }
}

void main(process.argv.slice(2));
