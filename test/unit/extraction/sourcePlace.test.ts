import assert from 'node:assert/strict';
import { sourcePlace } from '../../../src/extraction/sourcePlace';

describe('the place that a manifest names', () => {
  const places = (locations: readonly string[], platform: NodeJS.Platform) => locations.map(location => sourcePlace(location, platform));

  it('is the disk for an absolute path of this system alone', () => {
    assert.deepEqual(places(['/models/Qwen-VL', 'C:\\models\\Qwen-VL', 'models/Qwen-VL', '..', ''], 'linux'), ['disk', 'foreign', 'foreign', 'foreign', 'foreign']);
    assert.deepEqual(places(['C:\\models\\Qwen-VL', 'd:/models', '/models/Qwen-VL', 'C:models', '\\models', 'models'], 'win32'), ['disk', 'disk', 'foreign', 'foreign', 'foreign', 'foreign']);
  });

  it('is the network for shares, devices and addresses, on every system', () => {
    const locations = ['\\\\server\\share\\model', '//server/share/model', '\\/server/share', '\\\\?\\UNC\\server\\share', '\\\\.\\pipe\\name', 'hf://Qwen/Qwen-VL-Chat', 'https://example.org/a.safetensors', 'HTTP://example.org/', 'file://server/share'];
    for (const platform of ['linux', 'darwin', 'win32'] as const) assert.deepEqual(places(locations, platform), locations.map(() => 'network'), platform);
  });
});
