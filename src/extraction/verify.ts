import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { openFile } from '../checkpoint/fileSource';
import { readSafetensors } from '../checkpoint/safetensors';
import { readTorchZip } from '../checkpoint/torch/torchZip';
import { UserError } from '../errors';
import type { RunOptions } from '../progress';
import { makePlan } from '../recipe/plan';
import { CompareBuffers, compareTensor } from './compareTensor';
import type { Located } from './compareTensor';
import { originalsAhead } from './fetchAhead';
import { readManifest } from './manifest';
import type { Manifest } from './manifest';
import { StreamHasher } from './streamHasher';

const CHUNK_BYTES = 1 << 20;

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
 * Reads an extraction's output again and compares it with its manifest: every file's size and SHA-256, every
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

class Verification {
  readonly #folder: string;
  readonly #manifest: Manifest;
  readonly #options: VerifyOptions;
  readonly #fileHash = new StreamHasher();
  readonly #tensorHash = new StreamHasher();
  readonly #open: ByteSource[] = [];
  readonly #differences: Difference[] = [];
  #done = 0;
  #total = 0;

  constructor(folder: string, manifest: Manifest, options: VerifyOptions) {
    this.#folder = folder;
    this.#manifest = manifest;
    this.#options = options;
  }

  async run(): Promise<VerifyReport> {
    const { files } = this.#manifest.output;
    const sources = new Map<string, ByteSource>();
    for (const { name, size } of files) {
      const source = await this.#openOutput(name);
      if (source === undefined) continue;
      if (source.size === size) sources.set(name, source);
      else this.#differences.push({ file: name, message: `is ${source.size} bytes, the manifest says ${size}.` });
    }
    await this.#findStrays();
    this.#checkPlan();
    const located = await this.#locate(sources);
    this.#total = [...sources.values()].reduce((sum, { size }) => sum + size, 0) + [...located.values()].reduce((sum, { tensor }) => sum + tensor.length, 0);
    const [, checked] = await Promise.all([this.#checkFiles(sources), this.#checkTensors(located)]);
    return { ok: this.#differences.length === 0, ...checked, comparedWithSource: this.#options.source !== undefined, differences: this.#differences };
  }

  async close(): Promise<void> {
    await Promise.all([this.#fileHash.close(), this.#tensorHash.close(), ...this.#open.map(source => source.close())]);
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
        this.#differences.push({ file: name, message: 'is not part of this output, and a loader may read it instead. Move it elsewhere.' });
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
      if (key === undefined) this.#differences.push({ key: outputKey ?? '', message: `is missing: the recipe takes ${tensor.key} out of the source, and the manifest does not have it.` });
      else if (key !== outputKey) this.#differences.push({ key, message: `comes from ${tensor.key}, which the recipe calls ${outputKey ?? ''}.` });
    }
    // Tensors that the source does not have at all are told when they are compared.
    for (const { key: sourceKey } of source.tensors) {
      const key = left.get(sourceKey);
      if (key !== undefined) this.#differences.push({ key, message: `comes from ${sourceKey}, which the recipe does not take out of the source.` });
    }
  }

  /** The output's tensors by key, as the headers of its files have them now; those of unreadable files are absent. */
  async #locate(sources: ReadonlyMap<string, ByteSource>): Promise<Map<string, Located>> {
    const keys = new Map(this.#manifest.output.tensors.map(tensor => [tensor.key, tensor.file]));
    const located = new Map<string, Located>();
    const read = this.#manifest.output.format === 'safetensors' ? readSafetensors : readTorchZip;
    const listed = new Set(this.#manifest.output.files.map(file => file.name));
    for (const name of new Set(keys.values())) {
      const source = sources.get(name);
      if (source === undefined) {
        // A file that is absent or of another size has been told already.
        if (!listed.has(name)) this.#differences.push({ file: name, message: 'holds tensors by the manifest, which does not list it among the files.' });
        continue;
      }
      let tensors;
      try {
        ({ tensors } = await read(source, this.#options.signal));
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        this.#differences.push({ file: name, message: error.message });
        continue;
      }
      for (const tensor of tensors) {
        if (keys.get(tensor.key) === name) located.set(tensor.key, { source, tensor });
        else this.#differences.push({ key: tensor.key, file: name, message: 'is in the file and not in the manifest.' });
      }
      const found = new Set(tensors.map(tensor => tensor.key));
      for (const [key, file] of keys) {
        if (file === name && !found.has(key)) this.#differences.push({ key, file: name, message: 'is missing: the manifest has it and the file does not.' });
      }
    }
    return located;
  }

  async #checkFiles(sources: ReadonlyMap<string, ByteSource>): Promise<void> {
    const buffer = new SharedArrayBuffer(CHUNK_BYTES);
    for (const { name, sha256 } of this.#manifest.output.files) {
      const source = sources.get(name);
      if (source === undefined) continue;
      let found: string | undefined;
      for (let done = 0; found === undefined;) {
        const end = Math.min(CHUNK_BYTES, source.size - done);
        await source.readInto(new Uint8Array(buffer, 0, end), done, this.#options.signal);
        done += end;
        [found] = await this.#fileHash.feed([{ buffer, start: 0, end, last: done === source.size }]);
        this.#advance(end, name);
      }
      if (found !== sha256) this.#differences.push({ file: name, message: 'has other bytes than were written: its SHA-256 is not the manifest\'s.' });
    }
  }

  async #checkTensors(located: ReadonlyMap<string, Located>): Promise<{ checkedTensors: number; checkedBytes: number }> {
    const { signal, source } = this.#options;
    const written = this.#manifest.output.tensors.flatMap(expected => {
      const output = located.get(expected.key);
      return output === undefined ? [] : [{ expected, output }];
    });
    const originals = source && originalsAhead(written.map(({ expected }) => expected.sourceKey), locateAll(source));
    const buffers = new CompareBuffers();
    let checkedTensors = 0;
    let checkedBytes = 0;
    try {
      for (const [index, { expected, output }] of written.entries()) {
        const original = originals && (originals.at(index) ?? 'absent');
        const message = await compareTensor(expected, output, original, this.#tensorHash, buffers, { signal, onBytes: bytes => { this.#advance(bytes, expected.key); } });
        originals?.leave(index);
        if (message !== undefined) {
          this.#differences.push({ key: expected.key, file: expected.file, message });
        } else {
          checkedTensors++;
          checkedBytes += output.tensor.length;
        }
      }
    } finally {
      await originals?.close();
    }
    return { checkedTensors, checkedBytes };
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
