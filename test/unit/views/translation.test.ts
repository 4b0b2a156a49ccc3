import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { allTexts, textsOf } from '../../l10n/texts';

const root = join(import.meta.dirname, '../../..');
const readTexts = (file: string): Record<string, string> => z.record(z.string(), z.string()).parse(JSON.parse(readFileSync(join(root, file), 'utf8')));

/** What a translation has to keep: the places of values, the commands and addresses of links, code, and how a text is put between others. */
const KEPT: Readonly<Record<string, RegExp>> = {
  'placeholders': /\{\d+\}/g,
  'links': /\]\([^)]+\)/g,
  'code': /`[^`]+`/g,
  'icons': /\$\([\w-]+\)/g,
  'line breaks': /\n/g,
  'addresses': /(?:hf|https?):\/\/[\w./@:-]*\w/g,
  'options and variables': /--[\w-]+|\bHF_[A-Z_]+|\bHTTPS_PROXY\b/g,
  'file names': /\b[\w*-]+\.(?:json|bin|safetensors|npy|index)\b/g,
};

const TRANSLATIONS = [
  { original: 'package.nls.json', pattern: /^package\.nls\.(.+)\.json$/, folder: '' },
  { original: 'l10n/bundle.l10n.json', pattern: /^bundle\.l10n\.(.+)\.json$/, folder: 'l10n' },
].map(({ original, pattern, folder }) => ({ original, files: readdirSync(join(root, folder)).filter(name => pattern.test(name)).map(name => join(folder, name)) }));

describe('the translation', () => {
  it('is of the texts that the source has now: else run "npm run l10n"', () => {
    assert.deepEqual(JSON.parse(readFileSync(join(root, 'l10n/bundle.l10n.json'), 'utf8')), allTexts());
  });

  it('is of texts that are shown in the editor, which has no options', () => {
    const options = Object.keys(allTexts()).filter(text => /(?<![\w-])--[a-z]/.test(text));
    assert.deepEqual(options, ['Recipe saved. The command line takes it too: --recipe {0}']);
  });

  for (const { original, files } of TRANSLATIONS) {
    it(`of ${original} is there in Simplified Chinese`, () => { assert.ok(files.some(file => file.endsWith('.zh-cn.json')), files.join()); });

    for (const file of files) {
      it(`${file} has every text and none too many`, () => {
        assert.deepEqual(Object.keys(readTexts(file)).sort(), Object.keys(readTexts(original)).sort());
      });

      it(`${file} keeps what is not words`, () => {
        const translated = readTexts(file);
        for (const [key, text] of Object.entries(readTexts(original))) {
          for (const [what, pattern] of Object.entries(KEPT)) {
            const found = (of: string): string[] => (of.match(pattern) ?? []).sort();
            assert.deepEqual(found(translated[key] ?? ''), found(text), `${what} of ${key}: ${translated[key] ?? ''}`);
          }
        }
      });

      it(`${file} leaves no sentence in English`, () => {
        const untranslated = Object.entries(readTexts(file)).filter(([key, text]) => /[a-z]{3,} [a-z]{2,}/.test(text) && text === (readTexts(original)[key] ?? ''));
        assert.deepEqual(untranslated, []);
      });
    }
  }

  it('finds texts however they are written, and refuses one that is not written out', () => {
    const texts = textsOf('t("a"); l10n.t(\'b {0}\', x); vscode.l10n.t({ message: \'c\', comment: \'of a list\' }); t`d ${t(\'e\')} ${x}.`; other.t(\'f\'); t`g`', 'x.ts');
    assert.deepEqual(Object.keys(texts), ['a', 'b {0}', 'c/of a list', 'd {0} {1}.', 'e', 'g']);
    assert.throws(() => textsOf('\nt(name);', 'x.ts'), /x\.ts:2: the text must be written out/);
  });
});
