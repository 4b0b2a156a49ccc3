import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';

const root = join(import.meta.dirname, '../../..');
const text = readFileSync(join(root, 'package.json'), 'utf8');
const strings = z.record(z.string(), z.string()).parse(JSON.parse(readFileSync(join(root, 'package.nls.json'), 'utf8')));
const named = z.object({ command: z.string() });
const { contributes, capabilities } = z.object({
  capabilities: z.object({ untrustedWorkspaces: z.unknown() }),
  contributes: z.object({
    commands: z.array(named),
    configuration: z.object({ properties: z.record(z.string(), z.object({ type: z.string(), enum: z.array(z.string()).optional(), pattern: z.string().optional() })) }),
    keybindings: z.array(named),
    menus: z.record(z.string(), z.array(named)),
    walkthroughs: z.array(z.object({ steps: z.array(z.object({ id: z.string(), media: z.object({ image: z.string() }) })) })),
    jsonValidation: z.array(z.object({ url: z.string() })),
    colors: z.array(z.object({ id: z.string(), defaults: z.strictObject({ dark: z.string(), light: z.string(), highContrast: z.string(), highContrastLight: z.string() }) })),
  }),
}).parse(JSON.parse(text));

describe('extension manifest', () => {
  it('has each of its strings once, and no others', () => {
    const used = new Set([...text.matchAll(/"%([\w.]+)%"/g)].map(match => match[1]));
    assert.deepEqual([...used].sort(), Object.keys(strings).sort());
  });

  it('names only commands that it contributes', () => {
    const commands = new Set(contributes.commands.map(entry => entry.command));
    const mentioned = [...contributes.keybindings, ...Object.values(contributes.menus).flat()].map(entry => entry.command);
    const inWelcome = [...Object.values(strings).join(' ').matchAll(/\(command:([\w.]+)\)/g)].map(match => match[1] ?? '').filter(command => !command.endsWith('.focus')); // VS Code's own, one for each view
    assert.ok(mentioned.length > 40 && inWelcome.length > 0);
    assert.deepEqual([...mentioned, ...inWelcome].filter(command => !commands.has(command)), []);
  });

  it('colours every theme kind and points to files that are there', () => {
    assert.ok(contributes.colors.length > 5);
    for (const { url } of contributes.jsonValidation) assert.ok(existsSync(join(root, url)), url);
    const pictures = contributes.walkthroughs.flatMap(({ steps }) => steps.map(({ media }) => media.image));
    assert.ok(pictures.length > 0);
    for (const image of pictures) assert.ok(existsSync(join(root, image)), image);
  });

  it('contributes every colour and command that the source names', () => {
    const source = ['views/keyItem.ts', 'views/keyDecorations.ts', 'views/validationTree.ts', 'views/diagnostics.ts', 'views/dropView.ts', 'commands/open.ts', 'commands/extract.ts']
      .map(file => readFileSync(join(root, 'src', file), 'utf8')).join('\n');
    const known = new Set([...contributes.commands.map(entry => entry.command), ...contributes.colors.map(entry => entry.id)]);
    const views = ['visionEncoder.drop', 'visionEncoder.validation', 'visionEncoder.extract.'];
    const mentioned = [...source.matchAll(/'(visionEncoder\.[\w.]+)'/g)].map(match => match[1] ?? '').filter(id => !views.includes(id));
    assert.deepEqual(mentioned.filter(id => !known.has(id)), []);
  });

  it('takes part in an untrusted workspace, whose settings can name no program, library, file or address', () => {
    assert.deepEqual(capabilities.untrustedWorkspaces, { supported: true });
    const settings = Object.entries(contributes.configuration.properties);
    assert.ok(settings.length > 0);
    for (const [id, { type, enum: choices, pattern }] of settings) {
      assert.ok(['string', 'number', 'boolean'].includes(type), id);
      // A text is one of a list, or a size by its pattern.
      if (type === 'string' && choices === undefined) {
        assert.ok(pattern !== undefined, id);
        for (const text of ['/usr/bin/python3', 'C:\\x.dll', 'libx.so', 'python', 'http://127.0.0.1/', '20GB; ls']) assert.doesNotMatch(text, new RegExp(pattern), id);
      }
    }
    const read = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts') && readFileSync(join(root, 'src', file), 'utf8').includes('getConfiguration('));
    assert.deepEqual(read.sort(), ['commands/extractOptions.ts', 'commands/folderFeatures.ts', 'commands/storedEncoders.ts', 'views/preview/previewPanel.ts'], 'who reads settings, all of them this extension\'s own');
  });
});
