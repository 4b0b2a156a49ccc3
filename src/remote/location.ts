import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { quoted } from '../checkpoint/wording';

/** Where a checkpoint is, as a person writes it. */
export type Location =
  | { readonly kind: 'local'; readonly path: string }
  | HubLocation
  | { readonly kind: 'http'; readonly url: URL };

export interface HubLocation {
  readonly kind: 'hub';
  /** `owner/model`; without an owner for the oldest models. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** A folder or file inside the repository; empty for all of it. */
  readonly path: string;
}

export const DEFAULT_REVISION = 'main';
const HUB_HOSTS = new Set(['huggingface.co', 'www.huggingface.co', 'hf.co']);
/** https://huggingface.co/docs/huggingface_hub/package_reference/utilities#huggingface_hub.utils.validate_repo_id */
const REPO_NAME = /^[A-Za-z0-9][\w.-]{0,95}$/;
/** Pages of a model whose address goes on with a revision and a path. */
const PAGES = new Set(['tree', 'blob', 'resolve', 'raw', 'blame', 'edit', 'commits', 'commit']);

/**
 * Understands a local path, `hf://owner/model@revision/path`, an address of a Hub page as it is pasted from a browser,
 * and any other http(s) address.
 * @param endpoint the Hub in use: pages of its host are Hub pages too.
 * @throws UserError when it is an address of something else.
 */
export function parseLocation(text: string, endpoint: URL): Location {
  const trimmed = text.trim();
  if (/^hf:\/\//i.test(trimmed)) return parseHubAddress(trimmed);
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(trimmed)?.[1]?.toLowerCase();
  if (scheme === undefined) return { kind: 'local', path: text };
  if ((scheme !== 'https' && scheme !== 'http') || !URL.canParse(trimmed)) {
    throw new UserError(t`${quoted(trimmed.replace(/\/\/[^/]*@/, '//'))} cannot be opened: addresses are hf://owner/model@revision or https://... .`);
  }
  const url = new URL(trimmed);
  url.hash = '';
  return parsePage(url, endpoint) ?? { kind: 'http', url };
}

/** Whether a server's or a person's text can be the name of a repository: `owner/model`, or `model` alone. */
export function isRepo(text: string): boolean {
  const names = text.split('/');
  return names.length <= 2 && names.every(name => REPO_NAME.test(name) && !name.includes('..') && !name.includes('--'));
}

/** Whether what this names is at the other end of a network. */
export function isRemote(location: string): boolean {
  return /^(?:hf|https?):\/\//i.test(location);
}

/** An address without what is secret in it: user, password, and the query, which may be a signature. */
export function publicAddress(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

/** The same for the text of an address that a person typed. */
export function shownAddress(text: string): string {
  return /^https?:/i.test(text) && URL.canParse(text) ? publicAddress(new URL(text)) : text;
}

/** The address that opens a folder or file of a repository again. Slashes in a revision are encoded, as for HfFileSystem. */
export function hubAddress({ repo, revision, path }: Omit<HubLocation, 'kind'>): string {
  return `hf://${repo}@${encodeURIComponent(revision)}${path === '' ? '' : `/${path}`}`;
}

/** The page that shows a model, or a file of it, in a browser. */
export function hubPage({ repo, revision, path }: Omit<HubLocation, 'kind'>, endpoint: URL): string {
  const model = `${endpoint.origin}${endpoint.pathname.replace(/\/+$/, '')}/${repo}`;
  if (path === '' && revision === DEFAULT_REVISION) return model;
  return `${model}/${path === '' ? 'tree' : 'blob'}/${encodeURIComponent(revision)}${path.split('/').map(part => part === '' ? '' : `/${encodeURIComponent(part)}`).join('')}`;
}

/** A location for a line of text: without what is secret, and with a commit cut to the seven digits that people know it by. */
export function shortLocation(location: string): string {
  return shownAddress(location).replace(/^(hf:\/\/[^@]*@[0-9a-f]{7})[0-9a-f]{33,}/, '$1');
}

function parseHubAddress(text: string): HubLocation {
  const parts = text.slice('hf://'.length).replace(/^models\//, '').replace(/\/+$/, '').split('/');
  if (parts[0] === 'datasets' || parts[0] === 'spaces') throw notAModel(text);
  // A model without an owner stands alone or has its revision at once: hf://gpt2, hf://gpt2@main/model.safetensors.
  const nameParts = parts.length === 1 || parts[0]?.includes('@') === true ? 1 : 2;
  const [last, at] = splitOnce(parts[nameParts - 1] ?? '', '@');
  const rest = parts.slice(nameParts);
  const revision = at === undefined ? DEFAULT_REVISION : decoded(at, text);
  // refs/pr/1 is understood unencoded too.
  if (revision === 'refs' && (rest[0] === 'pr' || rest[0] === 'convert') && rest[1] !== undefined) {
    return hubLocation(text, [...parts.slice(0, nameParts - 1), last], `refs/${rest[0]}/${rest[1]}`, rest.slice(2));
  }
  return hubLocation(text, [...parts.slice(0, nameParts - 1), last], revision, rest);
}

/** Undefined when the address is not a page of a Hub. */
function parsePage(url: URL, endpoint: URL): HubLocation | undefined {
  const prefix = endpoint.pathname.replace(/\/+$/, '');
  const address = publicAddress(url);
  const own = url.host === endpoint.host && url.pathname.startsWith(`${prefix}/`);
  if (!own && !HUB_HOSTS.has(url.host)) return undefined;
  const segments = url.pathname.slice(own ? prefix.length : 0).split('/').filter(segment => segment !== '').map(segment => decoded(segment, address));
  const [first] = segments;
  if (first === 'datasets' || first === 'spaces') throw notAModel(address);
  if (first === undefined || first === 'api' || first === 'models' || first === 'docs') {
    throw new UserError(t`${address} is not the page of a model. Paste the address of a model, such as https://huggingface.co/Qwen/Qwen-VL-Chat.`);
  }
  const pageAt = segments[1] !== undefined && PAGES.has(segments[1]) && segments.length > 2 ? 1 : Math.min(2, segments.length);
  const repo = segments.slice(0, pageAt);
  const [page, revision = DEFAULT_REVISION, ...path] = segments.slice(pageAt);
  if (page === undefined || !PAGES.has(page)) return hubLocation(address, repo, DEFAULT_REVISION, []);
  return hubLocation(address, repo, revision, page === 'commits' || page === 'commit' ? [] : path);
}

function hubLocation(text: string, repo: readonly string[], revision: string, path: readonly string[]): HubLocation {
  if (!isRepo(repo.join('/')) || revision === '' || path.includes('..') || path.includes('')) {
    throw new UserError(t`${quoted(text)} does not name a model on the Hub. Write hf://owner/model, hf://owner/model@revision or hf://owner/model@revision/file.`);
  }
  return { kind: 'hub', repo: repo.join('/'), revision, path: path.join('/') };
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/** A segment of the address `text` without its percent encoding. @throws UserError when it is wrongly encoded. */
export function decoded(segment: string, text: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new UserError(t`${quoted(text)} is not a valid address: ${quoted(segment)} is wrongly encoded.`, { cause });
  }
}

function notAModel(text: string): UserError {
  return new UserError(t`${quoted(text)} is a dataset or a space; a model is wanted, such as hf://Qwen/Qwen-VL-Chat.`);
}
