import assert from 'node:assert/strict';
import { Meter } from '../../../src/commands/meter';
import { parseBytes } from '../../../src/format';
import type { PlannedTensor } from '../../../src/recipe/plan';
import type { Validation } from '../../../src/validation/validation';
import { History } from '../../../src/views/history';
import { highlights, matching, search } from '../../../src/views/keyFilter';
import { code, plain, unlinked, visible } from '../../../src/views/markdown';
import { isCause, placeReports, problemsBySource, remedies, sections } from '../../../src/views/validationModel';

const keys = ['transformer.visual.ln_pre.weight', 'transformer.visual.attn.weight', 'transformer.h.0.attn.weight', 'lm_head.weight'];
const planned = keys.map((key, index): PlannedTensor => ({
  tensor: { key, dtype: 'F32', shape: [1], file: 0, offset: 0, length: 4 },
  mark: index < 2 ? 'strip' : 'exclude', outputKey: undefined,
  decision: index === 3 ? undefined : { source: 'rule', index: 0, rule: { mark: index < 2 ? 'strip' : 'exclude', module: 'transformer' } },
}));

describe('key filter', () => {
  const shown = (text: string, states?: readonly ('strip' | 'exclude' | 'unwanted')[]): number[] => [...matching(planned, { text, states: states && new Set(states) })];

  it('wants every word, in any order and case', () => {
    assert.deepEqual(shown('ATTN visual'), [1]);
    assert.deepEqual(shown(''), [0, 1, 2, 3]);
    assert.deepEqual(shown('nothing'), []);
  });

  it('takes a star for any run and every other character as itself', () => {
    assert.deepEqual(shown('transformer*attn'), [1, 2]);
    assert.deepEqual(shown('(.+)['), []);
    assert.deepEqual(shown('h.0'), [2]);
  });

  it('tells what a rule excluded from what none wanted', () => {
    assert.deepEqual(shown('', ['exclude']), [2]);
    assert.deepEqual(shown('', ['unwanted']), [3]);
    assert.deepEqual(shown('weight', ['strip', 'unwanted']), [0, 1, 3]);
  });

  it('stays fast for a word of many stars', () => {
    const started = performance.now();
    matching([{ ...planned[0]!, tensor: { ...planned[0]!.tensor, key: 'a'.repeat(2000) } }], { text: `${'*'.repeat(50)}b`, states: undefined });
    assert.ok(performance.now() - started < 200);
  });

  it('finds keys that end in the text first, and no more than asked for', () => {
    assert.deepEqual(search(['a.b.c', 'x.a', 'a'], 'a', 2), [1, 2]);
    assert.equal(search(keys, '', 2).length, 2);
  });

  it('marks where the words stand', () => {
    assert.deepEqual(highlights('attn.weight', 'Weight at'), [[5, 11], [0, 2]]);
    assert.deepEqual(highlights('attn.weight', '*'), []);
  });
});

describe('names from files in Markdown', () => {
  it('keeps a hostile name inside its code span', () => {
    assert.equal(code('a`](command:evil) `` b'), '``` a`](command:evil) `` b ```');
    assert.equal(code('plain'), '` plain `');
  });

  it('escapes what would begin markup in plain text', () => {
    assert.equal(plain('[x](command:y) <b> $(zap) **'), '\\[x\\]\\(command\\:y\\) \\<b\\> \\$\\(zap\\) \\*\\*');
  });

  it('shows what cannot be seen, on one line and not too long', () => {
    assert.equal(visible('a\nb\u0000\u202ec'), 'a␊b␀\ufffdc');
    assert.ok(visible('x'.repeat(10_000)).length < 420);
  });
});

describe('sentences in notifications', () => {
  // What VS Code takes for a link there (src/vs/base/common/linkedText.ts).
  const link = /\[([^\]]+)\]\(((?:https?:\/\/|command:|file:)[^)\s]+)/i;

  it('hold no link that a file has put there, and are otherwise as they were', () => {
    const hostile = 'Key "[Repair](command:workbench.action.terminal.new)" is missing.';
    assert.match(hostile, link);
    assert.doesNotMatch(unlinked(hostile), link);
    assert.equal(unlinked('a.weight is [4, 4] (float32).'), 'a.weight is [4, 4] (float32).');
  });
});

describe('history', () => {
  it('goes back and forth, and forgets what was undone when something new is done', () => {
    const history = new History('a');
    history.push('b');
    history.push('c');
    assert.deepEqual([history.undo(), history.undo(), history.undo()], ['b', 'a', undefined]);
    assert.equal(history.redo(), 'b');
    history.push('d');
    assert.deepEqual([history.canRedo, history.redo(), history.current], [false, undefined, 'd']);
  });

  it('remembers no more than its limit', () => {
    const history = new History(0, 2);
    for (const state of [1, 2, 3]) history.push(state);
    assert.deepEqual([history.undo(), history.undo(), history.undo()], [2, 1, undefined]);
  });
});

describe('validation rows', () => {
  const range = { startLine: 3, startColumn: 4, endLine: 3, endColumn: 16 };
  const blame = { hyperparameter: 'layers', message: '48 blocks found, config.json says 24.', place: { location: '/c/config.json', range } };
  const fix = { kind: 'setting', title: 'Set layers to 48', settings: { layers: 48 } } as const;
  const exclude = (key: string) => ({ kind: 'mark', title: `Exclude ${key}`, key, mark: 'exclude' } as const);
  const validation: Validation = {
    valid: false, family: 'qwen-vl', config: '/c/config.json', hyperparameters: new Map(), expectedCount: 4, matchedCount: 1,
    missing: [{ key: 'ln.weight', shape: [2], fixes: [] }],
    unexpected: ['24', '25'].map(n => ({ key: `b.${n}`, sourceKey: `v.b.${n}`, shape: [2], blame, fixes: [fix, exclude(`v.b.${n}`)] })),
    mismatched: [{ key: 'q', sourceKey: 'v.q', expected: [2, 3], found: [2, 4], fixes: [] }],
    duplicates: [{ key: 'd', sourceKeys: ['v.d', 'd'], fixes: [] }], warnings: [],
  };

  it('puts findings of one cause together, with the fixes that serve all of them', () => {
    const all = sections(validation);
    assert.deepEqual(all.map(({ kind, count }) => [kind, count]), [['missing', 1], ['unexpected', 2], ['mismatched', 1], ['duplicate', 1]]);
    const [cause] = all[1]!.entries;
    assert.ok(cause !== undefined && isCause(cause));
    assert.deepEqual([cause.findings.length, cause.fixes], [2, [fix]]);
  });

  it('offers each setting once, the one that settles most first, and no marks', () => {
    const other = { kind: 'setting', title: 'Set width to 8', settings: { width: 8 } } as const;
    const mismatched = { ...validation.mismatched[0]!, fixes: [other] };
    assert.deepEqual(remedies({ ...validation, mismatched: [mismatched] }), [{ fix, count: 2 }, { fix: other, count: 1 }]);
    assert.deepEqual(remedies({ ...validation, mismatched: [mismatched, mismatched, mismatched] })[0], { fix: other, count: 3 });
  });

  it('reports each blamed place of the config once', () => {
    assert.deepEqual(placeReports(validation, '/c/config.json').map(report => [report.location, report.range, report.findings.length, report.fixes]), [['/c/config.json', range, 2, [fix]]]);
  });

  it('blames the top of the config for what it does not hold', () => {
    const blame = { message: 'm', hyperparameter: 'output_dim' };
    const lacking: Validation = { ...validation, missing: [], unexpected: [], duplicates: [], mismatched: [{ key: 'q', sourceKey: 'v.q', expected: [2], found: [1], fixes: [fix], blame }], hyperparameters: new Map([['output_dim', { name: 'output_dim', value: 4096, origin: { kind: 'default' } }]]) };
    assert.deepEqual(placeReports(lacking, '/c/config.json').map(report => [report.location, report.range.startLine]), [['/c/config.json', 0]]);
    assert.deepEqual(placeReports(lacking, undefined), []);
  });

  it('says for each tensor of the checkpoint what is wrong with it', () => {
    assert.deepEqual([...problemsBySource(validation).keys()], ['v.b.24', 'v.b.25', 'v.q', 'v.d', 'd']);
    assert.match(problemsBySource(validation).get('v.q') ?? '', /found 2×4, expected 2×3/);
  });
});

describe('meter', () => {
  it('tells rate and time left once it has watched for a while', () => {
    const meter = new Meter();
    assert.equal(meter.update(0, 1000, 0).rate, undefined);
    assert.equal(meter.update(10, 1000, 100).rate, undefined);
    assert.deepEqual(meter.update(200, 1000, 2000), { rate: 100, left: 8 });
  });

  it('follows a rate that changes', () => {
    const meter = new Meter();
    for (let second = 0; second <= 10; second += 1) meter.update(second * 100, 10_000, second * 1000);
    for (let second = 11; second <= 20; second += 1) meter.update(1000 + (second - 10) * 10, 10_000, second * 1000);
    assert.deepEqual(meter.update(1110, 10_000, 21_000).rate, 10);
  });
});

describe('sizes that people write', () => {
  it('reads decimal and binary units, and refuses what is no size', () => {
    assert.deepEqual(['5GB', '500 mb', '2GiB', '1.5k', '12'].map(parseBytes), [5e9, 5e8, 2 ** 31, 1500, 12]);
    assert.deepEqual(['', 'GB', '-1', '0', '5 apples', '1e9'].map(parseBytes), Array(6).fill(undefined));
  });
});
