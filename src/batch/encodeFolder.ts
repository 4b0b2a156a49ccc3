import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { forwardGraph, takesAnyGrid } from '../architecture/forwardGraphs';
import { wantedOutputs } from '../architecture/outputs';
import { sameGrid } from '../architecture/positions';
import type { EncoderClient } from '../encoder/client';
import { decodePicture, type DecodedPicture } from '../encoder/decodePicture';
import type { DeviceChoice, LoadReport } from '../encoder/devices';
import type { Precision } from '../encoder/deviceEncoder';
import type { Array32 } from '../encoder/encoder';
import { extentFor } from '../encoder/memory';
import type { EncoderModel } from '../encoder/model';
import { Interrupted, isAbort, UserError } from '../errors';
import { writing } from '../extraction/ioErrors';
import { namesIn, recover } from '../extraction/outputFolder';
import { formatCount } from '../format';
import type { PreprocessSpec } from '../image/preprocess';
import type { RunOptions } from '../progress';
import { encoderDigest } from './encoderDigest';
import { INDEX_NAME, pictureAt, refuseOthersIndex, removedBefore, writeIndex, type Place } from './indexFile';
import { lockFolder } from './lock';
import { picturesBelow, type PictureStat, type Unreadable } from './pictures';
import { hasStale, livePositions, storedFeatures } from './prune';
import { differences, runSettings, type RunSettings } from './settings';
import { readShard, ShardWriter, type Shard, type ShardPicture } from './shard';

export interface FolderRequest extends RunOptions {
  /** The folder of pictures; those in folders below it are taken too. */
  readonly folder: string;
  /** The folder that the shards and the index are written into. */
  readonly out: string;
  /** Names as `wantedOutputs` knows them. */
  readonly outputs: readonly string[];
  readonly preprocessing: PreprocessSpec;
  readonly device: DeviceChoice;
  readonly precision: Precision;
  /** Pictures that run together: each weight is then read once for so many. 4 unless told, or 1 where many outputs are wanted, which are large. */
  readonly batchSize?: number;
  /** Another process, which decodes the next pictures while these run, and whose crash leaves the encoder alone; without one the encoder's own decodes in between. */
  readonly decoder?: PictureDecoder;
  /** Pictures in a shard at most. */
  readonly shardPictures?: number;
  /** Throw away what `out` holds of an earlier run; it stays until the first new shard is there. */
  readonly startOver?: boolean;
  /** Take the features out of the shards that the index does not lead to: of pictures that have changed since or are gone. */
  readonly prune?: boolean;
  /** Told, before anything runs, how many pictures are done already and how many are to be. */
  readonly onPlan?: (plan: { readonly kept: number; readonly pending: number }) => void;
  readonly onLoaded?: (report: LoadReport) => void;
}

export type PictureDecoder = Pick<EncoderClient, 'preprocess' | 'pid'>;
/** What a run needs of an encoder's client. */
export type FolderEncoder = PictureDecoder & Pick<EncoderClient, 'load' | 'run'>;

export interface EncodedFolder {
  readonly out: string;
  /** Pictures that the index has now. */
  readonly pictures: number;
  /** Of these, those done by this run. */
  readonly encoded: number;
  readonly shards: readonly string[];
  /** What could not be read. */
  readonly skipped: readonly Unreadable[];
  /** Pictures with features from an earlier run that are not in the folder any more. */
  readonly removed: readonly string[];
  /** Of these, those that the index of the run before did not name. */
  readonly newlyRemoved: readonly string[];
  /** Features in the shards that the index does not lead to: of pictures that have changed or are gone. */
  readonly stale: number;
  /** Those that were taken out of the shards by this run. */
  readonly pruned: number;
  /** Undefined when there was nothing to run. */
  readonly device: LoadReport | undefined;
}

/** What a folder holds of earlier runs. */
export interface EarlierRun {
  readonly settings: RunSettings;
  readonly shards: readonly Shard[];
  /** By the picture's name; of one that was done again, the last. */
  readonly places: ReadonlyMap<string, Place>;
}

const BATCH = 4;
const MANY_OUTPUTS = 8;
/** A shard ends with the picture that reaches either. */
const SHARD_PICTURES = 256;
const SHARD_BYTES = 256e6;
/** The index is written anew after a shard when it is so old. */
const INDEX_EVERY_MS = 60_000;
const SHARD = /^features-(\d{5,})\.safetensors$/;

/**
 * Writes what an encoder makes of every picture of a folder, float32, into safetensors shards with an index. What a run
 * that was cancelled, failed or killed has left is continued: shards appear whole, and say themselves which pictures they
 * hold, so that at most the one under way is done again. Pictures that have come or changed since are done, those that are
 * gone leave the index. Memory holds one batch, the pixels of the next, and a name for each picture.
 * Progress counts bytes while "hashing", blocks while "loading", and the pictures to be done while "running".
 * @throws UserError when `out` holds features of another encoder or with other settings, or another program's index.json,
 *   another run writes there, there is no picture that can be read, or the encoder fails; CancelledRun or AbortError when cancelled
 */
export async function encodeFolder(client: FolderEncoder, model: EncoderModel, request: FolderRequest): Promise<EncodedFolder> {
  wantedOutputs(forwardGraph(model.graph), request.outputs);
  const { signal, onProgress, startOver = false } = request;
  const [folder, out] = [resolve(request.folder), resolve(request.out)];
  // What cannot be a folder is refused before anything is read.
  await namesIn(out);
  const { pictures, unreadable } = await listPictures(folder, signal);
  const digest = await encoderDigest(model, { ...(signal && { signal }), ...(onProgress && { onProgress }) });
  const settings = runSettings(model, digest, request.outputs, request.preprocessing, request.precision);
  const unlock = await lockFolder(out);
  try {
    const earlier = startOver ? undefined : await earlierRun(out, signal);
    if (earlier !== undefined) refuseOther(out, earlier.settings, settings);
    const stale = startOver ? [...await shardNames(out), INDEX_NAME] : [];
    await refuseOthersIndex(out);
    const known = earlier === undefined ? [] : await removedBefore(out);
    return await new FolderRun(client, model, { ...request, folder, out }, settings, earlier, stale, pictures, unreadable, known).run();
  } finally {
    await unlock();
  }
}

/**
 * What `out` holds of earlier runs; undefined when it holds nothing, or does not exist.
 * @throws UserError when a shard is damaged or somebody else's
 */
export async function earlierRun(out: string, signal?: AbortSignal): Promise<EarlierRun | undefined> {
  const shards: Shard[] = [];
  for (const name of await shardNames(out)) shards.push(await readShard(out, name, signal));
  const [first, ...others] = shards;
  if (first === undefined) return undefined;
  for (const { name, settings } of others) refuseOther(join(out, name), settings, first.settings);
  const places = new Map<string, Place>();
  for (const shard of shards) shard.pictures.forEach(({ name }, position) => { places.set(name, { shard, position }); });
  return { settings: first.settings, shards, places };
}

/** A run that was cancelled with features on the disk. */
export class CancelledRun extends Interrupted {
  /** @param done pictures that have their features, of `total` */
  constructor(readonly done: number, readonly total: number, out: string) {
    super(`Cancelled. ${done.toLocaleString('en-US')} of ${formatCount(total, 'picture')} ${done === 1 ? 'is' : 'are'} done and stay${done === 1 ? 's' : ''} in ${out}; run it again to go on.`);
  }
}

/** A folder holds features that a run would not continue. */
export class OtherFeatures extends UserError {}

function refuseOther(place: string, found: RunSettings, wanted: RunSettings): void {
  const reasons = differences(found, wanted);
  if (reasons.length > 0) throw new OtherFeatures(t`${place} holds features of ${reasons.join(t(' and '))}. Choose another folder, or start over, which replaces them.`, { remedy: 'start over' });
}

function numberOf(shard: string): number {
  return Number(SHARD.exec(shard)?.[1] ?? 0);
}

/** The shards in a folder, the first first. */
async function shardNames(folder: string): Promise<string[]> {
  await recover(folder);
  return (await namesIn(folder) ?? []).filter(name => SHARD.test(name)).sort((a, b) => numberOf(a) - numberOf(b));
}

async function listPictures(folder: string, signal: AbortSignal | undefined): Promise<{ pictures: PictureStat[]; unreadable: Unreadable[] }> {
  const pictures: PictureStat[] = [];
  const unreadable: Unreadable[] = [];
  for await (const found of picturesBelow(folder, signal)) {
    if ('reason' in found) unreadable.push(found);
    else pictures.push(found);
  }
  if (pictures.length === 0 && unreadable.length === 0) throw new UserError(t`${folder} has no pictures in it or in the folders below. Name the folder that has them.`);
  return { pictures, unreadable };
}

class FolderRun {
  #shards: Shard[];
  readonly #places = new Map<string, Place>();
  readonly #pending: PictureStat[] = [];
  readonly #skipped: Unreadable[];
  #removed: string[];
  #pruned = 0;
  #next: number;
  #encoded = 0;
  #indexed = 0;
  #shard: ShardWriter | undefined;
  #device: LoadReport | undefined;

  constructor(
    private readonly client: FolderEncoder,
    private readonly model: EncoderModel,
    private readonly request: FolderRequest,
    private readonly settings: RunSettings,
    earlier: EarlierRun | undefined,
    /** Files that the first shard replaces. */
    private stale: readonly string[],
    pictures: readonly PictureStat[],
    unreadable: readonly Unreadable[],
    /** Pictures whose going has been told. */
    private readonly known: readonly string[],
  ) {
    this.#shards = [...earlier?.shards ?? []];
    this.#next = numberOf(this.#shards.at(-1)?.name ?? '') + 1;
    this.#skipped = [...unreadable];
    const gone = new Set(earlier?.places.keys());
    for (const picture of pictures) {
      gone.delete(picture.name);
      const place = earlier?.places.get(picture.name);
      if (place !== undefined && isUnchanged(picture, pictureAt(place))) this.#places.set(picture.name, place);
      else this.#pending.push(picture);
    }
    this.#removed = [...gone];
  }

  async run(): Promise<EncodedFolder> {
    const { onPlan, out } = this.request;
    onPlan?.({ kept: this.#places.size, pending: this.#pending.length });
    let complete = false;
    try {
      if (this.#pending.length > 0) await this.#encodePending();
      complete = true;
    } catch (error) {
      if (isAbort(error) && this.#places.size > 0) throw new CancelledRun(this.#places.size, this.#places.size + this.#pending.length - this.#encoded, out);
      throw error;
    } finally {
      // Of a run that starts over, what was there before stays until there is something new.
      if (this.#shards.length > 0) await this.#writeIndex(complete);
    }
    const [known, removed] = [new Set(this.known), this.#removed];
    if (this.request.prune === true && this.#places.size > 0) await this.#prune();
    if (this.#places.size === 0) throw new UserError(t`None of the pictures in ${this.request.folder} can be read, so nothing was written. The first: ${this.#skipped[0]?.reason ?? ''}`, { remedy: this.#skipped[0]?.remedy });
    return {
      out, pictures: this.#places.size, encoded: this.#encoded, shards: this.#shards.map(({ name }) => name), skipped: this.#skipped,
      removed, newlyRemoved: removed.filter(name => !known.has(name)), stale: this.#stale, pruned: this.#pruned, device: this.#device,
    };
  }

  get #stale(): number {
    return this.#shards.reduce((sum, { pictures }) => sum + pictures.length, 0) - this.#places.size;
  }

  /**
   * Copies what the index leads to out of shards that hold more into new ones. The old ones go when the new index is there:
   * whenever the run ends, the index leads to the right rows, and of a picture in two shards the later counts.
   */
  async #prune(): Promise<void> {
    const { out, signal, onProgress } = this.request;
    const old = this.#shards.filter(shard => hasStale(shard, this.#places));
    if (old.length === 0) return;
    const before = this.#stale;
    const total = old.reduce((sum, shard) => sum + livePositions(shard, this.#places).length, 0);
    let done = 0;
    for (const shard of old) {
      const positions = livePositions(shard, this.#places);
      if (positions.length === 0) continue;
      const writer = await ShardWriter.create(out, shard.layout);
      try {
        for await (const { picture, values } of storedFeatures(out, shard, positions, signal)) {
          await writer.append([picture], values);
          onProgress?.({ done: ++done, total, label: 'pruning' });
        }
      } catch (error) {
        await writer.discard();
        throw error;
      }
      await this.#commit(writer, shard.device);
    }
    this.#shards = this.#shards.filter(shard => !old.includes(shard));
    this.#removed = [];
    await this.#writeIndex(true);
    for (const { name } of old) await writing(out, () => rm(join(out, name)));
    this.#pruned = before - this.#stale;
  }

  async #encodePending(): Promise<void> {
    const { signal, onProgress, onLoaded, device, precision, outputs, batchSize = outputs.length > MANY_OUTPUTS ? 1 : BATCH } = this.request;
    this.#device = await this.client.load(this.model, {
      device, precision, batch: Math.min(batchSize, this.#pending.length), extent: extentFor(this.model, this.request.outputs), ...(signal && { signal }),
      onProgress: ({ done, total }) => { onProgress?.({ done, total, label: 'loading' }); },
    });
    onLoaded?.(this.#device);
    const total = this.#pending.length;
    const decode = (first: number): Promise<Decoded[]> => {
      const decoded = this.#decode(this.#pending.slice(first, first + batchSize));
      // It is awaited when its turn comes; until then a failure must not count as unhandled.
      decoded.catch(() => undefined);
      return decoded;
    };
    let ahead: Promise<Decoded[]> | undefined;
    try {
      for (let done = 0; done < total; done += batchSize) {
        onProgress?.({ done, total, label: 'running' });
        const batch = await (ahead ?? decode(done));
        ahead = this.request.decoder === undefined || done + batchSize >= total ? undefined : decode(done + batchSize);
        for (const alike of ofOneGrid(batch)) await this.#encode(alike, done, total);
      }
      onProgress?.({ done: total, total, label: 'running' });
    } finally {
      await Promise.allSettled([ahead]);
      await this.#endShard();
    }
  }

  /** Those of the pictures that can be decoded. */
  async #decode(pictures: readonly PictureStat[]): Promise<Decoded[]> {
    const decoded: Decoded[] = [];
    for (const picture of pictures) {
      this.request.signal?.throwIfAborted();
      try {
        decoded.push({ picture, ...await decodePicture(this.request.decoder ?? this.client, this.model, join(this.request.folder, picture.name), this.request.preprocessing, this.request.signal) });
      } catch (error) {
        if (isAbort(error) || !(error instanceof UserError)) throw error;
        this.#skipped.push({ name: picture.name, reason: error.message, remedy: error.remedy });
      }
    }
    return decoded;
  }

  async #encode(pictures: readonly Decoded[], before: number, total: number): Promise<void> {
    const { signal, onProgress, out, outputs, shardPictures = SHARD_PICTURES } = this.request;
    const values = await this.client.run(together(pictures), outputs, {
      ...(signal && { signal }),
      onProgress: ({ done, total: stages }) => { onProgress?.({ done: before + pictures.length * done / stages, total, label: 'running' }); },
    });
    this.#shard ??= await ShardWriter.create(out, takesAnyGrid(this.model.graph) ? 'apart' : 'stacked');
    await this.#shard.append(pictures.map(({ picture, grid }): ShardPicture => ({ ...picture, grid: [grid.rows, grid.columns] })), values);
    if (this.#shard.pictures.length >= shardPictures || this.#shard.bytes >= SHARD_BYTES) await this.#endShard();
  }

  /** Puts the shard under way in its place with what it has. */
  async #endShard(): Promise<void> {
    const writer = this.#shard;
    this.#shard = undefined;
    if (writer === undefined) return;
    if (!writer.isWhole) {
      await writer.discard();
      return;
    }
    await this.#commit(writer, this.#device?.device ?? '');
    this.#encoded += writer.pictures.length;
    if (Date.now() - this.#indexed >= INDEX_EVERY_MS) await this.#writeIndex(false);
  }

  async #commit(writer: ShardWriter, device: string): Promise<void> {
    const name = `features-${String(this.#next).padStart(5, '0')}.safetensors`;
    const shard = await writer.commit(name, this.settings, device, this.stale.filter(stale => stale !== name));
    this.#next += 1;
    this.stale = [];
    this.#shards.push(shard);
    shard.pictures.forEach((picture, position) => { this.#places.set(picture.name, { shard, position }); });
  }

  async #writeIndex(complete: boolean): Promise<void> {
    const { folder, out } = this.request;
    await writeIndex(out, { settings: this.settings, source: folder, complete, shards: this.#shards, places: this.#places, skipped: this.#skipped, removed: this.#removed });
    this.#indexed = Date.now();
  }
}

interface Decoded extends DecodedPicture {
  readonly picture: PictureStat;
}

function isUnchanged(now: PictureStat, then: ShardPicture): boolean {
  return now.size === then.size && now.modified === then.modified;
}

/** Runs of pictures of one grid: only these go through the encoder together. */
function ofOneGrid(pictures: readonly Decoded[]): Decoded[][] {
  const runs: Decoded[][] = [];
  for (const picture of pictures) {
    const last = runs.at(-1);
    if (last?.[0] !== undefined && sameGrid(last[0].grid, picture.grid)) last.push(picture);
    else runs.push([picture]);
  }
  return runs;
}

/** Their pixels as one batch. */
function together(pictures: readonly Decoded[]): Array32 {
  const [, ...shape] = pictures[0]?.pixels.shape ?? [];
  const size = pictures[0]?.pixels.data.length ?? 0;
  const data = new Float32Array(pictures.length * size);
  pictures.forEach(({ pixels }, index) => { data.set(pixels.data, index * size); });
  return { shape: [pictures.length, ...shape], data };
}
