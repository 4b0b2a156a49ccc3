import { isUtf8 } from 'node:buffer';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { formatBytes, formatCount } from '../format';
import type { ByteSource } from './byteSource';
import { readBytes } from './byteSource';
import type { CheckpointFile } from './checkpoint';
import { MAX_HEADER } from './safetensors';
import { quoted } from './wording';

/** Enough for every signature below; a tar archive's is the furthest in, at byte 257. */
const HEAD_BYTES = 1024;
/** The first pickle of PyTorch's legacy format is the number 0x1950a86a20f9469cfc6c: as LONG1 bytes (protocol 2 on) or as text. */
const LEGACY_MAGIC = Buffer.from('8a0a6cfc9c46f9206aa85019', 'hex');
const LEGACY_MAGIC_TEXT = 'L119547037146038801333356L';

/**
 * Tells a file's format by its content, whatever it is called.
 * @throws UserError naming what the file is when it is not a checkpoint that can be read.
 */
export async function sniff(source: ByteSource, signal?: AbortSignal): Promise<CheckpointFile['format']> {
  if (source.size === 0) throw new UserError(t`${source.name} is empty: the download has not begun or has failed. Download it again.`);
  const head = Buffer.from((await readBytes(source, 0, Math.min(source.size, HEAD_BYTES), signal)).buffer);
  if (isSafetensors(head)) return 'safetensors';
  if (hasAt(head, 0, 'PK\x03\x04') || hasAt(head, 0, 'PK\x05\x06')) return 'torch-zip';
  const legacy = head.subarray(0, 40);
  if (legacy.includes(LEGACY_MAGIC) || legacy.includes(LEGACY_MAGIC_TEXT)) return 'torch-legacy';
  throw new UserError(t`${source.name} ${foreignFormat(head, source.size)}`);
}

/** The true size of the file that a Git LFS pointer stands for, when `head` is one. */
export function lfsPointerSize(head: Uint8Array): number | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1');
  if (!text.startsWith('version https://git-lfs.github.com/spec/')) return undefined;
  return Number(/^size (\d+)$/m.exec(text)?.[1] ?? NaN);
}

/** Whether `head` is the beginning of a web page or of a server's XML answer. */
export function isWebPage(head: Uint8Array): boolean {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1').replace(/^\u00ef\u00bb\u00bf/, '');
  return /^\s*(?:<!doctype html|<html|<head|<body|<\?xml|<!--|<error>)/i.test(text);
}

/** What to say of a Git LFS pointer, after the file's name. */
export function lfsAdvice(size: number): string {
  return t`is a Git LFS pointer, not the file itself${Number.isSafeInteger(size) ? t` (which is ${size} bytes long, ${formatBytes(size)})` : ''}. Run "git lfs pull" in its folder to fetch it.`;
}

export const WEB_PAGE_ADVICE = t('is a web page, not the file itself: the server answered the download with a page. Download it again, signed in if the model needs it.');

/**
 * A header length, then a JSON object, before which white space may stand. With a length beyond the limit the object
 * must be plain to see: the reader then says that the header is too long.
 */
function isSafetensors(head: Buffer): boolean {
  if (head.length < 9) return false;
  const length = head.readBigUInt64LE(0);
  const text = head.toString('latin1', 8);
  return length > 0n && (length <= MAX_HEADER ? /^[ \t\r\n]*(?:\{|$)/.test(text) : length < 1n << 48n && /^[ \t\r\n]*\{[ \t\r\n]*["}]/.test(text));
}

const UNPACK = t('Unpack it and open what it holds.');
const OPEN_ORIGINAL = t('Open the PyTorch or safetensors version of the checkpoint.');

/** Other formats, in the order in which they are looked for, and what to say of them after the file's name. */
const FOREIGN: readonly (readonly [matches: (head: Buffer) => boolean, is: string])[] = [
  [isWebPage, WEB_PAGE_ADVICE],
  [magic('GGUF'), t('is a GGUF file (llama.cpp), whose tensors are converted and renamed. Open the original checkpoint instead.')],
  [magic('lmgg', 'tjgg', 'fmgg', 'algg'), t('is a GGML file (llama.cpp), whose tensors are converted and renamed. Open the original checkpoint instead.')],
  [magic('\x89HDF\r\n\x1a\n'), t`is an HDF5 file (Keras, TensorFlow), which is not read. ${OPEN_ORIGINAL}`],
  [magic('\x1f\x8b'), t`is gzip-compressed. ${UNPACK}`],
  [magic('BZh'), t`is bzip2-compressed. ${UNPACK}`],
  [magic('\xfd7zXZ\0'), t`is xz-compressed. ${UNPACK}`],
  [magic('\x28\xb5\x2f\xfd'), t`is zstd-compressed. ${UNPACK}`],
  [magic('7z\xbc\xaf\x27\x1c'), t`is a 7z archive. ${UNPACK}`],
  [magic('Rar!\x1a\x07'), t`is a RAR archive. ${UNPACK}`],
  [head => hasAt(head, 257, 'ustar'), t('is a tar archive: a packed folder, to be unpacked first, or a file of PyTorch before 0.1.10, to be loaded and saved again with a newer PyTorch.')],
  [magic('\x93NUMPY'), t`is a NumPy array file, not a checkpoint. ${OPEN_ORIGINAL}`],
  [head => hasAt(head, 4, 'TFL3'), t`is a TensorFlow Lite model, which is not read. ${OPEN_ORIGINAL}`],
  [isOnnx, t`is an ONNX model, which is not read. ${OPEN_ORIGINAL}`],
  [isPickle, t('is a Python pickle but not one that torch.save writes. Nothing in a pickle is run here, so it cannot be read; load it with the program that wrote it and save its state dict with torch.save.')],
  [head => head.every(byte => byte === 0), t('begins with zeros only: an interrupted download that had reserved its space, or a damaged disk. Download it again.')],
];

function foreignFormat(head: Buffer, size: number): string {
  const pointer = lfsPointerSize(head);
  if (pointer !== undefined) return lfsAdvice(pointer);
  const known = FOREIGN.find(([matches]) => matches(head));
  if (known !== undefined) return known[1];
  if (isText(head)) {
    const text = head.toString('utf8').trim();
    return /^[[{]/.test(text)
      ? t('is a JSON file, not weights. Open the weights file or the folder that holds them.')
      : t`is a text file, not weights; it begins with ${quoted(text.slice(0, 60))}. Open the weights file or the folder that holds them.`;
  }
  if (size < 9) return t`is only ${formatCount(size, 'byte')} long, too short for a checkpoint. Download it again.`;
  return t`is neither safetensors nor a PyTorch checkpoint: it begins with the bytes ${hex(head.subarray(0, 8))}. If it should be one, its beginning is damaged; download it again.`;
}

function magic(...signatures: string[]): (head: Buffer) => boolean {
  return head => signatures.some(signature => hasAt(head, 0, signature));
}

/** Whether the bytes at `position` are those of `signature`, one per character. */
function hasAt(head: Buffer, position: number, signature: string): boolean {
  return head.toString('latin1', position, position + signature.length) === signature;
}

/** A ModelProto: the field ir_version, then one of its others (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). */
function isOnnx(head: Buffer): boolean {
  const [tag, version = 0, next = 0] = head;
  return tag === 0x08 && version > 0 && version < 0x20 && [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42].includes(next);
}

/** Protocol 2 to 5 by its first two bytes, protocol 0 and 1 by a global or an empty container that begins them. */
function isPickle(head: Buffer): boolean {
  const [first, protocol = 0] = head;
  return (first === 0x80 && protocol >= 2 && protocol <= 5) || /^\(?(?:c[\w.]+\n[\w.]+\n|[dl]p\d+\n|\}q.\()/.test(head.toString('latin1'));
}

/** UTF-8 without control characters. A character that the end of the head cuts in two does not count against it. */
function isText(head: Buffer): boolean {
  const whole = [0, 1, 2, 3].some(cut => isUtf8(head.subarray(0, head.length - cut)));
  return whole && head.every(byte => byte >= 0x20 || (byte >= 0x09 && byte <= 0x0d));
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join(' ');
}
