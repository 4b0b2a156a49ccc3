import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { relay, relayoutById } from '../architecture/relayout';
import { readBytes } from '../checkpoint/byteSource';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { dtypeBits } from '../checkpoint/dtype';
import { openFile } from '../checkpoint/fileSource';
import { readSafetensors } from '../checkpoint/safetensors';
import { readTorchZip } from '../checkpoint/torch/torchZip';
import { UserError } from '../errors';
import { formatShape } from '../format';
import type { RunOptions } from '../progress';
import { makePlan } from '../recipe/plan';
import { sameShape } from '../validation/compare';
import { originalsAhead } from './fetchAhead';
import { readManifest } from './manifest';
import type { Manifest } from './manifest';
import { inLanes } from './thread/lanes';
import { TensorPuller, threadSource } from './thread/sources';
import type { Located } from './thread/sources';
import { Threads } from './thread/threads';
import { treeHash } from './treeHash';

export interface VerifyOptions extends RunOptions {
  /** The checkpoint that the output was extracted from, to compare every tensor with. */
  readonly source?: Checkpoint | undefined;
}

export interface Difference {
  /** The encoder's key, when it is about one tensor. */
  readonly key?: string;
  /** The output file, when it is about one. */
  readonly file?: string;
  /** A sentence. */
  readonly message: string;
}

export interface VerifyReport {
  readonly ok: boolean;
  /** Tensors that were read and found as the manifest (and the source) has them, and their bytes. */
  readonly checkedTensors: number;
  readonly checkedBytes: number;
  readonly comparedWithSource: boolean;
  readonly differences: readonly Difference[];
}

/**
 * Reads an extraction's output again and compares it with its manifest: every file's size and hash, every
 * tensor's dtype, shape and SHA-256, and that there is nothing else. With `source`, the tensors must also be those
 * that the recipe takes out of it, and each is compared byte for byte with the one it came from, cast as it was cast.
 * All differences are listed.
 * Progress counts the bytes of files and tensors.
 * @throws UserError when there is no manifest, or a source tensor cannot be read.
 */
export async function verify(dir: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const folder = resolve(dir);
  const manifest = await readManifest(folder);
  const run = new Verification(folder, manifest, options);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

type ExpectedTensor = Manifest['output']['tensors'][number];

/** A tensor of a weight file, and what is found out about it. */
interface Check {
  readonly file: string;
  readonly output: Located;
  /** Its entry in the manifest, if any, and the tensor that it came from. */
  readonly expected: ExpectedTensor | undefined;
  readonly original: Located | undefined;
  /** A sentence. */
  difference: string | undefined;
  sha256: string;
}

/** Headers are read in pieces of this size. */
const FRAME_BYTES = 1 << 20;

class Verification {
  readonly #folder: string;
  readonly #manifest: Manifest;
  readonly #options: VerifyOptions;
  readonly #threads = new Threads();
  readonly #open: ByteSource[] = [];
  readonly #differences: Difference[] = [];
  #done = 0;
  #total = 0;

  constructor(folder: string, manifest: Manifest, options: VerifyOptions) {
    this.#folder = folder;
    this.#manifest = manifest;
    const { source } = options;
    const { relaid } = manifest;
    this.#options = source === undefined || relaid === undefined ? options : { ...options, source: relay(makePlan(source, relaid.recipe), relayoutById(relaid.id)) };
  }

  async run(): Promise<VerifyReport> {
    const { files } = this.#manifest.output;
    const sources = new Map<string, ByteSource>();
    for (const { name, size } of files) {
      const source = await this.#openOutput(name);
      if (source === undefined) continue;
      if (source.size === size) sources.set(name, source);
      else this.#differences.push({ file: name, message: t`is ${source.size} bytes, the manifest says ${size}.` });
    }
    await this.#findStrays();
    this.#checkPlan();
    const contents = await this.#readHeaders(sources);
    const checks = this.#checksOf(contents);
    this.#total = sum(checks, ({ output }) => output.tensor.length)
      + sum(files, ({ name, size, sha256 }) => !sources.has(name) ? 0 : sha256 !== undefined ? size : size - sum(contents.get(name) ?? [], tensor => tensor.length));
    await this.#checkTensors(checks);
    for (const { name, sha256, treeSha256 } of files) {
      const source = sources.get(name);
      if (source === undefined) continue;
      const found = sha256 === undefined ? await this.#treeHashOf(name, source, checks) : await this.#hashOf(source);
      if (found !== (sha256 ?? treeSha256)) this.#differences.push({ file: name, message: t('has other bytes than were written: its SHA-256 is not the manifest\'s.') });
    }
    const equal = this.#judge(checks);
    return {
      ok: this.#differences.length === 0,
      checkedTensors: equal.length,
      checkedBytes: sum(equal, ({ output }) => output.tensor.length),
      comparedWithSource: this.#options.source !== undefined,
      differences: this.#differences,
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.#threads.close(), ...this.#open.map(source => source.close())]);
  }

  async #openOutput(name: string): Promise<ByteSource | undefined> {
    try {
      const source = await openFile(join(this.#folder, name), name);
      this.#open.push(source);
      return source;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.#differences.push({ file: name, message: error.message });
      return undefined;
    }
  }

  /** Weight files that the manifest does not know: a loader may take them for the encoder. */
  async #findStrays(): Promise<void> {
    const known = new Set(this.#manifest.output.files.map(file => file.name));
    for (const name of await readdir(this.#folder)) {
      if (/\.(safetensors|bin|safetensors\.index\.json|bin\.index\.json)$/.test(name) && !known.has(name)) {
        this.#differences.push({ file: name, message: t('is not part of this output, and a loader may read it instead. Move it elsewhere.') });
      }
    }
  }

  /** The manifest's tensors must be those that its recipe takes out of the source, each under its name: none too few. */
  #checkPlan(): void {
    const { source } = this.#options;
    if (source === undefined) return;
    const left = new Map(this.#manifest.output.tensors.map(({ key, sourceKey }) => [sourceKey, key]));
    for (const { tensor, outputKey } of makePlan(source, this.#manifest.recipe).kept) {
      const key = left.get(tensor.key);
      left.delete(tensor.key);
      if (key === undefined) this.#differences.push({ key: outputKey ?? '', message: t`is missing: the recipe takes ${tensor.key} out of the source, and the manifest does not have it.` });
      else if (key !== outputKey) this.#differences.push({ key, message: t`comes from ${tensor.key}, which the recipe calls ${outputKey ?? ''}.` });
    }
    // Tensors that the source does not have at all are told when they are compared.
    for (const { key: sourceKey } of source.tensors) {
      const key = left.get(sourceKey);
      if (key !== undefined) this.#differences.push({ key, message: t`comes from ${sourceKey}, which the recipe does not take out of the source.` });
    }
  }

  /** The tensors of each weight file as its header has them now; without files that have none that can be read. */
  async #readHeaders(sources: ReadonlyMap<string, ByteSource>): Promise<Map<string, readonly Located['tensor'][]>> {
    const { tensors, files, format } = this.#manifest.output;
    const read = format === 'safetensors' ? readSafetensors : readTorchZip;
    const listed = new Set(files.map(file => file.name));
    const contents = new Map<string, readonly Located['tensor'][]>();
    for (const name of new Set(tensors.map(tensor => tensor.file))) {
      const source = sources.get(name);
      if (source === undefined) {
        // A file that is absent or of another size has been told already.
        if (!listed.has(name)) this.#differences.push({ file: name, message: t('holds tensors by the manifest, which does not list it among the files.') });
        continue;
      }
      try {
        contents.set(name, (await read(source, this.#options.signal)).tensors);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        this.#differences.push({ file: name, message: error.message });
      }
    }
    return contents;
  }

  /** What is to be read: every tensor that lies in the weight files, with its entry in the manifest and its original. */
  #checksOf(contents: ReadonlyMap<string, readonly Located['tensor'][]>): Check[] {
    const originals = this.#options.source && locateAll(this.#options.source);
    const expectations = new Map(this.#manifest.output.tensors.map(expected => [expected.key, expected]));
    const checks: Check[] = [];
    for (const [file, tensors] of contents) {
      const source = this.#open.find(({ name }) => name === file);
      if (source === undefined) continue;
      for (const tensor of tensors) {
        const expected = expectations.get(tensor.key);
        const isExpected = expected?.file === file;
        if (!isExpected) this.#differences.push({ key: tensor.key, file, message: t('is in the file and not in the manifest.') });
        const original = isExpected ? originals?.get(expected.sourceKey) : undefined;
        checks.push({
          file,
          output: { source, tensor },
          expected: isExpected ? expected : undefined,
          original,
          difference: isExpected ? headerDifference(expected, tensor, originals && (original?.tensor ?? 'absent')) : undefined,
          sha256: '',
        });
      }
      const found = new Set(tensors.map(tensor => tensor.key));
      for (const { key, file: name } of expectations.values()) {
        if (name === file && !found.has(key)) this.#differences.push({ key, file, message: t('is missing: the manifest has it and the file does not.') });
      }
    }
    return checks;
  }

  async #checkTensors(checks: readonly Check[]): Promise<void> {
    const failed = new AbortController();
    const signal = AbortSignal.any([failed.signal, ...(this.#options.signal === undefined ? [] : [this.#options.signal])]);
    signal.throwIfAborted();
    const compared = checks.map(({ original, difference }) => difference === undefined ? original : undefined);
    const ahead = originalsAhead(compared);
    const puller = new TensorPuller([...checks.map(({ output }) => output), ...ahead.originals], signal);
    // What is fetched ahead must be taken in its order.
    const lanes = compared.some(original => original?.source.remote !== undefined) ? 1 : this.#threads.count;
    try {
      await inLanes(checks.entries(), lanes, failed, async ([index, check]) => {
        const { output, expected } = check;
        const original = ahead.originals[index];
        const { sha256, differsAt } = await this.#threads.run({
          kind: 'check',
          tensor: threadSource(index, output.source, output.tensor),
          original: original && expected && { source: threadSource(checks.length + index, original.source, original.tensor), from: expected.sourceDtype, to: expected.dtype },
        }, { signal, pull: puller.pull, onAdvance: ({ bytes }) => { this.#advance(bytes, output.tensor.key); } });
        ahead.leave(index);
        check.sha256 = sha256;
        if (expected === undefined) return;
        if (differsAt !== undefined) check.difference = t`differs from ${expected.sourceKey} in the source, first at element ${Math.floor(differsAt * 8 / dtypeBits(expected.dtype))}.`;
        else if (sha256 !== expected.sha256) check.difference ??= t('has other bytes than were written: its SHA-256 is not the manifest\'s.');
      });
    } finally {
      await ahead.close();
      await puller.close();
    }
  }

  /** Tells the differences of tensors in the manifest's order. */
  #judge(checks: readonly Check[]): Check[] {
    const byKey = new Map(checks.flatMap(check => check.expected === undefined ? [] : [[check.expected.key, check] as const]));
    const inOrder = this.#manifest.output.tensors.flatMap(({ key }) => byKey.get(key) ?? []);
    for (const { expected, difference } of inOrder) {
      if (expected !== undefined && difference !== undefined) this.#differences.push({ key: expected.key, file: expected.file, message: difference });
    }
    return inOrder.filter(({ difference }) => difference === undefined);
  }

  /** A file's plain SHA-256. */
  async #hashOf(source: ByteSource): Promise<string> {
    const whole = { key: source.name, dtype: 'U8', shape: [source.size], offset: 0, length: source.size } as const;
    const puller = new TensorPuller([{ source, tensor: whole }], this.#options.signal);
    const { sha256 } = await this.#threads.run({ kind: 'check', tensor: threadSource(0, source, whole), original: undefined }, {
      signal: this.#options.signal, pull: puller.pull, onAdvance: ({ bytes }) => { this.#advance(bytes, source.name); },
    });
    return sha256;
  }

  /** A weight file's tree hash; undefined when its tensors do not lie side by side, as in what was written. */
  async #treeHashOf(file: string, source: ByteSource, checks: readonly Check[]): Promise<string | undefined> {
    const hash = treeHash();
    let position = 0;
    const frameTo = async (end: number): Promise<void> => {
      while (position < end) {
        const bytes = await readBytes(source, position, Math.min(end - position, FRAME_BYTES), this.#options.signal);
        hash.frame(bytes);
        position += bytes.length;
        this.#advance(bytes.length, file);
      }
    };
    const inFile = checks.filter(check => check.file === file && check.output.tensor.length > 0);
    for (const { output: { tensor }, sha256 } of inFile.sort((a, b) => a.output.tensor.offset - b.output.tensor.offset)) {
      if (tensor.indirect !== undefined || tensor.offset < position) return undefined;
      await frameTo(tensor.offset);
      hash.tensor(tensor.length, sha256);
      position += tensor.length;
    }
    await frameTo(source.size);
    return hash.digest();
  }

  #advance(bytes: number, label: string): void {
    this.#done += bytes;
    this.#options.onProgress?.({ done: this.#done, total: this.#total, label });
  }
}

function locateAll(checkpoint: Checkpoint): Map<string, Located> {
  const located = new Map<string, Located>();
  for (const tensor of checkpoint.tensors) {
    const file = checkpoint.files[tensor.file];
    if (file !== undefined) located.set(tensor.key, { source: file.source, tensor });
  }
  return located;
}

/** What can be told without reading the bytes. */
function headerDifference(expected: ExpectedTensor, tensor: Located['tensor'], original: Located['tensor'] | 'absent' | undefined): string | undefined {
  if (tensor.dtype !== expected.dtype) return t`is ${tensor.dtype}, the manifest says ${expected.dtype}.`;
  if (!sameShape(tensor.shape, expected.shape)) return t`has the shape ${formatShape(tensor.shape)}, the manifest says ${formatShape(expected.shape)}.`;
  if (original === undefined) return undefined;
  if (original === 'absent') return t`comes from ${expected.sourceKey}, which the source does not have.`;
  if (!sameShape(original.shape, expected.shape)) return t`has the shape ${formatShape(expected.shape)}, ${expected.sourceKey} in the source ${formatShape(original.shape)}.`;
  if (original.dtype !== expected.sourceDtype) return t`was ${expected.sourceDtype} when it was extracted, ${expected.sourceKey} in the source is ${original.dtype}.`;
  return undefined;
}

function sum<T>(items: readonly T[], valueOf: (item: T) => number): number {
  return items.reduce((total, item) => total + valueOf(item), 0);
}
