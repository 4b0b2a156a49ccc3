// `npm run l10n`: brings l10n/bundle.l10n.json up to date with the source, and says what translations lack and have too many.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { allTexts } from './texts';

const folder = join(import.meta.dirname, '../../l10n');
const texts = allTexts();
writeFileSync(join(folder, 'bundle.l10n.json'), `${JSON.stringify(texts, undefined, 2)}\n`);
const differences = readdirSync(folder).filter(name => /^bundle\.l10n\..+\.json$/.test(name)).flatMap(name => {
  const translated = JSON.parse(readFileSync(join(folder, name), 'utf8')) as object;
  return [
    ...Object.keys(texts).filter(key => !(key in translated)).map(key => `${name} lacks: ${JSON.stringify(key)}`),
    ...Object.keys(translated).filter(key => !(key in texts)).map(key => `${name} has one too many: ${JSON.stringify(key)}`),
  ];
});
console.log([`${Object.keys(texts).length} texts`, ...differences].join('\n'));
