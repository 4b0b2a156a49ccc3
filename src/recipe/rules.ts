import type { Decision } from './plan';
import type { Recipe, Rule } from './recipe';

/** What a strip rule removes from the front of a key; undefined for the other marks. */
export function stripPrefix(rule: Rule): string | undefined {
  if (rule.mark !== 'strip') return undefined;
  return rule.prefix ?? ('module' in rule ? `${rule.module}.` : undefined);
}

/** The key in the encoder of a tensor that `rule` decided; undefined when it stays behind. */
export function outputKey(rule: Rule, key: string): string | undefined {
  if (rule.mark === 'exclude') return undefined;
  return key.slice(stripPrefix(rule)?.length ?? 0);
}

/**
 * Makes the function that finds the first rule that decides a key, overrides before rules.
 * Rules by key and module are found through maps, so that thousands of edits cost no more than one;
 * only patterns are tried one by one.
 */
export function compileRecipe(recipe: Pick<Recipe, 'rules' | 'overrides'>): (key: string) => Decision | undefined {
  const decisions: Decision[] = [
    ...recipe.overrides.map((rule, index): Decision => ({ source: 'override', index, rule })),
    ...recipe.rules.map((rule, index): Decision => ({ source: 'rule', index, rule })),
  ];
  const prefixes = decisions.map(({ rule }) => stripPrefix(rule));
  const byKey = new Map<string, number[]>();
  const byModule = new Map<string, number[]>();
  const patterns: { readonly rank: number; readonly matches: (key: string) => boolean }[] = [];
  decisions.forEach(({ rule }, rank) => {
    if ('key' in rule) push(byKey, rule.key, rank);
    else if ('module' in rule) push(byModule, rule.module, rank);
    else patterns.push({ rank, matches: compilePattern(rule.pattern) });
  });
  const moduleLengths = [...new Set([...byModule.keys()].map(path => path.length))];

  /** Whether the rule at `rank`, which names the key, can also be applied to it. */
  const applies = (rank: number, key: string): boolean => {
    const prefix = prefixes[rank];
    return prefix === undefined || (key.length > prefix.length && key.startsWith(prefix));
  };
  const firstOf = (ranks: readonly number[] | undefined, key: string, limit: number): number => {
    if (ranks !== undefined) for (const rank of ranks) if (rank >= limit) return limit; else if (applies(rank, key)) return rank;
    return limit;
  };

  return key => {
    let best = byKey.size === 0 ? decisions.length : firstOf(byKey.get(key), key, decisions.length);
    for (const length of moduleLengths) {
      if (key.length === length || key[length] === '.') best = firstOf(byModule.get(key.slice(0, length)), key, best);
    }
    for (const { rank, matches } of patterns) {
      if (rank >= best) break;
      if (applies(rank, key) && matches(key)) best = rank;
    }
    return decisions[best];
  };
}

function push(map: Map<string, number[]>, name: string, rank: number): void {
  const ranks = map.get(name);
  if (ranks === undefined) map.set(name, [rank]);
  else ranks.push(rank);
}

/**
 * Matches whole keys against a pattern over dot-separated segments: `*` is any run of characters inside one segment,
 * `**` as a segment is any number of segments, also none. Takes at most segments x pattern length steps,
 * whatever the pattern: no regular expression that a hostile recipe could make explode.
 */
export function compilePattern(pattern: string): (key: string) => boolean {
  if (!pattern.includes('*')) return key => key === pattern;
  const parts = pattern.split('.');
  // Most keys fail at the pattern's literal ends, which spares splitting them.
  const head = parts.slice(0, parts.findIndex(part => part.includes('*'))).join('.');
  const tail = parts.slice(parts.findLastIndex(part => part.includes('*')) + 1).join('.');
  return key => key.startsWith(head) && key.endsWith(tail) && matchWild(key.split('.'), parts, part => part === '**', (segment, part) => part === segment || (part.includes('*') && matchSegment(segment, part)));
}

function matchSegment(segment: string, part: string): boolean {
  return matchWild(segment, part, char => char === '*', (char, wanted) => char === wanted);
}

/** The greedy wildcard match: on a failure it lengthens only what the last wildcard took. */
function matchWild<T>(text: ArrayLike<T>, pattern: ArrayLike<T>, isWild: (part: T) => boolean, equal: (item: T, part: T) => boolean): boolean {
  let at = 0;
  let part = 0;
  let wild = -1;
  let resume = 0;
  while (at < text.length) {
    const item = text[at];
    const wanted = pattern[part];
    if (wanted !== undefined && isWild(wanted)) {
      wild = part++;
      resume = at;
    } else if (item !== undefined && wanted !== undefined && equal(item, wanted)) {
      at++;
      part++;
    } else if (wild >= 0) {
      part = wild + 1;
      at = ++resume;
    } else return false;
  }
  for (; part < pattern.length; part++) {
    const wanted = pattern[part];
    if (wanted === undefined || !isWild(wanted)) return false;
  }
  return true;
}
