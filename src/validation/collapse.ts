import { blockTemplate } from './compare';
import { groupBy } from './groupBy';

/** Keys that differ only in their block number, and whose texts agree but for it, in one line: `resblocks.{24-47}.ln_1.weight`. */
export function collapse<T>(findings: readonly T[], keyOf: (finding: T) => string, textOf: (finding: T) => string): string[] {
  const groups = groupBy(findings, finding => `${templateOf(keyOf(finding))}\n${templateOf(textOf(finding))}`);
  return [...groups.values()].flatMap(group => {
    const [first] = group;
    if (first === undefined) return [];
    const blocks = group.flatMap(finding => blockTemplate(keyOf(finding))?.block ?? []).sort((a, b) => a - b);
    const filled = (text: string): string => (group.length === 1 ? text : templateOf(text).replace('#', `{${ranges(blocks)}}`));
    return [filled(keyOf(first)) + filled(textOf(first))];
  });
}

function templateOf(text: string): string {
  return blockTemplate(text)?.template ?? text;
}

/** 0, 1, 2, 5 -> `0-2,5`. */
export function ranges(numbers: readonly number[]): string {
  const runs: { first: number; last: number }[] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run !== undefined && number <= run.last + 1) run.last = number;
    else runs.push({ first: number, last: number });
  }
  return runs.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(',');
}
