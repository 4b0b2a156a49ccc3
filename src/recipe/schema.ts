import * as z from 'zod';
import { recipeSchema } from './recipe';

/** The JSON schema of recipe files, published as media/recipe.schema.json for completion and checks in editors. */
export function recipeJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(recipeSchema, { target: 'draft-7', io: 'input' });
  return {
    $schema,
    $id: 'vision-encoder-recipe.schema.json',
    title: 'Vision encoder recipe',
    description: 'Which tensors of a checkpoint make its vision encoder. The first rule that matches a key decides, overrides before rules; what no rule matches stays behind.',
    ...schema,
  };
}
