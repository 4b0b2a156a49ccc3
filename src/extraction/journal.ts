import { createHash } from 'node:crypto';
import { open, readFile, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { systemErrorCode } from '../errors';
import type { Plan } from '../recipe/plan';
import { TOOL } from '../version';
import type { FileLayout, OutputTensor } from './fileLayout';

export const JOURNAL_NAME = 'journal.jsonl';
/** What is not on record is fetched again after a crash; a record costs a flush of the disk. */
const RECORD_EVERY_BYTES = 32 << 20;
const RECORD_EVERY_MS = 2000;

/** The beginning of a file that is written and on the disk. */
export interface Prefix {
  readonly bytes: number;
  /** CRC-32 of these bytes. */
  readonly crc: number;
}

/** What a journal says of an output that was not finished. */
export interface Unfinished {
  readonly fingerprint: string;
  /** The output folder, absolute. */
  readonly out: string;
  readonly files: ReadonlyMap<string, Prefix>;
}

const headerSchema = z.object({ version: z.literal(1), fingerprint: z.string(), out: z.string() });
const recordSchema = z.object({ file: z.string(), bytes: z.int().nonnegative(), crc: z.int().nonnegative() });

/**
 * The record, within a temporary output folder, of how far each file is written: one line of JSON per step. A run that
 * died (or lost its network) is continued from it by the next one that would write the very same.
 */
export class Journal {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #last = new Map<string, { bytes: number; time: number }>();

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  static async create(staging: string, fingerprint: string, out: string): Promise<Journal> {
    const path = join(staging, JOURNAL_NAME);
    const handle = await open(path, 'w');
    await handle.write(`${JSON.stringify({ version: 1, fingerprint, out })}\n`);
    return new Journal(handle, path);
  }

  /** Opens the journal of a folder that was taken over. */
  static async reopen(staging: string): Promise<Journal> {
    const path = join(staging, JOURNAL_NAME);
    const handle = await open(path, 'a');
    // A line that was cut off is ended, so that the next one is whole.
    await handle.write('\n');
    return new Journal(handle, path);
  }

  /** Undefined when the folder has no journal, or none of this version. */
  static async read(staging: string): Promise<Unfinished | undefined> {
    let text: string;
    try {
      text = await readFile(join(staging, JOURNAL_NAME), 'utf8');
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      return undefined;
    }
    return parseJournal(text);
  }

  /** Notes that the file's beginning is written, now and then: what is on record is on the disk. */
  async record(file: string, handle: FileHandle, { bytes, crc }: Prefix, isWhole: boolean): Promise<void> {
    const last = this.#last.get(file) ?? { bytes: 0, time: 0 };
    const now = Date.now();
    if (!isWhole && bytes - last.bytes < RECORD_EVERY_BYTES && now - last.time < RECORD_EVERY_MS) return;
    this.#last.set(file, { bytes, time: now });
    await handle.datasync();
    await this.#handle.write(`${JSON.stringify({ file, bytes, crc })}\n`);
    await this.#handle.datasync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  async remove(): Promise<void> {
    await this.close();
    await rm(this.#path, { force: true });
  }
}

/** Undefined when `text` does not begin as a journal of this version does; lines that say nothing are passed over. */
export function parseJournal(text: string): Unfinished | undefined {
  const lines = text.split('\n').map(parseLine);
  const header = headerSchema.safeParse(lines[0]);
  if (!header.success) return undefined;
  const files = new Map<string, Prefix>();
  for (const line of lines.slice(1)) {
    const record = recordSchema.safeParse(line);
    if (record.success) files.set(record.data.file, record.data);
  }
  return { ...header.data, files };
}

/** Bytes that are written and on the disk. */
export function writtenBytes(unfinished: Unfinished | undefined): number {
  return [...unfinished?.files.values() ?? []].reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Equal for two extractions of this version that write the same weight files from the same bytes; undefined as for `contentHash`. */
export function fingerprintOf(plan: Plan, outputs: readonly OutputTensor[], files: PlannedFiles): string | undefined {
  const content = contentHash(plan, outputs, files);
  return content === undefined ? undefined : hashOf([TOOL, content]);
}

type PlannedFiles = readonly { readonly name: string; readonly layout: FileLayout }[];

/**
 * Equal for two extractions that write the same bytes of the same checkpoint. Undefined when a source cannot tell its
 * version: it may be another one next time.
 */
export function contentHash(plan: Plan, outputs: readonly OutputTensor[], files: PlannedFiles): string | undefined {
  const used = new Set(plan.kept.map(({ tensor }) => tensor.file));
  const versions = plan.checkpoint.files.flatMap(({ name, source }, index) => used.has(index) ? [[name, source.size, source.remote?.version ?? null] as const] : []);
  if (versions.some(([, , version]) => version === null)) return undefined;
  return hashOf([
    plan.checkpoint.location, versions,
    files.map(({ name, layout }) => [name, layout.size]),
    plan.kept.map(({ tensor }, index) => [tensor.key, tensor.file, tensor.offset, tensor.length, tensor.indirect ?? null, outputs[index]?.key, outputs[index]?.dtype]),
  ]);
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // A line that the crash cut off says nothing.
    return undefined;
  }
}
