import { posix } from 'node:path';
import { t } from '@vscode/l10n';
import type { ByteSource, FileStore } from '../checkpoint/byteSource';
import { isStoredName } from '../checkpoint/storedName';
import { quoted } from '../checkpoint/wording';
import { UserError } from '../errors';
import type { Hub, HubFile } from './hub';
import { hubAddress } from './location';

/**
 * A folder of a Hub repository at one commit: whatever is pushed meanwhile, all files are of that commit.
 * Files that are opened again share what was read of them.
 */
export function hubStore(hub: Hub, repo: string, commit: string, folder = ''): FileStore {
  const location = hubAddress({ repo, revision: commit, path: folder });
  const lists = new Map<string, Promise<Map<string, HubFile>>>();
  const sources = new Map<string, ByteSource>();
  const filesIn = async (path: string, signal: AbortSignal | undefined): Promise<Map<string, HubFile>> => {
    const list = lists.get(path) ?? hub.files(repo, commit, path, signal);
    lists.set(path, list);
    // A list that failed is asked for again.
    list.catch(() => lists.delete(path));
    return list;
  };
  return {
    location,
    title: posix.basename(folder === '' ? repo : folder),
    async list(signal) {
      const files = await filesIn(folder, signal);
      return [...files.values()].map(({ name, size }) => ({ name, size })).sort((a, b) => (a.name < b.name ? -1 : 1));
    },
    async open(name, signal) {
      if (!isStoredName(name)) throw new UserError(t`The file name ${quoted(name)} is refused: it does not lie inside ${location}.`);
      const path = posix.join(folder, name);
      const known = sources.get(path);
      if (known !== undefined) return known;
      const parent = posix.dirname(path);
      const file = (await filesIn(parent === '.' ? '' : parent, signal)).get(posix.basename(path));
      if (file === undefined) throw new UserError(t`${name} does not exist in ${location}.`);
      const source = hub.open(repo, commit, path, file);
      sources.set(path, source);
      return source;
    },
  };
}
