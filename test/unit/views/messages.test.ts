import assert from 'node:assert/strict';
import type * as z from 'zod';
import { fromInspectorSchema } from '../../../src/inspectorProtocol';
import { MAX_PICTURE_BYTES } from '../../../src/previewLimits';
import { fromWebviewSchema } from '../../../src/protocol';

const bytes = new Uint8Array(4);
const subject = { picture: 'a', encoder: 'main' };
const ask = (question: unknown): unknown => ({ type: 'ask', request: 1, question });
const map = (kind: unknown): unknown => ask({ type: 'map', subject, map: kind });
const state = {
  overlay: 'pca', layer: 3, head: null, query: 0, channel: 0, patch: null, opacity: 0.5, arrangement: 'overlay', grid: false, clip: true, allLayers: false, folded: ['keyboard', 'run'], patchOnSecond: true, shown: 'a', compared: null, temperature: 0.07,
};

/** One good message of every kind; each must then be refused with one field too many. */
const PREVIEW: readonly unknown[] = [
  { type: 'ready' }, { type: 'pick' }, { type: 'pickFolder' }, { type: 'addSample', picture: 'a' }, { type: 'chooseOther' }, { type: 'closeOther' }, { type: 'cancel' }, { type: 'showLog' }, { type: 'restart' },
  { type: 'add', files: [{ name: 'x.png', bytes }] }, { type: 'addRecent', picture: 'a' }, { type: 'flip', by: -1 }, { type: 'remove', picture: 'a' }, { type: 'encode', picture: 'a' },
  { type: 'device', device: 'cpu' }, { type: 'precision', precision: 'float16' }, { type: 'keep', layers: 'quarter' }, { type: 'resize', mode: 'crop' }, { type: 'resolution', pixels: 401_408 },
  { type: 'addAddresses', addresses: ['file:///a.png', '/b.png', 'https://example.org/c.png'] }, { type: 'copy', text: '[1, 2]' },
  ask({ type: 'statistics', subject, layer: -1 }), { type: 'savePng', name: 'x.png', bytes }, { type: 'saveFeatures', picture: 'a', format: 'npy' }, { type: 'state', state },
];

const BAD_PREVIEW: Readonly<Record<string, unknown>> = {
  'nothing': undefined, 'null': null, 'a text': 'ready', 'a list': [{ type: 'ready' }], 'no type': {}, 'another page\'s type': { type: 'open' },
  'a type of Object.prototype': { type: 'constructor' }, '__proto__': JSON.parse('{"type":"ready","__proto__":{"x":1}}') as unknown,
  'no files': { type: 'add', files: [] }, 'too many files': { type: 'add', files: Array.from({ length: 65 }, () => ({ name: 'x', bytes })) },
  'a file that is a path': { type: 'add', files: [{ name: 'x', path: '/etc/passwd' }] }, 'bytes in a list': { type: 'add', files: [{ name: 'x', bytes: [1, 2] }] },
  'a picture too large': { type: 'add', files: [{ name: 'x', bytes: new Uint8Array(MAX_PICTURE_BYTES + 1) }] }, 'a name too long': { type: 'add', files: [{ name: 'x'.repeat(1025), bytes }] },
  'an image to save too large': { type: 'savePng', name: 'x', bytes: new Uint8Array(MAX_PICTURE_BYTES + 1) }, 'a name to save too long': { type: 'savePng', name: 'x'.repeat(257), bytes },
  'no addresses': { type: 'addAddresses', addresses: [] }, 'an empty address': { type: 'addAddresses', addresses: [''] }, 'an address too long': { type: 'addAddresses', addresses: ['x'.repeat(4097)] }, 'too many addresses': { type: 'addAddresses', addresses: Array.from({ length: 65 }, () => 'file:///a') },
  'a copy too long': { type: 'copy', text: 'x'.repeat((1 << 21) + 1) }, 'a section of its own': { type: 'state', state: { ...state, folded: ['html'] } }, 'half a pixel': { type: 'resolution', pixels: 0.5 },
  'an empty id': { type: 'remove', picture: '' }, 'a long id': { type: 'remove', picture: 'x'.repeat(65) }, 'half a step': { type: 'flip', by: 0.5 }, 'a step too wide': { type: 'flip', by: 5000 },
  'a device of its own': { type: 'device', device: '/tmp/libevil.so' }, 'a format of its own': { type: 'saveFeatures', picture: 'a', format: 'sh' }, 'a mode of its own': { type: 'resize', mode: '' },
  'a negative request': { type: 'ask', request: -1, question: { type: 'errors', picture: 'a' } }, 'a layer out of reach': ask({ type: 'statistics', subject, layer: 1e9 }), 'a layer NaN': ask({ type: 'statistics', subject, layer: Number.NaN }),
  'a patch out of reach': ask({ type: 'patch', subject, layer: 0, patch: 2 ** 40 }), 'a slot of its own': ask({ type: 'statistics', subject: { picture: 'a', encoder: '__proto__' }, layer: 0 }),
  'no pictures to compare': ask({ type: 'compare', pictures: ['a'], temperature: 1 }), 'a temperature of 0': ask({ type: 'compare', pictures: ['a', 'b'], temperature: 0 }),
  'too many for a PCA': map({ kind: 'pca', layer: 0, among: Array.from({ length: 17 }, () => subject) }), 'attention of the embedding': map({ kind: 'attention', layer: -1 }),
  'a map with an extra field': map({ kind: 'norm', layer: 0, extra: 1 }), 'a state with an extra field': { type: 'state', state: { ...state, html: '<b>' } }, 'an opacity of 2': { type: 'state', state: { ...state, opacity: 2 } },
};

const INSPECTOR: readonly unknown[] = [
  { type: 'ready' }, { type: 'open' }, { type: 'reload' }, { type: 'cancel', request: 0 }, { type: 'copy', text: 'a.weight' },
  ask({ type: 'statistics', tensor: 0 }), ask({ type: 'heatMap', tensor: 0, matrix: 1, region: { row: 0, column: 0, rows: 4, columns: 4 } }),
];

const BAD_INSPECTOR: Readonly<Record<string, unknown>> = {
  'null': null, 'no type': {}, 'another page\'s type': { type: 'pick' }, 'a type of Object.prototype': { type: '__proto__' },
  'a text too long': { type: 'copy', text: 'x'.repeat((1 << 16) + 1) }, 'a text that is none': { type: 'copy', text: { toString: 'x' } },
  'a file to open': { type: 'open', path: '/etc/passwd' }, 'a tensor by name': ask({ type: 'statistics', tensor: 'a' }), 'a negative tensor': ask({ type: 'statistics', tensor: -1 }), 'an infinite tensor': ask({ type: 'statistics', tensor: Infinity }),
  'half a row': ask({ type: 'heatMap', tensor: 0, matrix: 0, region: { row: 0.5, column: 0, rows: 1, columns: 1 } }), 'a region with an extra field': ask({ type: 'heatMap', tensor: 0, matrix: 0, region: { row: 0, column: 0, rows: 1, columns: 1, file: 'x' } }),
  'no question': { type: 'ask', request: 1 }, 'a question of its own': ask({ type: 'read', path: '/etc/passwd' }),
};

function holds(page: string, schema: z.ZodType, good: readonly unknown[], bad: Readonly<Record<string, unknown>>): void {
  describe(`a message from ${page}`, () => {
    it('is taken as it should be, and refused with a field too many', () => {
      for (const message of good) {
        assert.deepEqual(schema.safeParse(message).data, message);
        assert.equal(schema.safeParse({ ...message as object, extra: 1 }).success, false, JSON.stringify(message));
      }
    });

    for (const [what, message] of Object.entries(bad)) {
      it(`is refused: ${what}`, () => { assert.equal(schema.safeParse(message).success, false); });
    }
  });
}

holds('the preview', fromWebviewSchema, PREVIEW, BAD_PREVIEW);
holds('the inspector', fromInspectorSchema, INSPECTOR, BAD_INSPECTOR);
