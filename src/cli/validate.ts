import { validated, type Job } from '../job';
import { formatValidation, validationToJson } from '../validation/report';
import type { Validation } from '../validation/validation';
import { recipeLine } from './keys';
import type { Terminal } from './terminal';

/** Prints the strict validation; gives the JSON instead when that is wanted. */
export function runValidate(job: Job, terminal: Terminal, asJson: boolean): { valid: boolean; json?: unknown } {
  const { validation } = validated(job);
  job.checkpoint.warnings.forEach(warning => { terminal.warn(warning); });
  if (asJson) return { valid: validation.valid, json: { checkpoint: job.checkpoint.location, recipe: job.recipe.name, ...validationToJson(validation) } };
  terminal.note(recipeLine(job));
  terminal.print(reportText(validation));
  return { valid: validation.valid };
}

/** The validation's report, with settings as the command line takes them. */
export function reportText(validation: Validation): string {
  return formatValidation(validation, (name, value) => `--set ${name}=${value}`);
}
