import { UserError } from '../errors';
import type { Job } from '../job';
import { recipeToJson } from '../recipe/recipe';
import { recipeLine } from './keys';
import type { Terminal } from './terminal';

/** Prints the recipe in use as a recipe file, to be saved, edited and given back with --recipe. */
export function printRecipe(job: Job, terminal: Terminal): void {
  if (job.family === undefined) throw new UserError(recipeLine(job));
  terminal.note(recipeLine(job));
  terminal.print(recipeToJson(job.recipe).trimEnd());
}
