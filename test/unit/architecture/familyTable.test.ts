import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { familyTable } from '../../../src/architecture/familyTable';
import { FAMILIES } from '../../../src/architecture/registry';

const README = path.join(import.meta.dirname, '../../../README.md');

describe('familyTable', () => {
  it('has a row for every family', () => {
    const lines = familyTable().split('\n');
    assert.equal(lines.length, FAMILIES.length + 2);
    for (const [index, { id, title }] of FAMILIES.entries()) {
      assert.ok(lines[index + 2]?.includes(`\`${id}\``));
      assert.ok(lines[index + 2]?.startsWith(`| ${title} |`));
    }
    assert.ok(lines.every(line => line.split('|').length === lines[0]?.split('|').length));
  });

  it('stands in the README as it is', function () {
    const text = existsSync(README) ? readFileSync(README, 'utf8') : '';
    const between = /(<!-- families -->\n)[\s\S]*?(\n<!-- \/families -->)/.exec(text);
    if (between === null) {
      console.log('      README.md has no "<!-- families -->" ... "<!-- /families -->" yet: there is no table to compare.');
      this.skip();
    }
    const [found, start = '', end = ''] = between;
    const wanted = start + familyTable() + end;
    if (process.env.UPDATE_README === '1') writeFileSync(README, text.replace(found, () => wanted));
    else assert.equal(found, wanted, 'README.md\'s table of families is out of date. Run: UPDATE_README=1 npx mocha -g familyTable');
  });
});
