import assert from 'node:assert/strict';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint } from '../../src/checkpoint/checkpoint';
import { openCheckpoint } from '../../src/checkpoint/open';
import { fails, FIXTURES, inFolder, run, runJson } from './support';

const LISA = join(FIXTURES, 'real/models/llava-lisa-7b');
const CLIP = join(FIXTURES, 'families/clip');

/** A file with these keys, one byte each. */
async function writeKeys(file: string, keys: readonly string[]): Promise<void> {
  const header = Buffer.from(JSON.stringify(Object.fromEntries(keys.map((key, index) => [key, { dtype: 'U8', shape: [1], data_offsets: [index, index + 1] }]))));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await writeFile(file, Buffer.concat([length, header, Buffer.alloc(keys.length)]));
}

/** A checkpoint's tensors, with one-byte tensors of other keys after them. */
async function writeBeside(file: string, { tensors, files }: Checkpoint, keys: readonly string[]): Promise<void> {
  const header: Record<string, unknown> = {};
  const data: Uint8Array[] = [];
  let end = 0;
  const put = (key: string, dtype: string, shape: readonly number[], bytes: Uint8Array): void => {
    header[key] = { dtype, shape, data_offsets: [end, end += bytes.length] };
    data.push(bytes);
  };
  for (const { key, dtype, shape, file: index, offset, length } of tensors) {
    const bytes = new Uint8Array(length);
    await files[index]!.source.readInto(bytes, offset);
    put(key, dtype, shape, bytes);
  }
  for (const key of keys) put(key, 'U8', [1], new Uint8Array(1));
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(file, Buffer.concat([length, text, ...data]));
}

/** LISA with its real keys and its real config.json, which goes on after its JSON has ended. */
async function lisa(folder: string): Promise<void> {
  const index = JSON.parse(await readFile(join(LISA, 'pytorch_model.bin.index.json'), 'utf8')) as { weight_map: Record<string, string> };
  await writeKeys(join(folder, 'model.safetensors'), Object.keys(index.weight_map));
  await copyFile(join(LISA, 'config.json'), join(folder, 'config.json'));
}

describe('a checkpoint without its vision encoder', () => {
  const TOWER = 'This checkpoint holds no vision encoder of its own: config.json names openai/clip-vit-large-patch14 as its vision tower, which is loaded from there. Get openai/clip-vit-large-patch14 and open that.';

  it('LISA: keys takes nothing, least of all SAM, and names the model to get', () => inFolder(async folder => {
    await lisa(folder);
    const { code, stdout, stderr } = await run(['keys', folder]);
    assert.equal(code, 0);
    assert.match(stdout, /^- model\.visual_model\.image_encoder\.patch_embed\.proj\.weight/m);
    assert.doesNotMatch(stdout, /^[+~]/m);
    assert.ok(stderr.includes(TOWER), stderr);
  }));

  it('LISA: validate, extract and features say the same, and write nothing', () => inFolder(async folder => {
    await lisa(folder);
    await fails(['validate', folder], [TOWER]);
    await fails(['extract', folder, '--out', join(folder, 'out')], [TOWER]);
    await fails(['features', join(FIXTURES, 'pictures/rgb8.png'), '--checkpoint', folder, '--out', join(folder, 'f.npy')], [TOWER]);
    const json = await run(['validate', folder, '--json']);
    assert.deepEqual(JSON.parse(json.stdout), { error: TOWER });
  }));

  it('an adapter names its base model, as adapter_config.json has it', () => inFolder(async folder => {
    await writeKeys(join(folder, 'adapter_model.safetensors'), ['A', 'B'].map(side => `base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_${side}.weight`));
    const says = (base: string): string => `This is a LoRA adapter: it holds changes to a model, not the model. Open ${base}, or merge the adapter into it first.`;
    await fails(['validate', folder], [says('the base model that adapter_config.json names')]);
    await writeFile(join(folder, 'adapter_config.json'), JSON.stringify({ peft_type: 'LORA', base_model_name_or_path: 'Qwen/Qwen2-VL-7B-Instruct', r: 8 }));
    for (const command of [['validate', folder], ['extract', folder, '--out', join(folder, 'out')]]) await fails(command, [says('its base model Qwen/Qwen2-VL-7B-Instruct')]);
    assert.ok((await run(['keys', folder])).stderr.includes(says('its base model Qwen/Qwen2-VL-7B-Instruct')));
  }));
});

/** Quantised linear layers as their tools write them: the suffix in the place of `weight`, with type and bytes. */
const QUANTISED: Readonly<Record<string, readonly string[]>> = {
  'GPTQ': ['qweight', 'qzeros', 'scales', 'g_idx'],
  'GPTQ or AWQ': ['qweight', 'qzeros', 'scales'],
  'bitsandbytes, 4 bits': ['weight', 'weight.absmax', 'weight.quant_map', 'weight.quant_state.bitsandbytes__nf4'],
  'bitsandbytes, 8 bits': ['weight', 'SCB'],
  'FP8 or INT8 with scales': ['weight', 'weight_scale_inv'],
};

describe('an encoder stored as it was trained in a quantised model', () => {
  for (const [name, suffixes] of Object.entries(QUANTISED)) {
    it(`${name}: is extracted byte for byte, and the person is told`, () => inFolder(async folder => {
      const tower = await openCheckpoint(join(FIXTURES, 'families/clip-llava'));
      const language = suffixes.map(suffix => `language_model.model.layers.0.self_attn.q_proj.${suffix}`);
      try {
        await writeBeside(join(folder, 'model.safetensors'), tower, language);
      } finally {
        await tower.close();
      }
      await copyFile(join(FIXTURES, 'families/clip-llava/config.json'), join(folder, 'config.json'));
      const { code, stderr } = await run(['extract', folder, '--out', join(folder, 'out')]);
      assert.equal(code, 0, stderr);
      const warning = stderr.split('\n').find(line => line.startsWith('warning: '));
      assert.ok(warning?.includes(name) === true && warning.includes('but not in its vision encoder, whose weights are plain'), stderr);
      assert.match((await run(['verify', join(folder, 'out')])).stdout, /equal to the source, tensor for tensor/);
    }));

    it(`${name}: a quantised encoder is refused in one sentence`, () => inFolder(async folder => {
      const tower = await openCheckpoint(join(FIXTURES, 'families/clip-llava'));
      const keys = tower.tensors.flatMap(({ key }) => (/(_proj|fc1|fc2)\.weight$/.test(key) ? suffixes.map(suffix => key.replace(/weight$/, suffix)) : [key]));
      await tower.close();
      await writeKeys(join(folder, 'model.safetensors'), keys);
      await copyFile(join(FIXTURES, 'families/clip-llava/config.json'), join(folder, 'config.json'));
      await fails(['extract', folder, '--out', join(folder, 'out')], ['The vision encoder\'s weights are quantised', name]);
    }));
  }
});

describe('optional parts on the command line', () => {
  it('are listed by keys, with the option that switches each', async () => {
    assert.match((await run(['keys', CLIP])).stderr, /^Optional parts: projection is left behind \(--with projection takes it in\)$/m);
    assert.match((await run(['keys', CLIP, '--with', 'projection'])).stderr, /^Optional parts: projection is taken in \(--without projection leaves it behind\)$/m);
    assert.deepEqual((await runJson(['keys', CLIP])).parts, [{ id: 'projection', title: 'Projection into the space shared with text', kept: false, tensors: 1 }]);
  });

  it('go into the extracted encoder and its config, and into the printed recipe', () => inFolder(async folder => {
    const architectures = async (out: string, ...options: string[]): Promise<unknown> => {
      const ended = await run(['extract', CLIP, '--out', join(folder, out), ...options]);
      assert.equal(ended.code, 0, ended.stderr);
      assert.equal((await readFile(join(folder, out, 'model.safetensors'), 'latin1')).includes('"visual_projection.weight"'), options.length > 0);
      return (JSON.parse(await readFile(join(folder, out, 'config.json'), 'utf8')) as { architectures: unknown }).architectures;
    };
    assert.deepEqual(await architectures('without'), ['CLIPVisionModel']);
    assert.deepEqual(await architectures('with', '--with', 'projection'), ['CLIPVisionModelWithProjection']);
    const printed = await run(['recipe', CLIP, '--with', 'projection']);
    await writeFile(join(folder, 'clip.recipe.json'), printed.stdout);
    assert.deepEqual(await architectures('by-recipe', '--recipe', join(folder, 'clip.recipe.json')), ['CLIPVisionModelWithProjection']);
  }));

  it('that are not there, or contradict each other, are wrong usage', async () => {
    await fails(['validate', CLIP, '--with', 'merger'], ['has no optional part "merger". CLIP encoders can have: projection, projector. This one has: projection.']);
    await fails(['validate', CLIP, '--with', 'projection', '--without', 'projection'], ['--with projection and --without projection contradict each other']);
  });
});
