import { AccessError } from '../errors';
import type { Answer } from './http';

interface Asked {
  readonly repo: string | undefined;
  readonly endpoint: URL;
  readonly hasToken: boolean;
}

/**
 * Why the Hub refuses, and what to do. It says so in the header X-Error-Code; see hf_raise_for_status in
 * https://github.com/huggingface/huggingface_hub/blob/main/src/huggingface_hub/utils/_http.py
 */
export function explainHubRefusal({ status, headers, url }: Answer, { repo, endpoint, hasToken }: Asked): AccessError {
  const code = headers.get('x-error-code') ?? '';
  const model = repo ?? endpoint.host;
  const page = repo === undefined ? endpoint.origin : `${endpoint.origin}/${repo}`;
  const giveToken = `give a token (${endpoint.origin}/settings/tokens) in HF_TOKEN or with "hf auth login"`;
  const detail = headers.get('x-error-message') ?? undefined;
  const error = (message: string): AccessError => new AccessError(message, detail === undefined ? {} : { detail });

  if (code === 'GatedRepo') {
    return error(hasToken
      ? `${model} is gated, and the token's account may not read it yet. Accept its licence at ${page}, wait until access is granted, and check that the token may read gated models.`
      : `${model} is gated. Accept its licence at ${page}, then ${giveToken}.`);
  }
  if (code === 'DisabledRepo') return error(`${model} was disabled by the Hub. See ${page}.`);
  if (code === 'RevisionNotFound') return error(`${model} has no such revision. See ${page} for its branches and tags.`);
  if (code === 'EntryNotFound') return error(`${model} has no file ${decodeURIComponent(url.pathname.split('/').at(-1) ?? '')} in this revision. See ${page}.`);
  if (status === 401 && hasToken && code !== 'RepoNotFound') return error(`${endpoint.host} refuses the token: it is wrong or has expired. Make a new one at ${endpoint.origin}/settings/tokens and ${giveToken}.`);
  if (status === 401 || status === 404 || code === 'RepoNotFound') {
    return error(hasToken
      ? `${endpoint.host} has no model ${model} that the token may read. Check the name; if it is private, use a token of its owner.`
      : `${endpoint.host} has no public model ${model}. Check the name; if it is private, ${giveToken}.`);
  }
  if (status === 403) return error(`${url.host} refuses access to ${model}. Check at ${page} that your account may read it, then ${giveToken}.`);
  return error(`${url.host} answers ${status} for ${model}. Try again later.`);
}
