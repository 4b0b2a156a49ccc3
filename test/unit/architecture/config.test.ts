import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseConfig } from '../../../src/architecture/config';
import { UserError } from '../../../src/errors';
import { FIXTURES } from '../support/checkpoints';

function fails(text: string, message: RegExp): void {
  assert.throws(() => parseConfig(text, 'dir/config.json'), (error: unknown) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, message);
    return true;
  });
}

describe('parseConfig', () => {
  const text = '\uFEFF{\r\n  "model_type": "clip",\r\n  "vision_config": {\r\n    "layers": 24,\n    "list": [1, {"deep": 2}]\n  }\n}\n';

  it('knows where each property stands, across line ends and a byte order mark', () => {
    const config = parseConfig(text, 'config.json');
    assert.deepEqual(config.rangeOf(['model_type']), { startLine: 1, startColumn: 2, endLine: 1, endColumn: 22 });
    assert.deepEqual(config.rangeOf(['vision_config', 'layers']), { startLine: 3, startColumn: 4, endLine: 3, endColumn: 16 });
    assert.deepEqual(config.rangeOf(['vision_config', 'list', 1, 'deep']), { startLine: 4, startColumn: 17, endLine: 4, endColumn: 26 });
  });

  it('gives the nearest enclosing object for what is not there', () => {
    const config = parseConfig(text, 'config.json');
    assert.deepEqual(config.rangeOf(['vision_config', 'heads']), config.rangeOf(['vision_config']));
    assert.deepEqual(config.rangeOf(['visual', 'width']), { startLine: 0, startColumn: 0, endLine: 6, endColumn: 1 });
  });

  it('takes the last of a name that is written twice, as it takes its value', () => {
    const config = parseConfig('{"layers": 1,\n"layers": 2}', 'config.json');
    assert.equal(config.value.layers, 2);
    assert.equal(config.rangeOf(['layers']).startLine, 1);
  });

  it('refuses the real LISA config, naming the line where git configuration follows', () => {
    const file = path.join(FIXTURES, 'real/models/llava-lisa-7b/config.json');
    const content = readFileSync(file, 'utf8');
    const line = content.split('\n').indexOf('[http]') + 1;
    assert.throws(() => parseConfig(content, file), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.ok(error.message.includes(file));
      assert.match(error.message, new RegExp(`line ${line}, column 1: the JSON has ended, yet "\\[http\\]" follows`));
      return true;
    });
  });

  it('names what is wrong in other broken files', () => {
    fails('', /dir\/config\.json is empty/);
    fails('[1]', /holds an array where an object/);
    fails('null', /holds null/);
    fails('{"a": 1,}', /line 1, column 9: a property name/);
    fails('{\n  "a": NaN\n}', /line 2, column 8: .*NaN/);
    fails('{"a": 1', /closing brace is expected, but the file ends/);
    fails('{"a": 1} // why', /comments are not allowed|the JSON has ended/);
    fails('version https://git-lfs.github.com/spec/v1\noid sha256:1\n', /git lfs pull/);
    fails('{"a":'.repeat(100_000), /deeply|not valid JSON/);
  });
});
