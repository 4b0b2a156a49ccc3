import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';
import { quoted } from '../checkpoint/wording';
import type { HttpOptions } from './http';

export interface HubOptions extends HttpOptions {
  /** An access token; the environment's or the Hub client's own when absent, none when empty. */
  readonly token?: string | undefined;
  /** The Hub's address; HF_ENDPOINT or https://huggingface.co when absent. */
  readonly endpoint?: string | undefined;
  /** The Hub client's cache folder; false to leave it alone. */
  readonly cache?: string | false | undefined;
}

/**
 * The environment variables of the Hub's own client, which these functions follow:
 * https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
type Environment = Readonly<Record<string, string | undefined>>;

/** @throws UserError when the address is none. */
export function hubEndpoint(options: HubOptions = {}, env: Environment = process.env): URL {
  const text = options.endpoint ?? nonEmpty(env.HF_ENDPOINT) ?? 'https://huggingface.co';
  const endpoint = URL.canParse(text) ? new URL(text) : undefined;
  if (endpoint === undefined || !/^https?:$/.test(endpoint.protocol)) {
    throw new UserError(t`The Hub's address ${quoted(text)} is not valid. Set HF_ENDPOINT to an address such as https://huggingface.co.`);
  }
  return endpoint;
}

/** The token to show: the given one, HF_TOKEN, or the one that `hf auth login` stored. */
export async function hubToken(options: HubOptions = {}, env: Environment = process.env): Promise<string | undefined> {
  if (options.token !== undefined) return nonEmpty(options.token.trim());
  if (isSet(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const given = nonEmpty(env.HF_TOKEN?.trim()) ?? nonEmpty(env.HUGGING_FACE_HUB_TOKEN?.trim());
  if (given !== undefined) return given;
  const path = nonEmpty(env.HF_TOKEN_PATH) ?? join(hubHome(env), 'token');
  try {
    return nonEmpty((await readFile(path, 'utf8')).trim());
  } catch (error) {
    // Most people have no such file; one that may not be read is as good as none.
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}

/** Where the Hub's client keeps what it downloads. */
export function hubCacheFolder(options: HubOptions = {}, env: Environment = process.env): string | undefined {
  if (options.cache !== undefined) return options.cache === false ? undefined : options.cache;
  return nonEmpty(env.HF_HUB_CACHE) ?? nonEmpty(env.HUGGINGFACE_HUB_CACHE) ?? join(hubHome(env), 'hub');
}

/** Whether the Hub's client is told to stay off the network. */
export function isOffline(env: Environment = process.env): boolean {
  return isSet(env.HF_HUB_OFFLINE);
}

function hubHome(env: Environment): string {
  return nonEmpty(env.HF_HOME) ?? join(nonEmpty(env.XDG_CACHE_HOME) ?? join(homedir(), '.cache'), 'huggingface');
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && /^(?:1|on|yes|true)$/i.test(value);
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === undefined || value === '' ? undefined : value;
}
