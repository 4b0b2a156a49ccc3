import { MAX_ADDRESSES, MAX_PICTURE_BYTES } from '../src/previewLimits';
import { words } from './words';

export interface PictureBytes {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface Dropped {
  readonly files: readonly PictureBytes[];
  /** Of files and pages, for the host to read. */
  readonly addresses: readonly string[];
  /** Why something was left out. */
  readonly refusal?: string;
}

/** The pictures in what was dropped or pasted: files, or the addresses that stand for them. What is no picture at all is refused. */
export async function droppedPictures(transfer: DataTransfer, isPasted: boolean): Promise<Dropped> {
  const files = [...transfer.files];
  if (files.length > 0) return fromFiles(files);
  const addresses = addressesIn(transfer);
  if (addresses.length > 0) return { files: [], addresses: addresses.slice(0, MAX_ADDRESSES) };
  // Text that happens to be pasted is nobody's mistake.
  return { files: [], addresses: [], ...(!isPasted && transfer.types.length > 0 && { refusal: words.notAPicture }) };
}

async function fromFiles(files: readonly File[]): Promise<Dropped> {
  const pictures = files.filter(file => file.type === '' || file.type.startsWith('image/'));
  const small = pictures.filter(file => file.size <= MAX_PICTURE_BYTES);
  const read = await Promise.all(small.map(async (file): Promise<PictureBytes | undefined> => {
    try {
      return { name: file.name === '' ? words.pasted : file.name, bytes: new Uint8Array(await file.arrayBuffer()) };
    } catch {
      return undefined; // a folder has no bytes
    }
  }));
  const whole = read.filter(file => file !== undefined);
  const refusal = whole.length < small.length ? words.aFolder : small.length < pictures.length ? words.tooLarge(MAX_PICTURE_BYTES / 2 ** 20) : pictures.length === 0 ? words.notAPicture : undefined;
  return { files: whole, addresses: [], ...(refusal !== undefined && { refusal }) };
}

/**
 * VS Code's Explorer and tabs drop lists of addresses (`text/uri-list`, RFC 2483: a line each, comments behind #; `ResourceURLs`: JSON);
 * browsers the address of a picture or link; a terminal's or file manager's text is a path a line.
 */
function addressesIn(transfer: DataTransfer): string[] {
  const list = transfer.getData('text/uri-list').split(/\r?\n/).filter(line => line.trim() !== '' && !line.startsWith('#'));
  if (list.length > 0) return list;
  try {
    const resources: unknown = JSON.parse(transfer.getData('ResourceURLs'));
    if (Array.isArray(resources)) return resources.filter(one => typeof one === 'string');
  } catch {
    // Whoever dropped it is not VS Code.
  }
  const lines = transfer.getData('text/plain').split(/\r?\n/).map(line => line.trim().replace(/^"(.*)"$/, '$1')).filter(line => line !== '');
  return lines.every(line => /^(?:(?:https?|file|vscode-[\w-]+):\/\/|\/|[A-Za-z]:[\\/]|\\\\)/.test(line) && line.length <= 4096) ? lines : [];
}
