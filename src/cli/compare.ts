import { printable } from '../checkpoint/wording';
import { compareJobs } from '../compareJobs';
import { comparisonToJson, reportLines } from '../comparison/report';
import type { Job } from '../job';
import { withInput } from './input';
import type { Terminal } from './terminal';

export interface CompareCommandOptions {
  readonly recipe?: string;
  readonly leftRecipe?: string;
  readonly rightRecipe?: string;
  readonly all?: boolean;
  readonly keysOnly?: boolean;
  readonly json?: boolean;
}

/** Compares two checkpoints and prints the verdict with its table; `equal` decides the exit code. */
export function runCompare(left: string, right: string, options: CompareCommandOptions, terminal: Terminal, signal: AbortSignal): Promise<{ equal: boolean; json?: unknown }> {
  const { recipe, leftRecipe = recipe, rightRecipe = recipe } = options;
  return withInput(left, recipeOption(leftRecipe), terminal, signal, leftJob =>
    withInput(right, recipeOption(rightRecipe), terminal, signal, rightJob => compare(leftJob, rightJob, options, terminal, signal)));
}

async function compare(left: Job, right: Job, { all = false, keysOnly = false, json = false }: CompareCommandOptions, terminal: Terminal, signal: AbortSignal): Promise<{ equal: boolean; json?: unknown }> {
  const bar = terminal.progress('Comparing');
  try {
    const { comparison, verdict } = await compareJobs(left, right, all ? 'checkpoints' : 'encoders', { keysOnly, signal, onProgress: bar.report });
    bar.stop();
    if (json) return { equal: comparison.equal, json: { verdict, ...comparisonToJson(comparison) } };
    terminal.print(`${comparison.equal ? terminal.style('green', '✓') : terminal.style('yellow', '≠')} ${printable(verdict)}`);
    terminal.print();
    for (const line of reportLines(comparison)) terminal.print(line);
    return { equal: comparison.equal };
  } finally {
    bar.stop();
  }
}

function recipeOption(recipe: string | undefined): { readonly recipe?: string } {
  return recipe === undefined ? {} : { recipe };
}
