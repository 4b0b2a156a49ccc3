import * as z from 'zod';
import { t } from '@vscode/l10n';
import type { StoredFile } from '../checkpoint/byteSource';
import { isStoredName } from '../checkpoint/storedName';
import { UserError } from '../errors';
import { explainHubRefusal } from './hubErrors';
import { HttpClient } from './http';
import { isRepo } from './location';
import { HttpSource } from './httpSource';
import { hubEndpoint, hubToken } from './hubOptions';
import type { HubOptions } from './hubOptions';

/** A model that a search found. */
export interface FoundModel {
  /** `owner/model` */
  readonly id: string;
  readonly downloads: number;
  readonly likes: number;
  /** Whether its licence must be accepted first. */
  readonly gated: boolean;
  readonly isPrivate: boolean;
}

/** What a repository calls its commits. */
export interface HubRefs {
  readonly branches: readonly string[];
  readonly tags: readonly string[];
}

export interface HubFile extends StoredFile {
  /** SHA-256 of a large file, Git's hash of a small one. */
  readonly hash: string;
}

const revisionSchema = z.object({ sha: z.string().regex(/^[0-9a-f]{40,64}$/) });
const treeSchema = z.array(z.object({
  type: z.string(),
  path: z.string(),
  size: z.int().nonnegative().default(0),
  oid: z.string().default(''),
  lfs: z.object({ oid: z.string(), size: z.int().nonnegative() }).nullish(),
}));
const searchSchema = z.array(z.object({
  id: z.string(),
  downloads: z.number().default(0),
  likes: z.number().default(0),
  gated: z.union([z.boolean(), z.string()]).default(false),
  private: z.boolean().default(false),
}));
const refsSchema = z.object({ branches: z.array(z.object({ name: z.string() })).default([]), tags: z.array(z.object({ name: z.string() })).default([]) });
const accountSchema = z.object({ name: z.string() });

/** Pages of a folder's list, of 1000 files each, that are asked for at most. */
const MOST_PAGES = 100;

/**
 * The part of the Hub's API that is needed: https://huggingface.co/docs/hub/api. (Its own npm client would bring its
 * own requests, without the pins, resumption and limits that these have.)
 */
export class Hub {
  readonly client: HttpClient;
  readonly endpoint: URL;
  readonly #authorization: string | undefined;

  private constructor(options: HubOptions, token: string | undefined) {
    this.client = new HttpClient(options);
    this.endpoint = hubEndpoint(options);
    this.#authorization = token === undefined ? undefined : `Bearer ${token}`;
  }

  static async connect(options: HubOptions = {}): Promise<Hub> {
    return new Hub(options, await hubToken(options));
  }

  /** The commit that a revision stands for now. */
  async commitOf(repo: string, revision: string, signal?: AbortSignal): Promise<string> {
    const { value } = await this.#api(repo, `api/models/${repo}/revision/${encodeURIComponent(revision)}`, signal);
    return this.#parse(revisionSchema, value).sha;
  }

  /** The branches and tags of a repository. */
  async refs(repo: string, signal?: AbortSignal): Promise<HubRefs> {
    const { value } = await this.#api(repo, `api/models/${repo}/refs`, signal);
    const { branches, tags } = this.#parse(refsSchema, value);
    return { branches: branches.map(({ name }) => name), tags: tags.map(({ name }) => name) };
  }

  /** The account that the token belongs to. @throws HubRefusal when the Hub does not know the token */
  async account(signal?: AbortSignal): Promise<string> {
    const { value } = await this.#api(undefined, 'api/whoami-v2', signal);
    return this.#parse(accountSchema, value).name;
  }

  /** The files directly inside a folder of a commit, by name. */
  async files(repo: string, commit: string, folder: string, signal?: AbortSignal): Promise<Map<string, HubFile>> {
    const files = new Map<string, HubFile>();
    let next: string | undefined = `api/models/${repo}/tree/${commit}${folder === '' ? '' : `/${encodePath(folder)}`}`;
    for (let page = 0; next !== undefined; page++) {
      if (page === MOST_PAGES) throw new UserError(t`${repo} has more than ${MOST_PAGES * 1000} files in one folder. Open a file by its own address.`);
      const { value, headers }: { value: unknown; headers: Headers } = await this.#api(repo, next, signal);
      for (const { type, path, size, oid, lfs } of this.#parse(treeSchema, value)) {
        const name = path.slice(path.lastIndexOf('/') + 1);
        // A list is of one folder; names that are no names are nobody's files.
        if (type === 'file' && isStoredName(name)) files.set(name, { name, size: lfs?.size ?? size, hash: lfs?.oid ?? oid });
      }
      next = /<([^>]+)>\s*;\s*rel="next"/.exec(headers.get('link') ?? '')?.[1];
    }
    return files;
  }

  /** A file of a commit. No request is made before it is read. */
  open(repo: string, commit: string, path: string, { size, hash }: HubFile): HttpSource {
    return new HttpSource(this.client, {
      name: path.slice(path.lastIndexOf('/') + 1),
      url: this.#url(`${repo}/resolve/${commit}/${encodePath(path)}`),
      hash,
      authorization: this.#authorization,
      explain: answer => this.#explain(answer, repo),
    }, size);
  }

  /** The models that fit what somebody has typed so far, the most downloaded first. */
  async search(query: string, signal?: AbortSignal): Promise<FoundModel[]> {
    const parameters = new URLSearchParams({ search: query, sort: 'downloads', direction: '-1', limit: '30' });
    const { value } = await this.#api(undefined, `api/models?${parameters.toString()}`, signal);
    return this.#parse(searchSchema, value).filter(({ id }) => isRepo(id)).map(({ id, downloads, likes, gated, private: isPrivate }) => ({ id, downloads, likes, gated: gated !== false, isPrivate }));
  }

  /** `path` is relative to the endpoint, or an address that the Hub itself named. */
  #url(path: string): URL {
    const base = new URL(this.endpoint);
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    const url = new URL(path, base);
    // The token goes along: a list's next page must not lead to another host.
    if (url.origin !== base.origin) throw new UserError(t`${base.host} points to ${url.host} for the rest of a list, which is refused. Check HF_ENDPOINT.`);
    return url;
  }

  #api(repo: string | undefined, path: string, signal: AbortSignal | undefined): Promise<{ value: unknown; headers: Headers }> {
    return this.client.json({ url: this.#url(path), authorization: this.#authorization, signal }, answer => this.#explain(answer, repo));
  }

  #explain(answer: Parameters<typeof explainHubRefusal>[0], repo: string | undefined): UserError {
    return explainHubRefusal(answer, { repo, endpoint: this.endpoint, hasToken: this.#authorization !== undefined });
  }

  #parse<T>(schema: z.ZodType<T>, value: unknown): T {
    const parsed = schema.safeParse(value);
    if (!parsed.success) throw new UserError(t`${this.endpoint.host} does not answer as the Hugging Face Hub does. Check HF_ENDPOINT.`, { detail: z.prettifyError(parsed.error) });
    return parsed.data;
  }
}


function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
