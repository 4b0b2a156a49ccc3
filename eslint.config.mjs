import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/**
 * Dependencies point one way: a folder imports from itself and from folders further down this list.
 * job.ts stands between the editor with the command line and all else; the entries extension.ts and cli.ts on top.
 */
const layers = ['views', 'commands', 'batch', 'encoder', 'comparison', 'inspection', 'features', 'image', 'onnx', 'handover', 'extraction', 'validation', 'architecture', 'recipe', 'remote', 'checkpoint'];
/** Folders of one level that may import each other's files. */
const peers = { views: ['commands'], commands: ['views'], architecture: ['onnx'] };
const vscodeFolders = ['views', 'commands'];

const noEditor = { name: 'vscode', message: 'Only extension.ts, views and commands know the editor.' };
const noEntries = { group: ['**/extension', '**/cli'], message: 'Entry points are imported by nobody.' };
/** What the command line and the files at the top of src do without. */
const withoutEditor = { group: vscodeFolders.map(folder => `**/${folder}/*`), message: 'This has to run without an editor.' };

const arrows = layers.map((layer, level) => {
  const allowed = new Set([layer, ...(peers[layer] ?? []), ...layers.slice(level + 1)]);
  const forbidden = layers.filter(other => !allowed.has(other));
  return {
    files: [`src/${layer}/**/*.ts`],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [
          ...(forbidden.length > 0 ? [{ group: forbidden.map(other => `**/${other}/*`), message: `src/${layer} lies below these folders.` }] : []),
          noEntries,
          ...(vscodeFolders.includes(layer) ? [] : [{ group: ['**/job'], message: `src/${layer} lies below the job.` }]),
        ],
        paths: vscodeFolders.includes(layer) ? [] : [noEditor],
      }],
    },
  };
});

/** Sentences that people read are looked up in the translation: in the editor's part by vscode.l10n.t, below it by the same function of @vscode/l10n. */
const sentence = 'NewExpression[callee.name=/^(UserError|AccessError|ConfigError|ConnectionError|RefusedError)$/]';
const untranslated = [`${sentence} > :matches(TemplateLiteral, Literal).arguments:first-child`, `${sentence} > ConditionalExpression.arguments:first-child > :matches(TemplateLiteral, Literal)`].map(selector => ({
  selector,
  message: 'Write t`...` (@vscode/l10n), or vscode.l10n.t(...) in views and commands, so that it can be translated.',
}));

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '.cache/', 'test-results/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  { files: ['src/*.ts'], ignores: ['src/extension.ts', 'src/cli.ts'], rules: { 'no-restricted-imports': ['error', { paths: [noEditor], patterns: [withoutEditor, noEntries] }] } },
  { files: ['src/cli.ts', 'src/cli/*.ts'], rules: { 'no-restricted-imports': ['error', { paths: [noEditor], patterns: [withoutEditor] }] } },
  ...arrows,
  { files: ['src/**/*.ts'], ignores: ['src/cli.ts', 'src/cli/*.ts'], rules: { 'no-restricted-syntax': ['error', ...untranslated] } },
  {
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-unused-expressions': 'off', '@typescript-eslint/no-floating-promises': 'error', '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  {
    files: ['test/e2e/**/*.mjs'],
    languageOptions: { globals: { describe: 'readonly', it: 'readonly', before: 'readonly', after: 'readonly', beforeEach: 'readonly', afterEach: 'readonly', DragEvent: 'readonly', ClipboardEvent: 'readonly', DataTransfer: 'readonly', File: 'readonly', atob: 'readonly', requestAnimationFrame: 'readonly' } },
  },
  {
    files: ['**/*.cjs'],
    languageOptions: { globals: { require: 'readonly', module: 'readonly', exports: 'readonly' } },
  },
  {
    files: ['**/*.{mjs,cjs}'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly', Buffer: 'readonly', setTimeout: 'readonly', clearTimeout: 'readonly', setInterval: 'readonly', clearInterval: 'readonly', fetch: 'readonly', document: 'readonly', MutationObserver: 'readonly', getComputedStyle: 'readonly', navigator: 'readonly', performance: 'readonly' } },
  },
);
