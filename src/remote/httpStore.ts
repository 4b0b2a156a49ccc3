import { posix } from 'node:path';
import { t } from '@vscode/l10n';
import type { ByteSource, FileStore, StoredFile } from '../checkpoint/byteSource';
import { readShardIndex } from '../checkpoint/shardIndex';
import { isStoredName } from '../checkpoint/storedName';
import { quoted } from '../checkpoint/wording';
import { AccessError, UserError } from '../errors';
import type { Answer, HttpClient } from './http';
import { HttpSource } from './httpSource';
import { publicAddress } from './location';

const INDEXES = ['model.safetensors.index.json', 'pytorch_model.bin.index.json', 'diffusion_pytorch_model.safetensors.index.json'];
const WHOLE = ['model.safetensors', 'pytorch_model.bin', 'diffusion_pytorch_model.safetensors'];
const CONFIGS = ['config.json', 'preprocessor_config.json'];

/**
 * A folder below an http(s) address. HTTP lists no folders, so the list is of the names that checkpoints usually have,
 * of what an index names, and of the file that was asked for, as far as they are there.
 * @param folder ends with a slash; its user and password become an Authorization header, and its query is not used.
 * @param given the file that was asked for, by an address that may carry a signature in its query.
 */
export function httpStore(client: HttpClient, folder: URL, given?: { readonly name: string; readonly url: URL }): FileStore {
  const location = publicAddress(folder).replace(/\/+$/, '');
  const authorization = authorizationOf(given?.url ?? folder);
  const sources = new Map<string, Promise<HttpSource>>();
  const open = (name: string, signal?: AbortSignal): Promise<HttpSource> => {
    const url = name === given?.name ? withoutUser(given.url) : withoutUser(new URL(name.split('/').map(encodeURIComponent).join('/'), folder));
    const source = sources.get(name) ?? HttpSource.open(client, { name, url, authorization, explain: answer => explain(answer, name) }, signal);
    sources.set(name, source);
    source.catch(() => sources.delete(name));
    return source;
  };
  /** Undefined when the server does not give it to us, for whatever reason: it was only guessed. */
  const probe = async (name: string, signal: AbortSignal | undefined): Promise<StoredFile | undefined> => {
    try {
      return { name, size: (await open(name, signal)).size };
    } catch (error) {
      if (error instanceof RefusedError) return undefined;
      throw error;
    }
  };
  const list = async (signal: AbortSignal | undefined): Promise<StoredFile[]> => {
    // What was asked for decides what else there is to look for; other weights beside it are not its own.
    const guesses = given === undefined ? [...INDEXES, ...WHOLE] : [given.name];
    const found = (await Promise.all([...guesses, ...CONFIGS].map(name => probe(name, signal)))).filter(file => file !== undefined);
    const shards = await Promise.all(found.filter(({ name }) => name.endsWith('.index.json')).map(({ name }) => shardsOf(open(name, signal), signal)));
    const there = await Promise.all([...new Set(shards.flat())].filter(name => !name.includes('/')).map(name => probe(name, signal)));
    return [...found, ...there.filter(file => file !== undefined)].sort((a, b) => (a.name < b.name ? -1 : 1));
  };
  let listed: Promise<StoredFile[]> | undefined;
  return {
    location,
    title: posix.basename(folder.pathname) || folder.host,
    list(signal) {
      listed ??= list(signal);
      listed.catch(() => { listed = undefined; });
      return listed;
    },
    async open(name, signal) {
      if (!isStoredName(name)) throw new UserError(t`The file name ${quoted(name)} is refused: it does not lie inside ${location}.`);
      return open(name, signal);
    },
  };
}

/** The server was reached and does not give the file. */
class RefusedError extends AccessError {}

function explain({ status, url }: Answer, name: string): UserError {
  const address = publicAddress(url);
  switch (status) {
    case 404:
    case 410: return new RefusedError(t`${address} does not exist. Check the address.`);
    case 401: return new RefusedError(t`${address} wants a user and a password. Give them as https://user:password@host/..., or download the file and open the copy.`);
    case 403: return new RefusedError(t`${address} may not be read: the server refuses it, or a signed address has expired. Get a new address.`);
    default: return new RefusedError(t`${url.host} answers ${status} for ${name}. Check the address.`);
  }
}

async function shardsOf(index: Promise<ByteSource>, signal: AbortSignal | undefined): Promise<readonly string[]> {
  try {
    return (await readShardIndex(await index, signal)).shards;
  } catch (error) {
    // Opening it will say what is wrong.
    if (error instanceof UserError && !(error instanceof AccessError)) return [];
    throw error;
  }
}

function authorizationOf(url: URL): string | undefined {
  if (url.username === '' && url.password === '') return undefined;
  return `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString('base64')}`;
}

/** fetch refuses addresses with a user. */
function withoutUser(url: URL): URL {
  const plain = new URL(url);
  plain.username = '';
  plain.password = '';
  return plain;
}
